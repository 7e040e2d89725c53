package sse

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/sse/wire"
)

// Writer is one HTTP response. Its methods are called by one goroutine at a time.
type Writer interface {
	// Write and Flush send bytes on; after an error the stream ends.
	Write(p []byte) (int, error)
	Flush() error
	// SetWriteDeadline bounds the writes that follow. That of a Socket bounds the write under
	// way as well, and any goroutine may call it.
	SetWriteDeadline(t time.Time) error
}

// writer is the half of a stream that writes: it has the bytes to be sent next, and
// knows the connection, the stall time and the sent bytes. The stream decides what to
// send, and when.
type writer struct {
	*Streamer
	to      Writer
	encoder wire.Encoder
	// chunked is set when each write is framed as a chunk, complete when the next one ends
	// the response.
	chunked, complete bool
	// buf has the bytes to be written next, started by the encoder; empty between writes.
	buf []byte
	// sent is the last position that was sent to the reader, or is in buf.
	sent position.Position
	// heartbeat is due when nothing was written for that time; nil while the pool has the
	// stream, and keeps the time.
	heartbeat *time.Timer
	recorded
	parked
}

// putNotice puts one of the server's own events into the buffer.
func (w *writer) putNotice(n wire.Notice) {
	w.buf = w.encoder.Notice(w.buf, n)
	w.sent = n.At
}

// putHeartbeat puts a heartbeat into the buffer, at a position that the reader may not know yet.
func (w *writer) putHeartbeat(at position.Position) {
	moved := !at.Equal(w.sent)
	if w.buf = w.encoder.Heartbeat(w.buf, at, moved); moved {
		w.sent = at
	}
}

// putGoodbye puts the goodbye into the buffer, and completes the response, if why is a Goodbye.
func (w *writer) putGoodbye(why error) {
	w.buf, w.complete = w.encoder.End(w.buf, endingOf(why, w.sent, w.Retry))
}

// sendGoodbye sends why the stream ends, and when to come back, if why is a Goodbye.
func (w *writer) sendGoodbye(why error) error {
	w.putGoodbye(why)
	return errors.Join(why, w.flush())
}

// unused is how much may still be put into the buffer before it has to be written.
func (w *writer) unused() int { return wire.WriteBytes - len(w.buf) - w.encoder.Pending() }

// buffers are for streams that are about to write much; one that waits holds none.
var buffers = sync.Pool{New: func() any { return new([bufferBytes]byte) }}

// bufferBytes is room for wire.WriteBytes and a usual event more.
const bufferBytes = wire.WriteBytes + 4<<10

// borrow makes room for wire.WriteBytes, until the next flush.
func (w *writer) borrow() {
	if cap(w.buf) < bufferBytes {
		w.buf = append(buffers.Get().(*[bufferBytes]byte)[:0], w.buf...)
	}
}

// flush writes the buffer, whole events as it holds them, and lets go of it.
func (w *writer) flush() (err error) {
	if w.buf = w.encoder.Seal(w.buf); len(w.buf) > 0 {
		err = w.write(wire.Framed(w.buf, w.chunked, w.complete))
	}
	if cap(w.buf) == bufferBytes {
		buffers.Put((*[bufferBytes]byte)(w.buf[:bufferBytes]))
	}
	w.buf = nil
	return err
}

// write waits until the reader has taken p, but no longer than the stall time.
func (w *writer) write(p []byte) error {
	began := time.Now()
	if err := w.to.SetWriteDeadline(began.Add(w.Stall)); err != nil {
		return fmt.Errorf("set a write deadline: %w", err)
	}
	w.shortenWrite() // endNow may have been before
	w.writing.Store(max(1, int64(time.Since(w.pool.began))))
	_, err := w.to.Write(p)
	if err == nil {
		err = w.to.Flush()
	}
	w.writing.Store(0)
	if err != nil {
		w.torn = true
		if time.Since(began) >= w.Stall {
			// Over HTTP/2 the error is that the stream is closed.
			err = errors.Join(os.ErrDeadlineExceeded, err)
		}
		return fmt.Errorf("write to a stream: %w", err)
	}
	w.heartbeat.Reset(w.Heartbeat)
	w.pool.sent.mu.Lock()
	w.written(len(p), &w.pool.sent.tally)
	w.pool.sent.mu.Unlock()
	return nil
}

// tryWrite writes what the reader takes at once, and returns the rest.
func (w *writer) tryWrite(tally *tally) (rest []byte, err error) {
	if w.buf = w.encoder.Seal(w.buf); len(w.buf) == 0 {
		return nil, nil
	}
	p := wire.Framed(w.buf, w.chunked, w.complete)
	n, err := w.conn.TryWrite(p)
	if err != nil {
		w.torn = true
		return nil, fmt.Errorf("write to a stream: %w", err)
	}
	if n == len(p) {
		w.written(n, tally)
	} else {
		tally.bytes += int64(n)
	}
	return p[n:], nil
}

// goodbyeTime bounds the last write of a stream that has to end, of pending data and the
// goodbye, and then the wait for the client of a WebSocket to close the connection.
const goodbyeTime = 2 * time.Second

// shortenWrite bounds the write of a stream on a connection by goodbyeTime, if the stream has to
// end. When the pool stops, the write waits for no reader any more.
func (w *writer) shortenWrite() {
	select {
	case <-w.over:
	default:
		return
	}
	for stopping := w.pool.stopping.Load(); ; stopping = true {
		limit := min(w.Stall, goodbyeTime)
		if stopping {
			limit = 0
		}
		_ = w.conn.SetWriteDeadline(time.Now().Add(limit)) // a closed one needs none
		if stopping == w.pool.stopping.Load() {
			return
		}
	}
}
