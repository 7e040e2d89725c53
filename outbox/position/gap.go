package position

import "time"

// Reason is why a position can't be resumed whole. It is empty when it can.
type Reason string

const (
	// Trimmed: events after the position have been removed by retention.
	Trimmed Reason = "trimmed"
	// Malformed: not a position at all.
	Malformed Reason = "malformed"
	// OtherHistory: the position is of a history that the database does not
	// continue, after a restore, a failover that lost commits, or a reset.
	OtherHistory Reason = "other_history"
	// Ahead: the position claims transactions that have not happened yet.
	Ahead Reason = "ahead"
)

// Gap says why a position can't be resumed whole.
type Gap struct {
	Reason Reason
	// Since is when the oldest event still held was appended; zero when none is.
	Since time.Time
}
