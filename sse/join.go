package sse

import (
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/sse/wire"
)

// join joins a stream to the hub's frames. Usually the stream's position is the hub's,
// and frames pass with their own ids. But a stream can come from a node that has read
// further than this one: then frames that it already has are left out, and the rest gets
// ids of its own, until the hub has read past the stream's position.
type join struct {
	// at is the position of the stream.
	at position.Position
	// ahead is set while the hub has not read past the stream's position. Then base is the
	// position before read, in the middle of which the stream is.
	ahead bool
	base  position.Position
	read  *wire.Read
}

// newJoin returns the join at w of a stream that has received everything up to w, and
// perhaps more.
func newJoin(received, w position.Position) join {
	received = received.Join(w)
	return join{at: received, base: received, ahead: !w.Given.Covers(received.Given)}
}

// admit reports whether the frame is new to the stream; at is then the position after it.
func (h *join) admit(f *wire.Frame) bool {
	if h.ahead && f.Read != h.read {
		if h.read != nil {
			h.base = h.base.Join(h.read.To)
		}
		h.read = f.Read
		h.ahead = !f.Read.From.Given.Covers(h.base.Given)
	}
	switch {
	case !h.ahead:
		h.at = f.Position()
	case h.base.Has(f.Event.XID, f.Event.ID):
		return false
	default:
		stretch := replay.Range{From: h.base, To: h.base.Join(f.Read.To)}
		h.at = stretch.At(wire.ResumeID(f.Event.ID, f.Tied))
	}
	return true
}

// idle records that the stream has received everything up to the hub's position.
func (h *join) idle(hub position.Position) {
	if !h.ahead || hub.Within == nil && hub.Given.Covers(h.base.Given) {
		h.ahead, h.at = false, hub
	}
}
