package hub

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse/wire"
)

// Pages of any size give each frame of a stretch once, by id, and those of one id
// together, however the reads overlap in their ids.
func TestBuffer_PagesGoById(t *testing.T) {
	for seed := range uint64(20) {
		chance := rand.New(rand.NewPCG(seed, 0))
		buffer := &Buffer{}
		hub := New(buffer)
		from := position.Position{History: 1}
		hub.Start(from)
		at, xid := from, uint64(0)
		var want []int64
		for len(want) < 9000 {
			events := make([]outbox.Event, 1+chance.IntN(600)*chance.IntN(2))
			for i := range events {
				xid++
				id := int64(xid) + int64(chance.IntN(50))
				if seed%2 == 0 && chance.IntN(300) == 0 { // open for long
					id = 1 + int64(chance.IntN(9000))
				}
				events[i] = outbox.Event{ID: id, XID: xid, Topic: []string{"a", "b"}[chance.IntN(2)], Type: "t"}
				if events[i].Topic == "a" || seed%3 == 0 {
					want = append(want, id)
				}
			}
			slices.SortStableFunc(events, func(a, b outbox.Event) int { return cmp.Compare(a.ID, b.ID) })
			to := position.Position{History: 1, Given: position.Set{Max: xid}, Anchor: position.Anchor{XID: xid}}
			hub.Deliver(tail.Read{From: at, To: to, Events: events, First: true, Last: true})
			at = to
		}
		filter := outbox.Filter{Topics: []outbox.Pattern{"a"}}
		if seed%3 == 0 {
			filter.Topics[0] = "**"
		}
		slices.Sort(want)
		var got []int64
		stretch := replay.Range{From: from, To: at}
		pages := 0
		for done := false; !done; pages++ {
			limit, bytes := 1+chance.IntN(100), chance.IntN(5000)-1000
			if seed%5 == 0 {
				limit, bytes = 1<<30, 1<<30 // as much as is looked at in one go
			}
			page, ok := buffer.Page(nil, stretch, filter, limit, bytes, func(*wire.Frame) int { return 100 })
			if !ok {
				t.Fatal("it is not in the replay buffer")
			}
			for _, f := range page.Frames {
				got = append(got, f.Event.ID)
			}
			if n := len(page.Frames); n > 0 && (page.Frames[0].Event.ID <= stretch.After || page.Frames[n-1].Event.ID > page.After) {
				t.Fatalf("seed %d: a page from %d to %d has %d to %d", seed, stretch.After, page.After, page.Frames[0].Event.ID, page.Frames[n-1].Event.ID)
			}
			done, stretch.After = page.Done, page.After
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %d events, want %d", seed, len(got), len(want))
		}
		if seed%5 == 0 && pages < 2 {
			t.Errorf("seed %d: all in one go", seed)
		}
	}
}

// A read that is larger than the replay buffer is not kept in it, and does not keep
// later reads out.
func TestBuffer_HoldsNoReadLargerThanItself(t *testing.T) {
	buffer := &Buffer{Bytes: 10_000}
	hub := New(buffer)
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
		hub.Deliver(tail.Read{From: at, To: to, Events: large[i : i+100], First: i == 0, Last: i == 200})
		if buffer.bytes > buffer.Bytes || len(buffer.reads) > 0 {
			t.Errorf("%d reads, %d bytes are held", len(buffer.reads), buffer.bytes)
		}
	}
	for range 50 {
		few := events(2)
		next := after(few[1])
		hub.Deliver(tail.Read{From: to, To: next, Events: few, First: true, Last: true})
		to = next
		if buffer.bytes > buffer.Bytes || len(buffer.reads) == 0 {
			t.Errorf("%d reads, %d bytes are held", len(buffer.reads), buffer.bytes)
		}
	}
	page, ok := buffer.Page(nil, replay.Range{From: buffer.base, To: to}, outbox.Filter{Topics: []outbox.Pattern{"a"}}, 1000, 1000, func(*wire.Frame) int { return 1 })
	if n := len(page.Frames); !ok || !page.Done || n < 4 || page.Frames[n-1].Event.ID != id {
		t.Errorf("%d frames, done %v, ok %v", n, page.Done, ok)
	}
}
