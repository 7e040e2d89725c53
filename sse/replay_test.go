package sse

import (
	"bytes"
	"context"
	"log/slog"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse/hub"
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
				s := newServer(1 << 20)
				feed := newFeed(s.Hub)
				turn := func() {
					for range 5 {
						feed.mixed(250)
					}
				}
				turn()
				before := heap()
				const readers = 50
				for i := range readers {
					if i%5 == 0 { // each five have another range to go
						turn()
					}
					s.openOn(t, &response{most: openingBytes, blocked: make(chan struct{})}, Request{Filter: filter, From: From{Position: sealed(feed.oldest())}})
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
	f.deliver(to, events)
	f.ends = append(f.ends, to)
}

// BenchmarkReplay_FullBuffer is a reader that receives a full replay buffer: one op is
// the whole replay.
func BenchmarkReplay_FullBuffer(b *testing.B) {
	for name, topic := range map[string]outbox.Pattern{"all": "**", "few": "few"} {
		b.Run(name, func(b *testing.B) {
			s := NewStreamer(newHub(&hub.Buffer{}), slog.New(slog.DiscardHandler))
			feed := newFeed(s.Hub)
			for feed.oldest().EventID == 0 {
				feed.mixed(100)
			}
			from := feed.oldest()
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
