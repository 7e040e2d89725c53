package sse

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/outcrier/outcrier/outbox"
)

// Writer is one HTTP response. Its methods are called by one goroutine at a time.
type Writer interface {
	// Write and Flush send bytes on; after an error the stream ends.
	Write(p []byte) (int, error)
	Flush() error
	// SetWriteDeadline bounds the writes that follow; that of a Socket the one
	// under way as well, and then it may be called by anybody.
	SetWriteDeadline(t time.Time) error
}

// writeBytes is about how much is written at a time.
const writeBytes = 32 << 10

// beat keeps the stream alive, and the reader's position up to date: a quiet
// stream must not be resumed from where it began.
func (t *stream) beat() {
	if hub, idle := t.sub.idle(); idle {
		t.joined.idle(hub)
	}
	t.beatAt(t.joined.at)
}

func (t *stream) beatAt(at outbox.Position) {
	if at.Equal(t.told) {
		t.buf = append(t.text(), heartbeatLine...)
		return
	}
	t.event("position", at, struct{}{})
}

// Comments have no blank line behind them: some clients take every blank line for the
// end of an event, and give an empty one to JSON.parse.
const (
	firstLine     = ": outcrier\n"
	heartbeatLine = ":\n"
)

// endLater spreads the ends of all streams over the drain time.
func (t *stream) endLater() {
	t.draining, t.end = nil, time.After(rand.N(t.DrainTime+1))
}

// goodbye tells why the stream ends, and when to come back, if why is a Goodbye.
func (t *stream) goodbye(why error) error {
	t.depart(why)
	return errors.Join(why, t.flush())
}

// depart puts a goodbye into the buffer and makes the response complete, if why is a
// Goodbye. A stream that ends for another reason is cut off: to a client that fetches it,
// a complete response is one not to ask for again.
func (t *stream) depart(why error) {
	var g *Goodbye
	if !errors.As(why, &g) {
		return
	}
	t.buf = appendGoodbye(t.text(), g, t.Retry)
	t.shut()
	t.complete = true
}

// Orderly reports whether a stream that ended with why was ended by the server, which
// has told its reader so. The response of any other is to be cut off.
func Orderly(why error) bool {
	var g *Goodbye
	return errors.As(why, &g)
}

func appendGoodbye(dst []byte, why *Goodbye, retry time.Duration) []byte {
	dst = append(dst, "event: outcrier.goodbye\n"...)
	dst = appendRetry(dst, retry)
	return fmt.Appendf(dst, "data: {\"reason\":%q}\n\n", why.Reason)
}

// add puts a frame into the buffer with its own id.
func (t *stream) add(f *Frame) {
	e := f.within(t.request.Format, t.request.MaxData)
	t.seal()
	t.buf = append(t.text(), e.wire...)
	t.added(e.sum)
}

// addAt puts a frame into the buffer with another id.
func (t *stream) addAt(f *Frame, at outbox.Position) {
	e := f.within(t.request.Format, t.request.MaxData)
	t.seal()
	t.buf = append(t.text(), e.wire[:e.head]...)
	if !t.gzip.on {
		t.buf = appendEnd(t.buf, t.Hub.Keys, at)
		return
	}
	var sum checksum
	t.buf, sum = appendEndStored(t.buf, t.Hub.Keys, at)
	t.gzip.sum.join(e.headSum)
	t.added(sum)
}

// event puts one of the server's own events into the buffer.
func (t *stream) event(name string, at outbox.Position, data any) {
	t.buf = append(t.text(), "event: outcrier."...)
	t.buf = append(t.buf, name...)
	t.buf = append(t.buf, '\n')
	if name == "hello" {
		t.buf = appendRetry(t.buf, t.Retry)
	}
	t.buf = appendJSON(append(t.buf, "data: "...), data)
	t.buf = appendEnd(append(t.buf, '\n'), t.Hub.Keys, at)
	t.told = at
}

// room sends when n bytes more would make the buffer, or the batch, too long.
func (t *stream) room(ctx context.Context, n int) error {
	if t.batch != nil {
		return t.roomInBatch(ctx, n)
	}
	if len(t.buf) > 0 && len(t.buf)+n > writeBytes {
		if err := t.send(ctx); err != nil {
			return err
		}
	}
	t.borrow()
	return nil
}

// send is flush for a stream that has more to write: there may be hours of it, and so
// it ends here when it is to end.
func (t *stream) send(ctx context.Context) error {
	if err := t.flush(); err != nil {
		return err
	}
	select {
	case <-t.draining:
		t.endLater()
		return nil
	case <-t.end:
		return t.goodbye(ErrDraining)
	case <-t.over:
		return t.goodbye(*t.why.Load())
	case <-ctx.Done():
		return t.goodbye(context.Cause(ctx))
	default:
		return nil
	}
}

// unused is how much may still be put into the buffer, and the batch, before either
// has to be written.
func (t *stream) unused() int {
	n := writeBytes - len(t.buf)
	if t.batch != nil {
		n -= len(t.batch.data)
	}
	return n
}

// flush writes the buffer, whole events as it holds them, and lets go of it.
func (t *stream) flush() error {
	if len(t.buf) == 0 {
		return nil
	}
	err := t.write(t.ready())
	if cap(t.buf) == bufferBytes {
		buffers.Put((*[bufferBytes]byte)(t.buf[:bufferBytes]))
	}
	t.buf = nil
	return err
}

// buffers are for streams that are about to write much; one that waits holds none.
var buffers = sync.Pool{New: func() any { return new([bufferBytes]byte) }}

// bufferBytes is room for writeBytes and a usual event more.
const bufferBytes = writeBytes + 4<<10

// borrow makes room for writeBytes, until the next flush.
func (t *stream) borrow() {
	if cap(t.buf) < bufferBytes {
		t.buf = append(buffers.Get().(*[bufferBytes]byte)[:0], t.buf...)
	}
}

// farewell is how long a stream that is to end may wait for its reader with one
// write: for the rest of what it was at, and for the goodbye.
const farewell = 2 * time.Second

// hurry bounds the write of a stream on a connection by farewell, if it is over.
func (t *stream) hurry() {
	select {
	case <-t.over:
		_ = t.conn.SetWriteDeadline(time.Now().Add(min(t.Stall, farewell))) // a closed one needs none
	default:
	}
}

// write waits until the reader has taken p, but no longer than the stall time.
func (t *stream) write(p []byte) error {
	if err := t.w.SetWriteDeadline(time.Now().Add(t.Stall)); err != nil {
		return fmt.Errorf("set a write deadline: %w", err)
	}
	t.hurry() // endNow may have been before
	t.writing.Store(int64(time.Since(t.crew.began)))
	_, err := t.w.Write(p)
	if err == nil {
		err = t.w.Flush()
	}
	t.writing.Store(0)
	if err != nil {
		t.torn = true
		return fmt.Errorf("write to a stream: %w", err)
	}
	t.heartbeat.Reset(t.Heartbeat)
	t.crew.sent.mu.Lock()
	t.written(len(p), &t.crew.sent.tally)
	t.crew.sent.mu.Unlock()
	return nil
}
