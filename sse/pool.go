package sse

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outcrier/outcrier/sse/hub"
	"github.com/outcrier/outcrier/sse/wire"
)

// connection is a Writer that can do without a goroutine of its own: a Socket.
type connection interface {
	Writer
	// TryWrite writes as much as it can without waiting.
	TryWrite(p []byte) (n int, err error)
	// chunks reports whether the response is chunked, and each write to be framed so.
	chunks() bool
	// inbox returns the inbox for messages of a WebSocket's client; nil for SSE.
	inbox() *inbox
	// watch has the watch call the listener, until Close. If it returns false, listen does,
	// in a goroutine.
	watch(w *watch, l listener) (watched bool, err error)
	listen(l listener)
	// linger waits for the client to close the connection, for a moment.
	linger()
	// abort makes Close discard data that the reader has not taken.
	abort()
	Close() error
}

// listener has the functions that are called when something happens on a connection.
type listener struct {
	// left is called when the client has closed the connection.
	left func()
	// received, when not nil, is called with what the client has sent.
	received func([]byte)
}

// writerPool serves the streams that are parked: a goroutine for each of them would hold
// most of the memory, and wake for every write. Its few workers take those
// that were called, and write what they can without waiting. A stream that would
// have to wait, for its reader or for the table, gets a goroutine of its own
// until it can be parked again.
type writerPool struct {
	began time.Time
	// wake has one token per idle worker to wake.
	wake chan struct{}
	// goroutines are the workers, those that streams got from the pool, and whatever else
	// Run waits for.
	goroutines sync.WaitGroup
	// sent counts the writes to all streams.
	sent sent
	// inline is a worker without a goroutine: the tail's writes for it.
	inline worker
	// stopping is set when the pool no longer waits for readers.
	stopping atomic.Bool

	mu      sync.Mutex
	running bool
	watch   *watch
	// streams are all on a connection, parked or not; called those that wait
	// for a worker.
	streams []*stream
	called  []*stream
	// emptied, when not nil, is closed when the last stream leaves.
	emptied chan struct{}
	// serve is called by a worker for a stream that was called; goOn serves a stream that
	// can't stay parked.
	serve func(*worker, *stream)
	goOn  func(t *stream, rest []byte)
}

func newWriterPool() writerPool {
	return writerPool{began: time.Now(), wake: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// parked is the part of a stream that the pool knows it by.
type parked struct {
	// conn is the stream's Writer if it is a connection; else the stream is
	// never parked.
	conn connection
	// state are the bits below.
	state atomic.Uint32
	// wrote is when the last byte was sent, since the pool began.
	wrote atomic.Int64
	// over is closed when the stream is to end wherever it is, because of why.
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

// run is Run; watch may be nil.
func (s *Streamer) run(ctx context.Context, watch *watch) error {
	p := &s.pool
	p.mu.Lock()
	p.running, p.watch = true, watch
	p.serve = func(w *worker, t *stream) { w.serve(ctx, t) }
	p.goOn = func(t *stream, rest []byte) {
		p.goroutines.Go(func() { t.goOn(ctx, t.resume(ctx, rest)) })
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
		t.hurry() // a worker may have it
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
			t.hurry()
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
	if t.called(callFrames) {
		w := &t.pool.inline
		w.mu.Lock()
		defer w.mu.Unlock()
		t.pool.serve(w, t)
	}
}

// call makes a worker take the stream.
func (t *stream) call(why uint32) {
	if t.called(why) {
		t.pool.call(t)
	}
}

// called records why the stream is needed, and reports whether the caller must find it a
// worker. A stream with a goroutine of its own finds the reason when it would park.
func (p *parked) called(why uint32) bool {
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

// resume serves a stream that can't stay parked; rest are bytes that its reader was not
// ready for.
func (t *stream) resume(ctx context.Context, rest []byte) error {
	t.heartbeat = time.NewTimer(t.Heartbeat)
	if len(rest) > 0 {
		if err := t.write(rest); err != nil {
			return err
		}
	}
	return t.live(ctx)
}

// unpark gives a stream a goroutine of its own.
func (p *writerPool) unpark(t *stream, rest []byte) {
	t.state.And(^(stateParked | stateCalled))
	p.goOn(t, rest)
}

// call puts the stream among those that wait for a worker.
func (p *writerPool) call(t *stream) {
	p.mu.Lock()
	p.called = append(p.called, t)
	p.mu.Unlock()
	signal(p.wake)
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
		n := min(len(p.called), takeAtOnce)
		streams = append(streams[:0], p.called[:n]...)
		clear(p.called[:n])
		if p.called = p.called[n:]; len(p.called) == 0 {
			p.called = nil
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

// worker is what a worker keeps between two streams.
type worker struct {
	frames []*wire.Frame
	buf    []byte
	// mu is held by the worker while it works.
	mu sync.Mutex
	// tally counts all its writes.
	tally tally
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
		t.torn = len(rest) > 0 && t.fresh > 0 // it is not waited for
		t.finish(ctx, ErrDraining)
	case len(rest) > 0, state == hub.Behind, t.inbox.hasMessages():
		t.pool.unpark(t, rest)
	case more:
		t.state.Or(callFrames)
		t.pool.call(t) // at the end of the queue
	default:
		t.rest()
	}
}

// rest ends the work for a parked stream, or calls it again if something came meanwhile.
func (t *stream) rest() {
	for {
		old := t.state.Load()
		if old&calls != 0 {
			t.pool.call(t)
			return
		}
		if t.state.CompareAndSwap(old, old&^stateCalled) {
			return
		}
	}
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

// spread says goodbye to the parked streams over the drain time, in no order.
func (s *Streamer) spread(ctx context.Context) {
	streams := s.pool.all()
	rand.Shuffle(len(streams), func(i, j int) { streams[i], streams[j] = streams[j], streams[i] })
	began := time.Now()
	for i, t := range streams {
		due := s.DrainTime * time.Duration(i) / time.Duration(len(streams))
		select {
		case <-time.After(time.Until(began.Add(due))):
			t.call(callDrain)
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
