package sse

import "github.com/outcrier/outcrier/outbox"

// handover joins what a stream has been given to the hub's frames. As a rule the
// stream stands where the hub stands, and frames pass with their own ids. But a
// stream can come from a node that has read further than this one: then what it
// was given already is left out, and the rest passes with ids of its own, until
// the hub has read past it.
type handover struct {
	// at is the position of the stream.
	at outbox.Position
	// ahead tells that the hub has not read past the stream yet. While it is
	// set, base is what the stream was given before read, which it stands in.
	ahead bool
	base  outbox.Position
	read  *reading
}

// join begins at w, with a stream that was given everything up to w, and perhaps
// more.
func join(given, w outbox.Position) handover {
	given = given.Join(w)
	return handover{at: given, base: given, ahead: !w.Given.Covers(given.Given)}
}

// admit tells whether the frame is new to the stream; at is then the position
// after it.
func (h *handover) admit(f *Frame) bool {
	if h.ahead && f.read != h.read {
		if h.read != nil {
			h.base = h.base.Join(h.read.To)
		}
		h.read = f.read
		h.ahead = !f.read.From.Given.Covers(h.base.Given)
	}
	switch {
	case !h.ahead:
		h.at = f.Position()
	case h.base.Has(f.Event.XID, f.Event.ID):
		return false
	default:
		leg := outbox.Leg{From: h.base, To: h.base.Join(f.read.To)}
		h.at = leg.At(claim(f.Event.ID, f.tied))
	}
	return true
}

// idle takes note that everything up to the hub's position was handed over.
func (h *handover) idle(hub outbox.Position) {
	if !h.ahead || hub.Within == nil && hub.Given.Covers(h.base.Given) {
		h.ahead, h.at = false, hub
	}
}
