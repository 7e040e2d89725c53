package wire

import (
	"time"

	"github.com/outcrier/outcrier/outbox/position"
)

// Hello is the data of outcrier.hello, the first event of a stream. Another one
// follows in mid-stream when a gap opens there.
type Hello struct {
	// Resumed is true, false when there was nothing to resume, or "gap".
	Resumed any `json:"resumed"`
	// Position is that of the stream; it is the event's id too.
	Position string `json:"position"`
	// Node is the server process.
	Node string `json:"node"`
	// Heartbeat is the longest silence on the stream, in milliseconds: of
	// Streamer.Heartbeat.
	Heartbeat int64 `json:"heartbeat"`
	*Gap
}

// Gap describes a gap, and what to do about it.
type Gap struct {
	Reason position.Reason `json:"reason"`
	// Since is when the oldest event still held was appended.
	Since *time.Time `json:"since,omitempty"`
	// Action is "refetch": what the page shows may be out of date.
	Action string `json:"action"`
}

// NewGap returns the data of a gap, nil for none.
func NewGap(gap *position.Gap) *Gap {
	if gap == nil {
		return nil
	}
	data := &Gap{Reason: gap.Reason, Action: "refetch"}
	if !gap.Since.IsZero() {
		data.Since = &gap.Since
	}
	return data
}
