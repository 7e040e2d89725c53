package sse

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// writerPool serves the streams that are parked: a goroutine for each of them would hold
// most of the memory, and wake for every write. Its few workers take those
// that were called, and write what they can without waiting. A stream that would
// have to wait, for its reader or for the table, gets a goroutine of its own
// until it can be parked again.
type writerPool struct {
	began time.Time
	// wake has one token per idle worker to wake.
	wake chan struct{}
	// goroutines are the workers, those that the pool gave to streams, and all others that
	// Run waits for.
	goroutines sync.WaitGroup
	// sent counts the writes to all streams.
	sent sent
	// inline is a worker without a goroutine: the tail's goroutine does its work.
	inline worker
	// stopping is set when the pool no longer waits for readers.
	stopping atomic.Bool

	mu      sync.Mutex
	running bool
	watch   *watch
	// streams are all on a connection, parked or not; waiting those that wait
	// for a worker.
	streams []*stream
	waiting []*stream
	// emptied, when not nil, is closed when the last stream leaves.
	emptied chan struct{}
	// serve is called by a worker for a stream that waited. giveGoroutine serves a stream that
	// can't stay parked; rest are bytes that its reader has not taken yet.
	serve         func(*worker, *stream)
	giveGoroutine func(t *stream, rest []byte)
}

func newWriterPool() writerPool {
	return writerPool{began: time.Now(), wake: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// errNotRunning is why a stream on a connection is not served.
var errNotRunning = errors.New("the streamer does not run")

// Run serves the streams that are live on a Socket, until ctx ends; then it ends them and
// waits for them, and for all goroutines that it has started. A Socket may only be served
// while it runs.
func (s *Streamer) Run(ctx context.Context) error {
	watch, err := newWatch()
	if err != nil {
		return fmt.Errorf("watch connections: %w", err)
	}
	return s.run(ctx, watch)
}

// run is like Run; watch may be nil.
func (s *Streamer) run(ctx context.Context, watch *watch) error {
	p := &s.pool
	p.mu.Lock()
	p.running, p.watch = true, watch
	p.serve = func(w *worker, t *stream) { w.serve(ctx, t) }
	p.giveGoroutine = func(t *stream, rest []byte) {
		p.goroutines.Go(func() { t.finishUnlessParked(ctx, t.resume(ctx, rest)) })
	}
	p.mu.Unlock()
	stop := make(chan struct{})
	for range cap(p.wake) {
		p.goroutines.Go(func() { p.work(stop) })
	}
	if watch != nil {
		p.goroutines.Go(watch.run)
	}
	s.beatAndDrain(ctx)
	<-p.endAll()
	close(stop)
	if watch != nil {
		watch.close()
	}
	p.goroutines.Wait()
	return context.Cause(ctx)
}

// endAll ends all streams, without waiting for their readers, and returns a channel that is
// closed when none is left.
func (p *writerPool) endAll() <-chan struct{} {
	p.mu.Lock()
	p.running = false
	emptied := make(chan struct{})
	if p.emptied = emptied; len(p.streams) == 0 {
		close(emptied)
		p.emptied = nil
	}
	p.mu.Unlock()
	p.stopping.Store(true)
	for _, t := range p.all() {
		t.hasLeft()
		t.shortenWrite() // a worker may have it
	}
	return emptied
}

// Running reports whether Run runs, and so whether to serve a Socket.
func (s *Streamer) Running() bool {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return s.pool.running
}

// register is called first for a stream on a connection, and remove last.
func (p *writerPool) register(t *stream) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running {
		return errNotRunning
	}
	t.place = len(p.streams)
	p.streams = append(p.streams, t)
	return nil
}

// listen starts listening to the stream's connection.
func (p *writerPool) listen(t *stream) error {
	l := listener{left: t.hasLeft}
	if t.inbox != nil {
		l.received = t.received
	}
	watched, err := t.conn.watch(p.watch, l)
	if !watched && err == nil {
		p.goroutines.Go(func() { t.conn.listen(l) })
	}
	return err
}

func (p *writerPool) remove(t *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.streams) - 1
	moved := p.streams[last]
	p.streams[t.place], p.streams[last] = moved, nil
	moved.place = t.place
	p.streams = p.streams[:last]
	if last == 0 && p.emptied != nil {
		close(p.emptied)
		p.emptied = nil
	}
}

// enqueue puts the stream among those that wait for a worker.
func (p *writerPool) enqueue(t *stream) {
	p.mu.Lock()
	p.waiting = append(p.waiting, t)
	p.mu.Unlock()
	signal(p.wake)
}

// unpark gives a stream a goroutine of its own.
func (p *writerPool) unpark(t *stream, rest []byte) {
	t.state.And(^(stateParked | stateCalled))
	p.giveGoroutine(t, rest)
}

// Heartbeats are checked this many times per interval.
const beatSteps = 16

// beatAndDrain calls the parked streams for a heartbeat when they have been
// silent, and when the server drains one after the other for their goodbye. It
// returns when ctx ends.
func (s *Streamer) beatAndDrain(ctx context.Context) {
	ticker := time.NewTicker(max(time.Millisecond, s.Heartbeat/beatSteps))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			silent := int64(time.Since(s.pool.began) - s.Heartbeat*(beatSteps-1)/beatSteps)
			for _, t := range s.pool.all() {
				if t.state.Load() == stateParked && t.wrote.Load() <= silent {
					t.call(callBeat)
				}
			}
		case <-s.draining:
			s.spread(ctx)
			<-ctx.Done()
			return
		case <-ctx.Done():
			return
		}
	}
}

func (p *writerPool) all() []*stream {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.streams)
}
