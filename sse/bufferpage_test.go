package sse

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/sse/wire"
)

// heap is the Go heap in use, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC() // and the pools' contents
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Readers that stop reading in the middle of a replay from memory hold the bytes that
// are being written to them, and nothing of the replay buffer, which can release all
// the events that they still have to receive.
func TestReplay_FromMemoryHoldsLittleAndNothingOfTheBuffer(t *testing.T) {
	for name, filter := range map[string]outbox.Filter{
		"all": {Topics: []outbox.Pattern{"**"}}, "few": {Topics: []outbox.Pattern{"few"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(4 << 20)
				feed := newFeed(s.Hub)
				turn := func() {
					for range 20 {
						feed.mixed(250)
					}
				}
				turn()
				before := heap()
				const readers = 200
				for i := range readers {
					if i%20 == 0 { // each score has another stretch to go
						turn()
					}
					s.openOn(t, &response{most: openingBytes, blocked: make(chan struct{})}, Request{Filter: filter, From: From{Position: sealed(s.Hub.Buffer.base)}})
				}
				turn()
				if each := (heap() - before) / readers; each > 64<<10 {
					t.Errorf("a reader holds %d bytes", each)
				}
				if stats := s.Stats(); stats.Open != readers || stats.Memory.Pages != readers || stats.Table.Pages != 0 {
					t.Errorf("%d are open, %d pages came from memory, %d from the table", stats.Open, stats.Memory.Pages, stats.Table.Pages)
				}
				time.Sleep(s.Stall)
				synctest.Wait()
			})
		})
	}
}

// mixed delivers a read of n events of which one is of few.
func (f *feed) mixed(n int) {
	events := make([]outbox.Event, n)
	for i := range events {
		f.id++
		events[i] = outbox.Event{ID: f.id, XID: uint64(f.id), Topic: "many", Type: "bench.happened", Source: "/", Payload: slices.Clone(payload200), CreatedAt: epoch}
	}
	events[n/2].Topic, events[n/2].Payload = "few", slices.Concat([]byte{'"'}, bytes.Repeat([]byte{'p'}, 4000), []byte{'"'})
	to := after(events[n-1])
	f.hub.Deliver(outbox.Read{From: f.at, To: to, Events: events, First: true, Last: true})
	f.at = to
}

// BenchmarkReplay_FullBuffer is a reader that receives a full replay buffer: one op is
// the whole replay.
func BenchmarkReplay_FullBuffer(b *testing.B) {
	for name, topic := range map[string]outbox.Pattern{"all": "**", "few": "few"} {
		b.Run(name, func(b *testing.B) {
			s := NewStreamer(newHub(&Buffer{}), slog.New(slog.DiscardHandler))
			feed := newFeed(s.Hub)
			for s.Hub.Buffer.base.EventID == 0 {
				feed.mixed(100)
			}
			from := s.Hub.Buffer.base
			encoder, _ := wire.NewEncoder(wire.Encoding{Keys: s.Hub.Keys})
			stream := &stream{writer: writer{Streamer: s, to: discard{}, encoder: encoder, heartbeat: time.NewTimer(time.Hour)}, request: Request{Filter: outbox.Filter{Topics: []outbox.Pattern{topic}}}}
			b.ReportAllocs()
			for b.Loop() {
				if err := stream.replay(context.Background(), from, feed.at); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(s.Stats().Memory.Events)/float64(b.N), "events/op")
		})
	}
}

// discard is a reader who takes all at once.
type discard struct{}

func (discard) Write(p []byte) (int, error)      { return len(p), nil }
func (discard) Flush() error                     { return nil }
func (discard) SetWriteDeadline(time.Time) error { return nil }

// Pages of any size give each frame of a leg once, by id, and those of one id
// together, however the reads overlap in their ids.
func TestRing_PagesGoById(t *testing.T) {
	for seed := range uint64(20) {
		chance := rand.New(rand.NewPCG(seed, 0))
		buffer := &Buffer{}
		hub := newHub(buffer)
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
			hub.Deliver(outbox.Read{From: at, To: to, Events: events, First: true, Last: true})
			at = to
		}
		filter := outbox.Filter{Topics: []outbox.Pattern{"a"}}
		if seed%3 == 0 {
			filter.Topics[0] = "**"
		}
		slices.Sort(want)
		var got []int64
		leg := outbox.Range{From: from, To: at}
		pages := 0
		for done := false; !done; pages++ {
			limit, bytes := 1+chance.IntN(100), chance.IntN(5000)-1000
			if seed%5 == 0 {
				limit, bytes = 1<<30, 1<<30 // as much as is looked at in one go
			}
			page, ok := buffer.page(nil, leg, filter, limit, bytes, func(*wire.Frame) int { return 100 })
			if !ok {
				t.Fatal("it is not in the replay buffer")
			}
			for _, f := range page.frames {
				got = append(got, f.Event.ID)
			}
			if n := len(page.frames); n > 0 && (page.frames[0].Event.ID <= leg.After || page.frames[n-1].Event.ID > page.after) {
				t.Fatalf("seed %d: a page from %d to %d has %d to %d", seed, leg.After, page.after, page.frames[0].Event.ID, page.frames[n-1].Event.ID)
			}
			done, leg.After = page.done, page.after
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %d events, want %d", seed, len(got), len(want))
		}
		if seed%5 == 0 && pages < 2 {
			t.Errorf("seed %d: all in one go", seed)
		}
	}
}
