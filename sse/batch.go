package sse

import (
	"context"
	"time"

	"github.com/outcrier/outcrier/outbox"
)

// batches gathers the events of a stream that asks for them in batches: one SSE event a
// window, whose data is a JSON array, and whose id is the position after the last of them.
// Events that wait for their window wait in the hub, like those for any reader; only the
// batch that is being written is gathered here.
type batches struct {
	plain
	// named is set when the SSE event is to be outcrier.batch; else batches arrive
	// at onmessage.
	named bool
	// data is the field data, without its end: made of those that the frames of the
	// unnamed format have, so that nothing is encoded for one stream alone.
	data []byte
	// at is the position after the last event of the batch.
	at     outbox.Position
	events int
	// next is the field data of the event that room was asked for.
	next []byte
}

// A batch has at most this many events and bytes, unless a single event is larger: clients
// that read an event into a buffer often have 64 kB for it, and would drop the stream at
// the same batch again and again.
const (
	batchEvents = 500
	batchBytes  = 32 << 10
)

func newBatches(p plain) *batches {
	b := &batches{plain: p, named: p.format&Unnamed == 0}
	// Its text is its own, and so is not compressed before it is written.
	b.format = p.format&^Gzip | Unnamed
	return b
}

// room makes room for an event. The buffer is sent before a batch begins, so a batch that
// has begun waits for no reader.
func (b *batches) room(dst []byte, f *Frame, e *outbox.Event) ([]byte, bool) {
	if f != nil {
		b.next = f.within(b.format, b.maxData).data()
	} else {
		b.next = appendHeadWithin(nil, e, b.format, b.maxData)
	}
	if b.events > 0 && (b.events >= batchEvents || len(b.data)+len(b.next) > batchBytes) {
		dst = b.close(dst)
	}
	return dst, b.events == 0 && len(dst) > 0
}

func (b *batches) pending() int { return len(b.data) }

func (b *batches) frame(dst []byte, f *Frame) []byte { return b.frameAt(dst, f, f.Position()) }

func (b *batches) frameAt(dst []byte, f *Frame, at outbox.Position) []byte {
	return b.event(dst, f.Event, at)
}

// event adds an event to the batch, which has room for it.
func (b *batches) event(dst []byte, _ *outbox.Event, at outbox.Position) []byte {
	const name = "data: "
	if b.events == 0 {
		b.data = append(b.data, name+"["...)
	} else {
		b.data = append(b.data, ',')
	}
	b.data = append(b.data, b.next[len(name):len(b.next)-1]...)
	b.at, b.next = at, nil
	b.events++
	return dst
}

// close appends the batch, if there is anything in it.
func (b *batches) close(dst []byte) []byte {
	if b.events == 0 {
		return dst
	}
	dst = begin(dst)
	if b.named {
		dst = append(dst, "event: outcrier.batch\n"...)
	}
	dst = append(dst, b.data...)
	dst = appendEnd(append(dst, "]\n"...), b.keys, b.at)
	b.events, b.data = 0, b.data[:0]
	if cap(b.data) > 2*batchBytes {
		b.data = nil // one very large event
	}
	return dst
}

func (b *batches) notice(dst []byte, n notice) []byte { return b.plain.notice(b.close(dst), n) }

func (b *batches) heartbeat(dst []byte, at outbox.Position, moved bool) []byte {
	return b.plain.heartbeat(b.close(dst), at, moved)
}

func (b *batches) end(dst []byte, e ending) ([]byte, bool) { return b.plain.end(b.close(dst), e) }

func (b *batches) seal(dst []byte) []byte {
	dst = b.close(dst)
	b.data = nil // a stream that waits holds no buffer
	return dst
}

// followWindows is follow for a stream with batches: it takes frames from the hub when the
// window is over that began with the first of them. Such a stream is never parked, since it
// waits for its own timer.
func (t *stream) followWindows(ctx context.Context) error {
	window := time.NewTimer(t.request.Batch)
	window.Stop()
	defer window.Stop()
	waiting := false
	for {
		t.answer()
		if err := t.flush(); err != nil {
			return err
		}
		select {
		case <-t.sub.wake:
			if !waiting {
				waiting = true
				window.Reset(t.request.Batch)
			}
		case <-window.C:
			waiting = false
			if isBehind, err := t.takeWindow(ctx); isBehind || err != nil {
				return err
			}
		case <-t.heartbeat.C:
			t.beat()
		case <-t.draining:
			t.endLater()
		case <-t.end:
			if _, err := t.takeWindow(ctx); err != nil { // the frames so far
				return err
			}
			return t.goodbye(ErrDraining)
		case <-t.over:
			return t.goodbye(*t.why.Load())
		case <-ctx.Done():
			return t.goodbye(context.Cause(ctx))
		}
	}
}

// takeWindow puts all waiting frames into the buffer, and reports whether the stream is
// behind. It is also behind if events were erased since they were taken, which may be long
// before they are written.
func (t *stream) takeWindow(ctx context.Context) (isBehind bool, err error) {
	var frames []*Frame
	for {
		erasures := t.Hub.Ring.erasures.Load()
		taken, state, more := t.sub.take(frames[:0])
		frames = taken
		for _, f := range frames {
			if err := t.room(ctx, f, f.Event); err != nil {
				return false, err
			}
			if t.Hub.Ring.erasures.Load() != erasures {
				state = behind
				break
			}
			if t.joined.admit(f) {
				t.put(f)
			}
		}
		clear(frames)
		if more && state != behind {
			continue
		}
		return state == behind, t.flush()
	}
}
