package sse

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/outcrier/outcrier/outbox"
)

// A node that has not read so far yet gives what lies between all the same.
func TestPoll_UntilDoesNotDependOnWhatTheNodeHasRead(t *testing.T) {
	ahead, lags := newServer(-1), newServer(-1)
	start := sealed(ahead.at)
	ahead.commit("a", 3)
	until := sealed(ahead.at)
	ahead.commit("a", 2)
	lags.past.events = ahead.past.events
	answer, err := lags.Poll(context.Background(), Request{
		Filter: outbox.Filter{Topics: []outbox.Pattern{"a"}}, From: From{Position: start}, Until: until,
	}, 10, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, raw := range answer.Events {
		var e struct{ ID string }
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e.ID)
	}
	if !slices.Equal(got, numbers(1, 3)) || answer.Position != until {
		t.Errorf("%v up to %s, want 1 to 3 up to %s", got, answer.Position, until)
	}
}
