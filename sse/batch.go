package sse

import (
	"context"
	"time"

	"github.com/outcrier/outcrier/outbox"
)

// batch gathers the events of a stream that asks for them in batches: one SSE
// event a window, whose data is a JSON array, and whose id is the position after
// the last of them. What waits for its window waits in the hub, like what waits for
// any reader; here only what is being written is gathered.
type batch struct {
	window time.Duration
	// named is set when the SSE event is to be outcrier.batch; else batches arrive
	// at onmessage.
	named bool

	// data is the field data, without its end: made of those that the frames of the
	// unnamed format have, so that nothing is encoded for one stream alone.
	data []byte
	// at is the position after the last event, last its id.
	at     outbox.Position
	events int
	last   int64
}

// A batch has at most so many events, and so many bytes, unless a single event is
// larger: clients that read an event into a buffer often have 64 kB for it, and
// would drop the stream at the same batch again and again.
const (
	batchEvents = 500
	batchBytes  = 32 << 10
)

// newBatch is the batch of a stream, nil for one that wants none.
func newBatch(request *Request) *batch {
	if request.Batch <= 0 {
		return nil
	}
	b := &batch{window: request.Batch, named: request.Format&Unnamed == 0}
	// Its text is its own, and so is not compressed before it is written.
	request.Format = request.Format&^Gzip | Unnamed
	return b
}

// roomInBatch makes room for an event of n bytes. What is in the stream's buffer is sent
// before a batch begins, and so a batch that has begun waits for no reader.
func (t *stream) roomInBatch(ctx context.Context, n int) error {
	b := t.batch
	if b.events > 0 && (b.events >= batchEvents || len(b.data)+n > batchBytes) {
		t.hand()
	}
	if b.events == 0 && len(t.buf) > 0 {
		return t.send(ctx)
	}
	return nil
}

// gather adds an event to the batch, which has room for it; field is its field data, as
// appendHead makes it in the unnamed format.
func (t *stream) gather(e *outbox.Event, at outbox.Position, field []byte) {
	b := t.batch
	const name = "data: "
	if b.events == 0 {
		b.data = append(b.data, name+"["...)
	} else {
		b.data = append(b.data, ',')
	}
	b.data = append(b.data, field[len(name):len(field)-1]...)
	b.at, b.last = at, e.ID
	b.events++
}

// hand puts the batch into the stream's buffer, if there is anything in it.
func (t *stream) hand() {
	b := t.batch
	if b == nil || b.events == 0 {
		return
	}
	t.borrow()
	t.buf = t.text()
	if b.named {
		t.buf = append(t.buf, "event: outcrier.batch\n"...)
	}
	t.buf = append(t.buf, b.data...)
	t.buf = appendEnd(append(t.buf, "]\n"...), t.Hub.Keys, b.at)
	t.told = b.at
	t.events += b.events
	t.last = b.last
	b.events, b.data = 0, b.data[:0]
	if cap(b.data) > 2*batchBytes {
		b.data = nil // one very large event
	}
}

// followBatches is follow for a stream that wants batches: it takes what the hub
// hands out when the window is over that began with the first of it. It is never
// parked: it waits for its own time.
func (t *stream) followBatches(ctx context.Context) error {
	window := time.NewTimer(t.batch.window)
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
				window.Reset(t.batch.window)
			}
		case <-window.C:
			waiting = false
			if isBehind, err := t.takeBatches(ctx); isBehind || err != nil {
				return err
			}
		case <-t.heartbeat.C:
			t.beat()
		case <-t.draining:
			t.endLater()
		case <-t.end:
			if _, err := t.takeBatches(ctx); err != nil { // what has come so far
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

// takeBatches puts all that waits into the buffer, and reports whether the stream is
// behind. It is too when events were erased since they were taken, which may be long
// before they are written.
func (t *stream) takeBatches(ctx context.Context) (isBehind bool, err error) {
	var frames []*Frame
	defer func() { t.batch.data = nil }() // a stream that waits holds no buffer
	for {
		erasures := t.Hub.Ring.erasures.Load()
		taken, state, more := t.sub.take(frames[:0])
		frames = taken
		for _, f := range frames {
			field := f.within(t.request.Format, t.request.MaxData).data()
			if err := t.roomInBatch(ctx, len(field)); err != nil {
				return false, err
			}
			if t.Hub.Ring.erasures.Load() != erasures {
				state = behind
				break
			}
			if t.joined.admit(f) {
				t.gather(f.Event, t.joined.at, field)
			}
		}
		clear(frames)
		if more && state != behind {
			continue
		}
		t.hand()
		if state == behind {
			return true, t.flush()
		}
		return false, nil
	}
}

// data is the part before the id; in the unnamed format the field data.
func (e *encoded) data() []byte { return e.wire[:e.head] }
