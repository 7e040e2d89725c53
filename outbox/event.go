package outbox

import (
	"encoding/json"
	"time"
)

// Event is a committed row of the outbox. All streams that it goes to share it: it must not
// be changed.
type Event struct {
	// ID is drawn when the event is appended. Within a transaction ids rise in
	// the order of its appends; across transactions they say nothing of the
	// order of commits.
	ID int64
	// XID is the transaction that appended the event.
	XID uint64
	// Topic, Type and Source are as in Draft.
	Topic, Type, Source string
	// Payload is JSON, byte for byte as it was appended.
	Payload json.RawMessage
	// Headers is nil when the event has none.
	Headers map[string]string
	// CreatedAt is when the event was appended, by the database's clock, in
	// UTC and microseconds.
	CreatedAt time.Time
}
