package tail

import (
	"testing"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
)

func TestRead_PositionsOfPartsAreThoseOfTheWhole(t *testing.T) {
	to := position.Position{EventID: 4, Given: position.Set{Max: 9}, Anchor: position.Anchor{XID: 9}}
	events := []outbox.Event{{ID: 1, XID: 7}, {ID: 2, XID: 8}, {ID: 3, XID: 9}, {ID: 4, XID: 7}}
	whole := Read{To: to, Events: events, First: true, Last: true}
	first := Read{To: to, Events: events[:2], First: true}
	last := Read{To: to, Events: events[2:], Last: true}
	for i := range events {
		part, at := &first, i
		if i >= 2 {
			part, at = &last, i-2
		}
		if got, want := part.At(at).String(), whole.At(i).String(); got != want {
			t.Errorf("event %d: %s, want %s", events[i].ID, got, want)
		}
		for _, e := range events {
			if given := whole.At(i).Has(e.XID, e.ID); given != (e.ID <= events[i].ID) {
				t.Errorf("after event %d, event %d is given: %v", events[i].ID, e.ID, given)
			}
		}
	}
}
