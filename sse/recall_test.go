package sse

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/sse/wire"
)

// The events that a lagging subscription reads from the replay buffer and those that
// are queued for it meet without a hole or a repeat, also when it reads a frame that
// the hub is about to queue.
func TestSubscription_RecallMeetsTheQueue(t *testing.T) {
	hub := newHub(&Buffer{})
	hub.QueueFrames = 2
	at := position.Position{History: 1}
	hub.Start(at)
	sub, _, err := hub.Subscribe(t.Context(), outbox.Filter{Topics: []outbox.Pattern{"a"}}, wire.CloudEvents)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	read := func(ids ...int64) outbox.Read {
		r := outbox.Read{From: at, First: true, Last: true}
		for _, id := range ids {
			r.Events = append(r.Events, outbox.Event{ID: id, XID: uint64(ids[0]), Topic: "a", Type: "t"})
		}
		r.To = after(r.Events[len(ids)-1])
		at = r.To
		return r
	}
	for id := range int64(5) { // the third does not fit
		hub.Deliver(read(id + 1))
	}
	// The replay buffer has the next two, and the hub is in the middle of Deliver.
	frames := hub.Buffer.deliver(read(6, 7), &wire.Read{From: at, To: at, Number: hub.read + 1})

	var given []int64
	take := func() {
		taken, state, more := sub.take(nil)
		for _, f := range taken {
			given = append(given, f.Event.ID)
		}
		if state != current || more {
			t.Errorf("state %v, more %v", state, more)
		}
	}
	take()
	for i := range frames {
		if sub.push(&frames[i]) {
			t.Errorf("event %d was recalled, and is queued too", frames[i].Event.ID)
		}
	}
	take()
	hub.Deliver(read(8))
	take()
	if want := []int64{1, 2, 3, 4, 5, 6, 7, 8}; !slices.Equal(given, want) {
		t.Errorf("given were %v, not %v", given, want)
	}
}

// What a subscription holds on to is in the replay buffer, too: when the replay buffer lets go of
// it, the subscription does.
func TestSubscription_HoldsNoFrameThatTheRingDropped(t *testing.T) {
	hub := newHub(&Buffer{Bytes: 3 * wire.Footprint(&outbox.Event{Topic: "x", Type: "t"})})
	at := position.Position{History: 1}
	hub.Start(at)
	sub, _, err := hub.Subscribe(t.Context(), outbox.Filter{Topics: []outbox.Pattern{"a"}}, wire.CloudEvents)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	for n, topic := range []string{"a", "x", "x", "x", "a"} {
		e := outbox.Event{ID: int64(n + 1), XID: uint64(n + 1), Topic: topic, Type: "t"}
		hub.Deliver(outbox.Read{From: at, To: after(e), Events: []outbox.Event{e}, First: true, Last: true})
		at = after(e)
	}
	if frames, state, _ := sub.take(nil); len(frames) > 0 || state != behind {
		t.Errorf("%d frames wait, state %v; the first is not in the replay buffer any more", len(frames), state)
	}
}

// Also when nothing is added to it any more, and its reader takes nothing: as soon as
// the replay buffer was filled twice.
func TestSubscription_HoldsNoFrameOfAQuietTopicThatTheRingDropped(t *testing.T) {
	hub := newHub(&Buffer{Bytes: 3 * wire.Footprint(&outbox.Event{Topic: "x", Type: "t"})})
	at := position.Position{History: 1}
	hub.Start(at)
	sub, _, err := hub.Subscribe(t.Context(), outbox.Filter{Topics: []outbox.Pattern{"a"}}, wire.CloudEvents)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	for n, topic := range []string{"x", "x", "x", "a", "x", "x", "x", "x", "x", "x", "x"} {
		e := outbox.Event{ID: int64(n + 1), XID: uint64(n + 1), Topic: topic, Type: "t"}
		hub.Deliver(outbox.Read{From: at, To: after(e), Events: []outbox.Event{e}, First: true, Last: true})
		at = after(e)
	}
	if len(sub.queue) > 0 || sub.state != lagging {
		t.Errorf("%d frames wait, state %v", len(sub.queue), sub.state)
	}
	if frames, state, _ := sub.take(nil); len(frames) > 0 || state != behind {
		t.Errorf("%d frames wait, state %v", len(frames), state)
	}
}

// A read that is larger than the replay buffer is not kept in it, and does not keep
// later reads out.
func TestRing_HoldsNoReadLargerThanItself(t *testing.T) {
	buffer := &Buffer{Bytes: 10_000}
	hub := newHub(buffer)
	at := position.Position{History: 1}
	hub.Start(at)
	id := int64(0)
	events := func(n int) (list []outbox.Event) {
		for range n {
			id++
			list = append(list, outbox.Event{ID: id, XID: uint64(id), Topic: "a", Type: "t"})
		}
		return list
	}
	large := events(300)
	to := after(large[299])
	for i := 0; i < 300; i += 100 {
		hub.Deliver(outbox.Read{From: at, To: to, Events: large[i : i+100], First: i == 0, Last: i == 200})
		if buffer.bytes > buffer.Bytes || len(buffer.reads) > 0 {
			t.Errorf("%d reads, %d bytes are held", len(buffer.reads), buffer.bytes)
		}
	}
	for range 50 {
		few := events(2)
		next := after(few[1])
		hub.Deliver(outbox.Read{From: to, To: next, Events: few, First: true, Last: true})
		to = next
		if buffer.bytes > buffer.Bytes || len(buffer.reads) == 0 {
			t.Errorf("%d reads, %d bytes are held", len(buffer.reads), buffer.bytes)
		}
	}
	page, ok := buffer.page(nil, outbox.Range{From: buffer.base, To: to}, outbox.Filter{Topics: []outbox.Pattern{"a"}}, 1000, 1000, func(*wire.Frame) int { return 1 })
	if n := len(page.frames); !ok || !page.done || n < 4 || page.frames[n-1].Event.ID != id {
		t.Errorf("%d frames, done %v, ok %v", n, page.done, ok)
	}
}

// However many streams replay, only so many of them read from the table at a
// time, and all get there.
func TestRing_ReadsFewPagesAtATime(t *testing.T) {
	fromTable(t, func(t *testing.T, s *server) {
		s.commit("a", 2000)
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
		for range 40 {
			clients = append(clients, s.open(t, Request{From: From{Earliest: true}}))
		}
		time.Sleep(time.Minute)
		for _, c := range clients {
			c.wantIDs(numbers(1, 2000)...)
		}
		if want := s.Hub.Buffer.slots.Places(); most != want {
			t.Errorf("%d pages were read at a time, want %d", most, want)
		}
	})
}

// Readers who take nothing, however many, hold no large pages but a few.
func TestReplay_HoldsLargePagesForFew(t *testing.T) {
	fromTable(t, func(t *testing.T, s *server) {
		s.commit("a", 5000)
		var mu sync.Mutex
		events := 0
		s.Hub.Buffer.Past = limited{s.past, func(limit, _ int) {
			mu.Lock()
			defer mu.Unlock()
			events += limit
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
		if most := readers*3*smallPage + s.Hub.Buffer.lanes.Places()*2*largePage; events > most {
			t.Errorf("%d readers who are stuck had %d events read, want at most %d", readers, events, most)
		}
		if s.Hub.Buffer.lanes.Used() == 0 {
			t.Error("nobody was given a lane: the test tests nothing")
		}
		time.Sleep(s.Stall)
		if s.Open() != 0 || s.Hub.Buffer.lanes.Used() != 0 {
			t.Errorf("%d are open, %d lanes taken", s.Open(), s.Hub.Buffer.lanes.Used())
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
	Past
	ask func(limit, bytes int)
}

func (p limited) Replay(ctx context.Context, leg outbox.Range, filter outbox.Filter, limit, bytes int) (outbox.Page, error) {
	p.ask(limit, bytes)
	return p.Past.Replay(ctx, leg, filter, limit, bytes)
}

// slow is a table that takes its time.
type slow struct {
	Past
	count func(int)
}

func (p slow) Replay(ctx context.Context, leg outbox.Range, filter outbox.Filter, limit, bytes int) (outbox.Page, error) {
	p.count(1)
	defer p.count(-1)
	time.Sleep(10 * time.Millisecond)
	return p.Past.Replay(ctx, leg, filter, limit, bytes)
}
