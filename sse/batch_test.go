package sse

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/sse/ssetest"
	"github.com/outcrier/outcrier/sse/wire"
)

const window = 250 * time.Millisecond

// inBatches are the ids of the events in each batch.
func inBatches(t *testing.T, events []ssetest.Event) (list [][]string) {
	t.Helper()
	for _, e := range events {
		if strings.HasPrefix(e.Type, "outcrier.") && e.Type != "outcrier.batch" {
			continue
		}
		var batch []struct{ ID string }
		if err := json.Unmarshal([]byte(e.Data), &batch); err != nil || len(batch) == 0 {
			t.Errorf("%q is no batch: %v", e.Data, err)
		}
		var ids []string
		for _, one := range batch {
			ids = append(ids, one.ID)
		}
		list = append(list, ids)
	}
	return list
}

func TestBatch_IsAWindowOfEvents(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		c := s.open(t, Request{Batch: window})
		if got := types(c.next()); !slices.Equal(got, []string{"outcrier.hello", "outcrier.live"}) {
			t.Fatalf("it begins with %q", got)
		}
		s.commit("a", 1)
		time.Sleep(window / 2)
		last := s.commit("a", 2)
		s.commit("b", 1)
		time.Sleep(window/2 - time.Millisecond)
		if got := c.next(); len(got) > 0 {
			t.Errorf("within the window come %+v", got)
		}
		time.Sleep(time.Millisecond)
		got := c.next()
		if len(got) != 1 || got[0].Type != "outcrier.batch" || got[0].ID != sealed(after(last[1])) {
			t.Fatalf("after the window come %+v", got)
		}
		if ids := inBatches(t, got); !slices.Equal(ids[0], numbers(1, 3)) {
			t.Errorf("it holds %q", ids)
		}
		// A reader that leaves now resumes with the events that were not sent.
		s.commit("a", 1)
		_ = c.end()
		if ids := inBatches(t, s.open(t, Request{Batch: window, From: From{Position: got[0].ID}}).next()); len(ids) != 1 || !slices.Equal(ids[0], numbers(5, 5)) {
			t.Errorf("resumed with %q", ids)
		}
	})
}

func TestBatch_IsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		const some = wire.BatchEvents + 10
		s.commit("a", some)
		c := s.open(t, Request{Batch: window, From: From{Earliest: true}})
		s.commit("a", some)
		time.Sleep(2 * window)
		var all []string
		for _, ids := range inBatches(t, c.next()) {
			if len(ids) > wire.BatchEvents {
				t.Errorf("a batch has %d events", len(ids))
			}
			all = append(all, ids...)
		}
		if !slices.Equal(all, numbers(1, 2*some)) {
			t.Errorf("%d events in all: %q", len(all), all)
		}
		s.store("a", 3)
		for i := range s.past.events[2*some:] {
			s.past.events[2*some+i].Payload = json.RawMessage(`"` + strings.Repeat("x", wire.BatchBytes*2/3) + `"`)
		}
		s.tail(s.past.events[2*some:]...)
		time.Sleep(2 * window)
		if ids := inBatches(t, c.next()); len(ids) != 3 {
			t.Errorf("three large events come in %d batches", len(ids))
		}
	})
}

func TestBatch_Formats(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		events := s.store("a", 2)
		events[0].Payload, events[1].Payload = json.RawMessage("{\r\n\"a\":\r1}"), json.RawMessage("[\n]")
		copy(s.past.events, events)
		s.tail(events...)
		for _, named := range []bool{true, false} {
			request := Request{Batch: window, Format: wire.Payload, From: From{Earliest: true}}
			want := "outcrier.batch"
			if !named {
				request.Format, want = wire.Payload|wire.Unnamed, "message"
			}
			got := s.open(t, request).next()
			if len(got) != 3 || got[1].Type != want || got[1].Data != "[{  \"a\": 1},[ ]]" {
				t.Errorf("named %v: %+v", named, got)
			}
		}
	})
}

func TestBatch_ServersOwnEventsAreBesideIt(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.commit("a", 3)
		c := s.open(t, Request{Batch: window, From: From{Earliest: true}})
		s.commit("b", 1)
		time.Sleep(s.Heartbeat + time.Second)
		s.commit("a", 1)
		time.Sleep(window)
		c.expire(&wire.Goodbye{Reason: "token_expired"})
		want := []string{"outcrier.hello", "outcrier.batch", "outcrier.live", "outcrier.position", "outcrier.batch"}
		if !s.parks {
			want = append(want, "outcrier.goodbye")
		}
		if got := types(c.next()); !slices.Equal(got[:len(want)], want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// A reader that is cut off again and again, and comes back with the id of the last
// batch that it got whole, receives each event once, in order.
func TestBatch_LosesAndRepeatsNothingOverCuts(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		s.Hub.QueueFrames = 8
		var given []string
		from := From{Earliest: true}
		s.commit("a", 1)
		for range 60 {
			c := s.open(t, Request{Batch: window, From: from})
			for range rand.IntN(4) {
				s.commit([]string{"a", "a", "b"}[rand.IntN(3)], 1+rand.IntN(20))
				time.Sleep(rand.N(window))
			}
			got := c.next()
			_ = c.end()
			got = got[:rand.IntN(len(got)+1)] // what of it arrived
			for _, ids := range inBatches(t, got) {
				given = append(given, ids...)
			}
			if len(got) > 0 {
				from = From{Position: got[len(got)-1].ID}
			}
		}
		c := s.open(t, Request{Batch: window, From: from})
		for _, ids := range inBatches(t, c.next()) {
			given = append(given, ids...)
		}
		var want []string
		for _, e := range s.past.events {
			if e.Topic == "a" {
				want = append(want, fmt.Sprint(e.ID))
			}
		}
		if !slices.Equal(given, want) {
			t.Errorf("given %d events, want %d", len(given), len(want))
		}
	})
}
