package sse

import (
	"slices"
	"testing"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse/hub"
	"github.com/outcrier/outcrier/sse/wire"
)

// A stream that is ahead of its node receives the part that it lacks of a read that
// comes in several parts, with positions that keep all that it had.
func TestJoin_AheadThroughAReadInParts(t *testing.T) {
	at := func(max uint64, except ...uint64) position.Position {
		return position.Position{Given: position.Set{Max: max, Except: except}, Anchor: position.Anchor{XID: max}}
	}
	h := newHub(&hub.Buffer{Bytes: -1})
	h.Start(at(10))
	filter := outbox.Filter{Topics: []outbox.Pattern{"**"}}
	sub, w, err := h.Subscribe(t.Context(), filter, wire.Payload, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	ahead := at(20, 15)
	joined := newJoin(ahead, w)

	to := at(30)
	parts := []tail.Read{
		{From: at(10), To: to, First: true, Events: []outbox.Event{{ID: 1, XID: 12}, {ID: 2, XID: 15}, {ID: 3, XID: 25}}},
		{From: at(10), To: to, Events: []outbox.Event{{ID: 4, XID: 26}, {ID: 5, XID: 20}}},
		{From: at(10), To: to, Last: true, Events: []outbox.Event{{ID: 6, XID: 30}}},
	}
	var given []int64
	for _, part := range parts {
		for i := range part.Events {
			part.Events[i].Topic = "a"
		}
		h.Deliver(part)
		frames, _, _ := sub.Take(nil)
		for _, f := range frames {
			if !joined.admit(f) {
				continue
			}
			given = append(given, f.Event.ID)
			for _, p := range parts {
				for _, e := range p.Events {
					want := ahead.Has(e.XID, e.ID) || e.ID <= f.Event.ID
					if got := joined.at.Has(e.XID, e.ID); got != want {
						t.Errorf("the position after event %d says %t of event %d", f.Event.ID, got, e.ID)
					}
				}
			}
		}
	}
	if want := []int64{2, 3, 4, 6}; !slices.Equal(given, want) {
		t.Errorf("given were %v, not %v", given, want)
	}

	h.Deliver(tail.Read{From: to, To: at(40), First: true, Last: true, Events: []outbox.Event{{ID: 7, XID: 40, Topic: "a"}}})
	frames, _, _ := sub.Take(nil)
	if len(frames) != 1 || !joined.admit(frames[0]) || joined.ahead {
		t.Errorf("the stream is still ahead after the hub has read past it")
	}
}
