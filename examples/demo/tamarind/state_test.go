package tamarind

import (
	"encoding/json"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
)

// What a page shows and what its stream brings later are each other's
// complement: an event is after the position exactly if its change is not in
// the state.
func TestState_MeetsItsPosition(t *testing.T) {
	d := newBusiness(t)
	var writers sync.WaitGroup
	for _, who := range submitters {
		writers.Go(func() {
			for range 20 {
				if _, err := d.Submit(t.Context(), who, Submission{Title: "a"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var states []State
	for range 40 {
		states = append(states, must[State](t)(d.State(t.Context(), "rita")))
	}
	writers.Wait()

	list := events(t, d.pool)
	var keys position.Keys
	if err := keys.Read(t.Context(), d.pool, outbox.DefaultSchema); err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		position := must[position.Position](t)(keys.Open(s.Position))
		for _, e := range list {
			if e.Topic != "reviewers" {
				continue
			}
			var item Item
			if err := json.Unmarshal(e.Payload, &item); err != nil {
				t.Fatal(err)
			}
			shown := slices.ContainsFunc(s.Items, func(i Item) bool { return i.ID == item.ID })
			if given := position.Has(e.XID, e.ID); given != shown {
				t.Errorf("item %d is shown: %t, its event %d is before %s: %t", item.ID, shown, e.ID, s.Position, given)
			}
		}
	}
}

func TestState_ShowsWhatConcernsAPerson(t *testing.T) {
	d := newBusiness(t)
	a := must[Item](t)(d.Submit(t.Context(), "ada", Submission{Title: "a"}))
	b := must[Item](t)(d.Submit(t.Context(), "bo", Submission{Title: "b"}))
	must[Item](t)(d.Approve(t.Context(), "rita", b.ID, ""))
	for person, want := range map[string]struct {
		items  []int64
		topics []string
	}{
		"ada":  {[]int64{a.ID}, []string{"user/ada", "public/**"}},
		"cleo": {nil, []string{"user/cleo", "public/**"}},
		"rita": {[]int64{a.ID, b.ID}, []string{"user/rita", "reviewers", "public/**"}},
		"tom":  {[]int64{b.ID}, []string{"user/tom", "traders", "trades/*", "public/announcements", "public/market"}},
	} {
		s := must[State](t)(d.State(t.Context(), person))
		var items []int64
		for _, i := range s.Items {
			items = append(items, i.ID)
		}
		if diff := cmp.Diff(want.items, items); diff != "" {
			t.Errorf("items of %s (-want +got):\n%s", person, diff)
		}
		if diff := cmp.Diff(want.topics, s.Topics); diff != "" {
			t.Errorf("topics of %s (-want +got):\n%s", person, diff)
		}
	}
	_, err := d.State(t.Context(), "nobody")
	wantProblem(t, err, 404, "")
}
