package sse

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// parked is the state of a stream that the pool uses.
type parked struct {
	// conn is the stream's Writer if it is a connection; else the stream is
	// never parked.
	conn connection
	// state are the bits below.
	state atomic.Uint32
	// wrote is when the last byte was sent, since the pool began.
	wrote atomic.Int64
	// over is closed when the stream has to end at once; why has the reason.
	over chan struct{}
	why  atomic.Pointer[error]
	// uncancel, when not nil, detaches the stream from the context it came with.
	uncancel func() bool
	// place is its index in the pool's streams; under its lock.
	place int
}

const (
	// stateParked: the stream has no goroutine. stateCalled: it waits for a
	// worker, or has one.
	stateParked uint32 = 1 << iota
	stateCalled
	// Why it is called: frames wait, a heartbeat is due, the client has sent something, the
	// server drains, it is over.
	callFrames
	callBeat
	callInbox
	callDrain
	callOver

	calls = callFrames | callBeat | callInbox | callDrain | callOver
)

// errParked ends a stream's goroutine, but not the stream.
var errParked = errors.New("parked")

func (t *stream) hasLeft() { t.endNow(ErrLeft) }

// received handles data from the client of a WebSocket.
func (t *stream) received(p []byte) {
	if err := t.inbox.receive(p); err != nil {
		t.endNow(err)
		return
	}
	t.call(callInbox)
}

// endNow ends the stream, wherever it is. The first reason counts.
func (t *stream) endNow(why error) {
	if t.why.CompareAndSwap(nil, &why) {
		close(t.over)
		if t.call(callOver); t.state.Load()&stateParked == 0 {
			t.shortenWrite()
		}
	}
}

// Notify calls a worker for the frames that wait in the subscription, or, with now, takes
// them itself.
func (t *stream) Notify(now bool) {
	if !now {
		t.call(callFrames)
		return
	}
	if t.mark(callFrames) {
		w := &t.pool.inline
		w.mu.Lock()
		defer w.mu.Unlock()
		t.pool.serve(w, t)
	}
}

// call makes a worker take the stream.
func (t *stream) call(why uint32) {
	if t.mark(why) {
		t.pool.enqueue(t)
	}
}

// mark records why the stream is called, and reports whether the caller must find it a
// worker. A stream with a goroutine of its own finds the reason when it would park.
func (p *parked) mark(why uint32) bool {
	for {
		old := p.state.Load()
		needed := old&(stateParked|stateCalled) == stateParked
		next := old | why
		if needed {
			next |= stateCalled
		}
		if p.state.CompareAndSwap(old, next) {
			return needed
		}
	}
}

// clearCalls clears the calls that a look into the queue answers, and returns the state before.
func (p *parked) clearCalls() (why uint32) { return p.state.And(^(callFrames | callBeat | callInbox)) }

// park leaves the stream to the pool, if nothing calls it. The caller must not
// touch it any more when it returns true.
func (t *stream) park() bool {
	if t.conn == nil || t.Draining() {
		return false
	}
	heartbeat := t.heartbeat
	t.heartbeat, t.buf = nil, nil
	if !t.state.CompareAndSwap(0, stateParked) {
		t.heartbeat = heartbeat
		return false
	}
	heartbeat.Stop()
	return true
}

// resume serves a stream that can't stay parked; rest are bytes that its reader has not taken
// yet.
func (t *stream) resume(ctx context.Context, rest []byte) error {
	t.heartbeat = time.NewTimer(t.Heartbeat)
	if len(rest) > 0 {
		if err := t.write(rest); err != nil {
			return err
		}
	}
	return t.live(ctx)
}

// parkAgain ends the work of a worker for a stream, or has it take the stream again if
// something came meanwhile.
func (t *stream) parkAgain() {
	for {
		old := t.state.Load()
		if old&calls != 0 {
			t.pool.enqueue(t)
			return
		}
		if t.state.CompareAndSwap(old, old&^stateCalled) {
			return
		}
	}
}
