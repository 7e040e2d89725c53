package handlers_test

import (
	"net/http"
	"slices"
	"testing"
)

// TestPoll_UntilGivesWhatLiesBetweenTwoPositions joins each position of a reader to
// each other one, in the middle of transactions and between them.
func TestPoll_UntilGivesWhatLiesBetweenTwoPositions(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	positions := []string{n.poll(t, "topic=a&wait=0").Position}
	var ids []string
	if _, err := n.pool.Exec(t.Context(), `INSERT INTO outbox (topic, type) SELECT t, 'test.added' FROM unnest(ARRAY['a', 'b', 'a', 'a', 'b', 'a']) AS t`); err != nil {
		t.Fatal(err)
	}
	n.add(t, "a")
	n.add(t, "b")
	n.add(t, "a")
	n.seen(t, 9)
	for len(ids) < 6 {
		p := n.poll(t, "topic=a&limit=1&after="+q(positions[len(ids)]))
		ids, positions = append(ids, p.ids()...), append(positions, p.Position)
	}
	for i, from := range positions {
		for j, until := range positions {
			var got []string
			at := from
			for pages := 0; at != until; pages++ {
				if pages == 20 {
					t.Fatalf("from %d to %d: the pages do not end", i, j)
				}
				p := n.poll(t, "topic=a&limit=2&after="+q(at)+"&until="+q(until))
				if p.Gap != nil || len(p.Events) > 2 {
					t.Errorf("from %d to %d: %+v", i, j, p)
				}
				got, at = append(got, p.ids()...), p.Position
			}
			if want := ids[i:max(i, j)]; !slices.Equal(got, want) {
				t.Errorf("from %d to %d are %v, want %v", i, j, got, want)
			}
		}
	}
	if p := n.poll(t, "topic=a&from=earliest&until="+q(positions[3])); !slices.Equal(p.ids(), ids[:3]) || p.Position != positions[3] {
		t.Errorf("from the earliest: %+v, want %v", p, ids[:3])
	}
	do(t, "GET", n.events("topic=a&until=yesterday"), "", "Accept", "application/json").wantProblem(t, http.StatusBadRequest, "until", "yesterday")
	do(t, "GET", n.events("topic=a&until="+q(positions[0])), "").wantProblem(t, http.StatusBadRequest, "until")
}

// TestPoll_UntilTellsGaps asks from positions that can't be resumed.
func TestPoll_UntilTellsGaps(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	for name, test := range badPositions(t, n) {
		t.Run(name, func(t *testing.T) {
			now := n.poll(t, "topic=a&wait=0").Position
			p := n.poll(t, "topic=a&after="+q(test.position)+"&until="+q(now))
			if p.Gap == nil || p.Gap.Reason != test.reason || p.Position != now {
				t.Errorf("%+v %s, want reason %s and position %s", p.Gap, p.Position, test.reason, now)
			}
		})
	}
}
