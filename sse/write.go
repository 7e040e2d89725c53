package sse

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse/wire"
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

// beat keeps the stream alive, and the reader's position up to date: a quiet
// stream must not be resumed from where it began.
func (t *stream) beat() {
	if hub, idle := t.sub.idle(); idle {
		t.joined.idle(hub)
	}
	t.beatAt(t.joined.at)
}

func (t *stream) beatAt(at outbox.Position) {
	moved := !at.Equal(t.told)
	if t.buf = t.encoder.Heartbeat(t.buf, at, moved); moved {
		t.told = at
	}
}

// notice puts one of the server's own events into the buffer.
func (t *stream) notice(n wire.Notice) {
	t.buf = t.encoder.Notice(t.buf, n)
	t.told = n.At
}

// endLater spreads the ends of all streams over the drain time.
func (t *stream) endLater() {
	t.draining, t.end = nil, time.After(rand.N(t.DrainTime+1))
}

// goodbye sends why the stream ends, and when to come back, if why is a Goodbye.
func (t *stream) goodbye(why error) error {
	t.depart(why)
	return errors.Join(why, t.flush())
}

// depart puts the goodbye into the buffer, and completes the response, if why is a Goodbye.
func (t *stream) depart(why error) {
	t.buf, t.complete = t.encoder.End(t.buf, endingOf(why, t.told, t.Retry))
}

// Orderly reports whether the server has ended the stream with a goodbye. The response of
// any other stream must be cut off.
func Orderly(why error) bool { return goodbyeOf(why) != nil }

// goodbyeOf returns the Goodbye that a stream ends with, nil if there is none.
func goodbyeOf(why error) *wire.Goodbye {
	var g *wire.Goodbye
	errors.As(why, &g) // otherwise it stays nil
	return g
}

// endingOf returns how a stream that ends because of why says so to its reader.
func endingOf(why error, at outbox.Position, retry time.Duration) wire.Ending {
	e := wire.Ending{Goodbye: goodbyeOf(why), At: at, Retry: retry}
	if c := (*closing)(nil); e.Goodbye == nil && errors.As(why, &c) {
		e.Closing = &c.Closing
	}
	return e
}

// room sends the buffer if the encoder has no room for another event.
func (t *stream) room(ctx context.Context, f *wire.Frame, e *outbox.Event) error {
	var full bool
	if t.buf, full = t.encoder.Room(t.buf, f, e); !full {
		return nil
	}
	err := t.send(ctx)
	t.borrow()
	return err
}

// send is flush for a stream that has more to write: as that may take hours, a stream that
// has to end does so here.
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

// unused is how much may still be put into the buffer before it has to be written.
func (t *stream) unused() int { return wire.WriteBytes - len(t.buf) - t.encoder.Pending() }

// flush writes the buffer, whole events as it holds them, and lets go of it.
func (t *stream) flush() (err error) {
	if t.buf = t.encoder.Seal(t.buf); len(t.buf) > 0 {
		err = t.write(wire.Framed(t.buf, t.chunked, t.complete))
	}
	if cap(t.buf) == bufferBytes {
		buffers.Put((*[bufferBytes]byte)(t.buf[:bufferBytes]))
	}
	t.buf = nil
	return err
}

// buffers are for streams that are about to write much; one that waits holds none.
var buffers = sync.Pool{New: func() any { return new([bufferBytes]byte) }}

// bufferBytes is room for writeBytes and a usual event more.
const bufferBytes = wire.WriteBytes + 4<<10

// borrow makes room for writeBytes, until the next flush.
func (t *stream) borrow() {
	if cap(t.buf) < bufferBytes {
		t.buf = append(buffers.Get().(*[bufferBytes]byte)[:0], t.buf...)
	}
}

// lastWords is how long a stream that has to end may wait for its reader with one write, to
// send pending data and the goodbye; and then for the reader of a WebSocket to close it.
const lastWords = 2 * time.Second

// hurry bounds the write of a stream on a connection by lastWords, if it is over. When the
// pool stops, it waits for no reader any more.
func (t *stream) hurry() {
	select {
	case <-t.over:
	default:
		return
	}
	for stopping := t.pool.stopping.Load(); ; stopping = true {
		limit := min(t.Stall, lastWords)
		if stopping {
			limit = 0
		}
		_ = t.conn.SetWriteDeadline(time.Now().Add(limit)) // a closed one needs none
		if stopping == t.pool.stopping.Load() {
			return
		}
	}
}

// write waits until the reader has taken p, but no longer than the stall time.
func (t *stream) write(p []byte) error {
	if err := t.w.SetWriteDeadline(time.Now().Add(t.Stall)); err != nil {
		return fmt.Errorf("set a write deadline: %w", err)
	}
	t.hurry() // endNow may have been before
	t.writing.Store(max(1, int64(time.Since(t.pool.began))))
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
	t.pool.sent.mu.Lock()
	t.written(len(p), &t.pool.sent.tally)
	t.pool.sent.mu.Unlock()
	return nil
}
