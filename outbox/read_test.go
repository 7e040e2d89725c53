package outbox

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/outbox/position"
	"pgregory.net/rapid"
)

func TestParseSnapshot_ListsTransactionsInProgress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		xip := rapid.SliceOf(rapid.Uint64Range(1, math.MaxInt64)).Draw(t, "xip")
		text := fmt.Sprintf("3:%d:%s", uint64(math.MaxInt64), strings.Trim(strings.Join(strings.Fields(fmt.Sprint(xip)), ","), "[]"))
		got, err := parseSnapshot(text)
		slices.Sort(xip)
		if err != nil || got.min != 3 || got.max != math.MaxInt64 || !slices.Equal(got.inProgress, xip) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	})
}

func FuzzParseSnapshot(f *testing.F) {
	for _, text := range []string{"", "3:3:", "3:9:4,5", "3:9:5,4", "1:2", "a:b:c", "1:2:-3", "1:2:99999999999999999999"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSnapshot(text)
		if err == nil && (strings.Count(text, ":") != 2 || !slices.IsSorted(s.inProgress)) {
			t.Errorf("%q is taken for %v", text, s)
		}
	})
}

func TestRead_PositionsOfPartsAreThoseOfTheWhole(t *testing.T) {
	to := position.Position{EventID: 4, Given: position.Set{Max: 9}, Anchor: position.Anchor{XID: 9}}
	events := []Event{{ID: 1, XID: 7}, {ID: 2, XID: 8}, {ID: 3, XID: 9}, {ID: 4, XID: 7}}
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
