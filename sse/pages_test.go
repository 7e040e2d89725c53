package sse

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/sse/hub"
)

// tableReads is the default of hub.Buffer's Replays.
const tableReads = 4

// However many streams replay, only so many of them read from the table at a
// time, and all get there.
func TestBuffer_ReadsFewPagesAtATime(t *testing.T) {
	fromTable(t, func(t *testing.T, s *server) {
		s.commit("a", 1000)
		var mu sync.Mutex
		reading, most := 0, 0
		count := func(d int) {
			mu.Lock()
			defer mu.Unlock()
			reading += d
			most = max(most, reading)
		}
		s.Hub.Buffer.Past = slow{s.past, count}
		var clients []*client
		for range 12 {
			clients = append(clients, s.open(t, Request{From: From{Earliest: true}}))
		}
		time.Sleep(time.Minute)
		for _, c := range clients {
			c.wantIDs(numbers(1, 1000)...)
		}
		if most != tableReads {
			t.Errorf("%d pages were read at a time, want %d", most, tableReads)
		}
	})
}

// Readers who take nothing, however many, hold no large pages but a few.
func TestReplay_HoldsLargePagesForFew(t *testing.T) {
	fromTable(t, func(t *testing.T, s *server) {
		s.commit("a", 5000)
		var mu sync.Mutex
		events, large := 0, false
		s.Hub.Buffer.Past = limited{s.past, func(limit, _ int) {
			mu.Lock()
			defer mu.Unlock()
			events += limit
			large = large || limit == largePage
		}}
		const readers = 50
		for range readers {
			s.openOn(t, &response{most: 40_000, blocked: make(chan struct{})}, Request{From: From{Earliest: true}})
		}
		time.Sleep(s.Stall / 2)
		mu.Lock()
		defer mu.Unlock()
		// Each has taken up to two small pages and is stuck with another; the
		// few have two large ones.
		if most := readers*3*smallPage + tableReads*2*largePage; events > most {
			t.Errorf("%d readers who are stuck had %d events read, want at most %d", readers, events, most)
		}
		if !large {
			t.Error("nobody was given a lane: the test tests nothing")
		}
		time.Sleep(s.Stall)
		if s.Open() != 0 {
			t.Errorf("%d are open", s.Open())
		}
		for i := range tableReads {
			if _, ok := s.Hub.Buffer.TryLarge(t.Context()); !ok {
				t.Errorf("only %d of %d lanes were left", i, tableReads)
			}
		}
	})
}

// Nor does one who is stuck hold much of a small page of large events, or have them
// read for nothing each time.
func TestReplay_SmallPagesOfLargeEvents(t *testing.T) {
	fromTable(t, func(t *testing.T, s *server) {
		events := s.store("a", 200)
		for i := range events {
			s.past.events[i].Payload = json.RawMessage(`"` + strings.Repeat("x", 8<<10) + `"`)
		}
		s.tail(s.past.events...)
		var mu sync.Mutex
		var asked [][2]int
		s.Hub.Buffer.Past = limited{s.past, func(limit, bytes int) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, [2]int{limit, bytes})
		}}
		c := s.openOn(t, &response{pace: promptly}, Request{From: From{Earliest: true}})
		time.Sleep(10 * time.Second)
		_ = c.end()
		mu.Lock()
		defer mu.Unlock()
		if len(asked) < 3 || asked[0] != [2]int{smallPage, smallBytes} {
			t.Fatalf("asked for %v", asked)
		}
		for _, page := range asked[1:] {
			if page != [2]int{7, smallBytes} {
				t.Errorf("asked for a page of %v: after one of events of 8 kB it is 7 of them", page)
			}
		}
	})
}

// limited is a table that records how much is asked of it.
type limited struct {
	hub.Past
	ask func(limit, bytes int)
}

func (p limited) Replay(ctx context.Context, stretch replay.Range, filter outbox.Filter, limit, bytes int) (replay.Page, error) {
	p.ask(limit, bytes)
	return p.Past.Replay(ctx, stretch, filter, limit, bytes)
}

// slow is a table that takes its time.
type slow struct {
	hub.Past
	count func(int)
}

func (p slow) Replay(ctx context.Context, stretch replay.Range, filter outbox.Filter, limit, bytes int) (replay.Page, error) {
	p.count(1)
	defer p.count(-1)
	time.Sleep(10 * time.Millisecond)
	return p.Past.Replay(ctx, stretch, filter, limit, bytes)
}
