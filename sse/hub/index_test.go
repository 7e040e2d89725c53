package hub

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/outcrier/outcrier/outbox"
)

func TestIndex_AgreesWithMatch(t *testing.T) {
	segments := rapid.SampledFrom([]string{"a", "b", "c"})
	patterns := rapid.Custom(func(t *rapid.T) outbox.Pattern {
		parts := rapid.SliceOfN(rapid.OneOf(segments, rapid.Just("*")), 0, 3).Draw(t, "segments")
		if len(parts) == 0 || rapid.Bool().Draw(t, "rest") {
			parts = append(parts, "**")
		}
		return outbox.Pattern(strings.Join(parts, "/"))
	})
	rapid.Check(t, func(t *rapid.T) {
		x := newIndex()
		var subs []*Subscription
		for range rapid.IntRange(1, 8).Draw(t, "subscriptions") {
			s := &Subscription{filter: outbox.Filter{Topics: rapid.SliceOfN(patterns, 1, 4).Draw(t, "topics")}}
			x.add(s)
			subs = append(subs, s)
		}
		for len(subs) > 0 {
			topic := strings.Join(rapid.SliceOfN(segments, 1, 4).Draw(t, "topic"), "/")
			found := map[*Subscription]bool{}
			x.each(topic, func(s *Subscription) { found[s] = true })
			for _, s := range subs {
				if found[s] != s.filter.Match(topic, "") {
					t.Errorf("%v on %s: the index says %v", s.filter.Topics, topic, found[s])
				}
				delete(found, s)
			}
			if len(found) > 0 {
				t.Errorf("the index finds %d that were taken out", len(found))
			}
			gone := rapid.IntRange(0, len(subs)-1).Draw(t, "gone")
			x.remove(subs[gone])
			subs = slices.Delete(subs, gone, gone+1)
		}
		if n := len(x.exact) + len(x.patterns.children) + len(x.patterns.ends) + len(x.patterns.rest); n > 0 {
			t.Errorf("the empty index holds %d", n)
		}
	})
}
