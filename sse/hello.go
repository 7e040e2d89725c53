package sse

import (
	"time"

	"github.com/outcrier/outcrier/outbox"
)

// Hello is the data of outcrier.hello, the first event of a stream. Another one
// follows in mid-stream when a gap opens there.
type Hello struct {
	// Resumed is true, false when there was nothing to resume, or "gap".
	Resumed any `json:"resumed"`
	// Position is where the stream stands; it is the event's id too.
	Position string `json:"position"`
	// Node is the server process.
	Node string `json:"node"`
	// Heartbeat is the longest silence on the stream, in milliseconds: of
	// Streamer.Heartbeat.
	Heartbeat int64 `json:"heartbeat"`
	*GapData
}

// GapData describes a gap, and what to do about it.
type GapData struct {
	Reason outbox.Reason `json:"reason"`
	// Since is when the oldest event still held was appended.
	Since *time.Time `json:"since,omitempty"`
	// Action is "refetch": what the page shows may be out of date.
	Action string `json:"action"`
}

func gapData(gap *outbox.Gap) *GapData {
	if gap == nil {
		return nil
	}
	data := &GapData{Reason: gap.Reason, Action: "refetch"}
	if !gap.Since.IsZero() {
		data.Since = &gap.Since
	}
	return data
}

func (t *stream) greet(given outbox.Position, resumed bool, gap *outbox.Gap) {
	hello := Hello{Resumed: resumed, Position: t.Hub.Keys.Seal(given), Node: t.Node, Heartbeat: t.Heartbeat.Milliseconds(), GapData: gapData(gap)}
	if gap != nil {
		hello.Resumed = "gap"
		t.counts.gap(gap.Reason)
	}
	t.notice(notice{name: "hello", at: given, data: hello, retry: &t.Retry})
}
