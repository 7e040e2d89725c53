package sse

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse/hub"
	"github.com/outcrier/outcrier/sse/wire"
)

// payload200 is the payload of the budget.
var payload200 = json.RawMessage(`{"n":"` + strings.Repeat("p", 192) + `"}`)

// feed delivers reads of n events to a hub, one after the other.
type feed struct {
	hub *hub.Hub
	at  position.Position
	id  int64
	// ends are the positions after mixed reads, the oldest first, that may be in memory.
	ends []position.Position
}

func newFeed(h *hub.Hub) *feed {
	f := &feed{hub: h, at: position.Position{History: 1}}
	f.ends = []position.Position{f.at}
	h.Start(f.at)
	return f
}

func (f *feed) deliver(to position.Position, events []outbox.Event) {
	f.hub.Deliver(tail.Read{From: f.at, To: to, Events: events, First: true, Last: true})
	f.at = to
}

// oldest is the oldest position from which the replay buffer can be read.
func (f *feed) oldest() position.Position {
	for {
		if _, ok := f.hub.Buffer.Resumes(f.ends[0], position.Position{}); ok {
			return f.ends[0]
		}
		f.ends = f.ends[1:]
	}
}

func (f *feed) read(topic string, n int) {
	events := make([]outbox.Event, n)
	for i := range events {
		f.id++
		events[i] = outbox.Event{ID: f.id, XID: uint64(f.id), Topic: topic, Type: "bench.happened", Source: "/", Payload: payload200, CreatedAt: epoch}
	}
	to := after(events[n-1])
	f.deliver(to, events)
}

// taken is a connection with a chunked response whose reader takes all at once, and
// counts the bytes of frames.
type taken struct{ bytes *atomic.Int64 }

func (c taken) Write(p []byte) (int, error) {
	frames := p[bytes.IndexByte(p, '\n')+1 : len(p)-len("\r\n")]
	c.bytes.Add(int64(len(bytes.TrimSuffix(frames, []byte("\x00\x00\x00\xff\xff")))))
	return len(p), nil
}

func (c taken) TryWrite(p []byte) (int, error)       { return c.Write(p) }
func (c taken) chunks() bool                         { return true }
func (c taken) inbox() *inbox                        { return nil }
func (c taken) listen(listener)                      {}
func (c taken) linger()                              {}
func (c taken) abort()                               {}
func (c taken) Flush() error                         { return nil }
func (c taken) SetWriteDeadline(time.Time) error     { return nil }
func (c taken) watch(*watch, listener) (bool, error) { return true, nil }
func (c taken) Close() error                         { return nil }

// BenchmarkFanOut is all that a delivery costs but the socket: one op is one event,
// or ten at once, to every stream.
func BenchmarkFanOut(b *testing.B) { fanOut(b, wire.CloudEvents) }

// BenchmarkFanOut_Gzip is the same to streams that are compressed.
func BenchmarkFanOut_Gzip(b *testing.B) { fanOut(b, wire.Gzip) }

func fanOut(b *testing.B, format wire.Format) {
	for _, streams := range []int{1, 100, 1000, 10_000} {
		for _, together := range []int{1, 10} {
			b.Run(fmt.Sprintf("streams=%d/events=%d", streams, together), func(b *testing.B) {
				s := NewStreamer(newHub(&hub.Buffer{}), slog.New(slog.DiscardHandler))
				feed := newFeed(s.Hub)
				ctx, stop := context.WithCancel(context.Background())
				running := make(chan error)
				go func() { running <- s.run(ctx, nil) }()
				defer func() { stop(); <-running }() //nolint:errcheck // it ends because it was stopped
				for !s.Running() {
					time.Sleep(time.Millisecond)
				}
				var sent atomic.Int64
				for range streams {
					s.Serve(ctx, taken{&sent}, Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"a"}}, Format: format}, func(error) {})
				}
				// One more subscription has the frames, and so tells how long they are.
				sub, _, err := s.Hub.Subscribe(ctx, outbox.Filter{Topics: []outbox.Pattern{"a"}}, format, nil)
				if err != nil {
					b.Fatal(err)
				}
				defer sub.Close()
				var frames []*wire.Frame
				b.ReportAllocs()
				want := sent.Load()
				for b.Loop() {
					feed.read("a", together)
					for more := true; more; {
						frames, _, more = sub.Take(frames[:0])
						for _, f := range frames {
							want += int64(streams * f.Size(format))
						}
					}
					for sent.Load() < want {
						runtime.Gosched()
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*streams*together), "ns/delivery")
			})
		}
	}
}

// BenchmarkResume is a reader who missed 400 events of a node that remembers
// them: one op is the whole stream until it is live.
func BenchmarkResume(b *testing.B) {
	s := NewStreamer(newHub(&hub.Buffer{}), slog.New(slog.DiscardHandler))
	feed := newFeed(s.Hub)
	feed.read("a", 1)
	from := sealed(feed.at)
	for range 100 {
		feed.read("a", 4)
	}
	ctx, stop := context.WithCancel(context.Background())
	running := make(chan error)
	go func() { running <- s.run(ctx, nil) }()
	defer func() { stop(); <-running }() //nolint:errcheck // it ends because it was stopped
	for !s.Running() {
		time.Sleep(time.Millisecond)
	}
	var sent atomic.Int64
	b.ReportAllocs()
	for b.Loop() {
		var t *stream
		s.Serve(ctx, taken{&sent}, Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"a"}}, From: From{Position: from}}, func(error) {})
		b.StopTimer()
		t = s.pool.all()[0]
		t.hasLeft()
		for s.Open() > 0 {
			time.Sleep(time.Microsecond)
		}
		b.StartTimer()
	}
}
