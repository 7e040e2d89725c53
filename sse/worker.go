package sse

import (
	"context"
	"slices"
	"sync"

	"github.com/outcrier/outcrier/sse/hub"
	"github.com/outcrier/outcrier/sse/wire"
)

// worker is what a worker keeps between two streams.
type worker struct {
	frames []*wire.Frame
	buf    []byte
	// mu is held by the worker while it works.
	mu sync.Mutex
	// tally counts all its writes.
	tally tally
}

// A worker takes at most this many streams at a time, so that others have some too.
const takeAtOnce = 32

// work is what a worker does.
func (p *writerPool) work(stop <-chan struct{}) {
	var streams []*stream
	w := &worker{}
	p.sent.join(w)
	defer p.sent.leave(w)
	for {
		p.mu.Lock()
		n := min(len(p.waiting), takeAtOnce)
		streams = append(streams[:0], p.waiting[:n]...)
		clear(p.waiting[:n])
		if p.waiting = p.waiting[n:]; len(p.waiting) == 0 {
			p.waiting = nil
		}
		p.mu.Unlock()
		w.mu.Lock()
		for _, t := range streams {
			p.serve(w, t)
		}
		w.mu.Unlock()
		clear(streams)
		if n > 0 {
			continue
		}
		select {
		case <-p.wake:
		case <-stop:
			return
		}
	}
}

// serve answers a parked stream's call.
func (w *worker) serve(ctx context.Context, t *stream) {
	why := t.clearCalls()
	if why&callOver != 0 {
		over := *t.why.Load()
		t.buf = w.buf[:0]
		t.putGoodbye(over)
		_, _ = t.tryWrite(&w.tally) // the reader may not be there
		t.finish(ctx, over)
		return
	}
	frames, state, more := t.sub.Take(w.frames[:0])
	t.buf = w.buf[:0]
	t.putAll(frames)
	if why&callBeat != 0 && len(t.buf) == 0 && state == hub.Current {
		t.beat()
	}
	if why&callDrain != 0 {
		t.putGoodbye(ErrDraining)
	}
	left, err := t.tryWrite(&w.tally)
	rest := slices.Clone(left)
	w.frames, w.buf, t.buf = frames, t.buf, nil
	clear(w.frames)
	if cap(w.buf) > 4*wire.WriteBytes {
		w.buf = nil // one very large event
	}
	switch {
	case err != nil:
		t.finish(ctx, err)
	case why&callDrain != 0:
		t.torn = len(rest) > 0 && t.unsent > 0 // it is not waited for
		t.finish(ctx, ErrDraining)
	case len(rest) > 0, state == hub.Behind, t.inbox.hasMessages():
		t.pool.unpark(t, rest)
	case more:
		t.state.Or(callFrames)
		t.pool.enqueue(t) // at the end of the queue
	default:
		t.parkAgain()
	}
}
