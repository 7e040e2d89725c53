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
)

// connection is a Writer that can do without a goroutine of its own: a Socket.
type connection interface {
	Writer
	// TryWrite writes what it can without waiting.
	TryWrite(p []byte) (n int, err error)
	// chunks reports whether the response is chunked, and each write to be framed so.
	chunks() bool
	// watch calls left when the reader has closed the connection, until Close.
	watch(w *watch, left func()) error
	Close() error
}

// crew serves the streams that are parked: a goroutine for each of them would hold
// most of the memory, and wake for every write. Its few goroutines take those
// that were called, and write what they can without waiting. A stream that would
// have to wait, for its reader or for the table, gets a goroutine of its own
// until it can be parked again.
type crew struct {
	began time.Time
	// wake has a token for each idle hand that is to look at called.
	wake chan struct{}
	// hands are the goroutines of the crew and those that streams got from it.
	hands sync.WaitGroup
	// sent is what was written to all streams.
	sent sent

	mu      sync.Mutex
	running bool
	watch   *watch
	// streams are all on a connection, parked or not; called those that wait
	// for a hand.
	streams []*stream
	called  []*stream
	// turn has a hand do what a stream was called for; goOn serves a stream that
	// can't stay parked.
	turn func(*hand, *stream)
	goOn func(t *stream, rest []byte)
}

func newCrew() crew {
	return crew{began: time.Now(), wake: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// parked is the part of a stream that the crew knows it by.
type parked struct {
	// conn is the stream's Writer if it is a connection; else the stream is
	// never parked.
	conn connection
	// state are the bits below.
	state atomic.Uint32
	// wrote is when the last byte was sent, since the crew began.
	wrote atomic.Int64
	// over is closed when the stream is to end wherever it is, because of why.
	over chan struct{}
	why  atomic.Pointer[error]
	// uncancel, when not nil, has the stream forget the context it came with.
	uncancel func() bool
	// place is where it stands in the crew's streams; under its lock.
	place int
}

const (
	// stateParked: the stream has no goroutine. stateCalled: it waits for a
	// hand of the crew, or has one.
	stateParked uint32 = 1 << iota
	stateCalled
	// Why it is called: frames wait, a heartbeat is due, the server drains, it is
	// over.
	callFrames
	callBeat
	callDrain
	callOver

	calls = callFrames | callBeat | callDrain | callOver
)

// errParked is what a stream's goroutine ends with when the stream does not.
var errParked = errors.New("parked")

// Run serves the streams that are live on a Socket, until ctx ends; then it ends
// them and waits for them. Without it there is to be no Socket.
func (s *Streamer) Run(ctx context.Context) error {
	watch, err := newWatch()
	if err != nil {
		return fmt.Errorf("watch connections: %w", err)
	}
	return s.run(ctx, watch)
}

// run is Run; watch may be nil.
func (s *Streamer) run(ctx context.Context, watch *watch) error {
	c := &s.crew
	c.mu.Lock()
	c.running, c.watch = true, watch
	c.turn = func(h *hand, t *stream) { h.turn(ctx, t) }
	c.goOn = func(t *stream, rest []byte) {
		c.hands.Go(func() { t.goOn(ctx, t.resume(ctx, rest)) })
	}
	c.mu.Unlock()
	stop := make(chan struct{})
	for range cap(c.wake) {
		c.hands.Go(func() { c.work(stop) })
	}
	if watch != nil {
		c.hands.Go(watch.run)
	}
	s.beatAndDrain(ctx)

	c.mu.Lock()
	c.running = false
	c.mu.Unlock()
	for _, t := range c.all() {
		t.hasLeft()
	}
	// A write waits for as long as its reader takes a little now and then: nobody
	// waits for that any more.
	for streams := c.all(); len(streams) > 0; streams = c.all() {
		for _, t := range streams {
			_ = t.conn.SetWriteDeadline(time.Now())
		}
		time.Sleep(time.Millisecond)
	}
	close(stop)
	if watch != nil {
		watch.close()
	}
	c.hands.Wait()
	return context.Cause(ctx)
}

// Running tells whether Run runs, and so whether to serve a Socket.
func (s *Streamer) Running() bool {
	s.crew.mu.Lock()
	defer s.crew.mu.Unlock()
	return s.crew.running
}

// enter comes before all else for a stream on a connection, leave after all.
func (c *crew) enter(t *stream) error {
	c.mu.Lock()
	t.place = len(c.streams)
	c.streams = append(c.streams, t)
	running, watch := c.running, c.watch
	c.mu.Unlock()
	if !running { // any more
		t.hasLeft()
	}
	return t.conn.watch(watch, t.hasLeft)
}

func (c *crew) leave(t *stream) {
	c.mu.Lock()
	last := len(c.streams) - 1
	moved := c.streams[last]
	c.streams[t.place], c.streams[last] = moved, nil
	moved.place = t.place
	c.streams = c.streams[:last]
	c.mu.Unlock()
	_ = t.conn.Close() // nothing more is to be sent
}

func (t *stream) hasLeft() { t.endNow(ErrLeft) }

// endNow ends the stream, wherever it is. The first reason counts.
func (t *stream) endNow(why error) {
	if t.why.CompareAndSwap(nil, &why) {
		close(t.over)
		if t.call(callOver); t.state.Load()&stateParked == 0 {
			t.hurry()
		}
	}
}

// call has a hand of the crew take the stream.
func (t *stream) call(why uint32) {
	if t.called(why) {
		t.crew.call(t)
	}
}

// called tells a stream why it is needed, and whether the caller must find it a
// hand. A stream with a goroutine of its own finds the reason when it would park.
func (t *stream) called(why uint32) bool {
	for {
		old := t.state.Load()
		needed := old&(stateParked|stateCalled) == stateParked
		next := old | why
		if needed {
			next |= stateCalled
		}
		if t.state.CompareAndSwap(old, next) {
			return needed
		}
	}
}

// answer takes the calls that are answered by looking at what waits.
func (t *stream) answer() { t.state.And(^(callFrames | callBeat)) }

// park leaves the stream to the crew, if nothing calls it. The caller must not
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

// resume serves a stream that can't stay parked; rest is what its reader was not
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
func (c *crew) unpark(t *stream, rest []byte) {
	t.state.And(^(stateParked | stateCalled))
	c.goOn(t, rest)
}

// call puts the stream among those that wait for a hand.
func (c *crew) call(t *stream) {
	c.mu.Lock()
	c.called = append(c.called, t)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// A hand takes at most this many streams at a time, so that others have some too.
const handful = 32

// work is what a hand of the crew does.
func (c *crew) work(stop <-chan struct{}) {
	var streams []*stream
	h := &hand{}
	c.sent.join(h)
	defer c.sent.leave(h)
	for {
		c.mu.Lock()
		n := min(len(c.called), handful)
		streams = append(streams[:0], c.called[:n]...)
		clear(c.called[:n])
		if c.called = c.called[n:]; len(c.called) == 0 {
			c.called = nil
		}
		c.mu.Unlock()
		h.mu.Lock()
		for _, t := range streams {
			c.turn(h, t)
		}
		h.mu.Unlock()
		clear(streams)
		if n > 0 {
			continue
		}
		select {
		case <-c.wake:
		case <-stop:
			return
		}
	}
}

// hand is what a hand of the crew keeps between two streams.
type hand struct {
	frames []*Frame
	buf    []byte
	// mu is held by the hand while it works.
	mu sync.Mutex
	// tally is what it has written, ever.
	tally tally
}

// turn does what a parked stream was called for.
func (h *hand) turn(ctx context.Context, t *stream) {
	why := t.state.And(^(callFrames | callBeat))
	if why&callOver != 0 {
		over := *t.why.Load()
		t.buf = h.buf[:0]
		t.depart(over)
		_, _ = t.tryWrite(&h.tally) // it is for a reader who may not be there
		t.finish(ctx, over)
		return
	}
	frames, state, more := t.sub.take(h.frames[:0])
	t.buf = h.buf[:0]
	t.put(frames)
	if why&callBeat != 0 && len(t.buf) == 0 && state == current {
		t.beat()
	}
	if why&callDrain != 0 {
		t.depart(ErrDraining)
	}
	left, err := t.tryWrite(&h.tally)
	rest := slices.Clone(left)
	h.frames, h.buf, t.buf = frames, t.buf, nil
	clear(h.frames)
	if cap(h.buf) > 4*writeBytes {
		h.buf = nil // one very large event
	}
	switch {
	case err != nil:
		t.finish(ctx, err)
	case why&callDrain != 0:
		t.torn = len(rest) > 0 && t.fresh > 0 // it is not waited for
		t.finish(ctx, ErrDraining)
	case len(rest) > 0, state == behind:
		t.crew.unpark(t, rest)
	case more:
		t.state.Or(callFrames)
		t.crew.call(t) // behind the others
	default:
		t.rest()
	}
}

// tryWrite writes what the reader takes at once, and returns the rest.
func (t *stream) tryWrite(tally *tally) (rest []byte, err error) {
	if len(t.buf) == 0 {
		return nil, nil
	}
	p := t.ready()
	n, err := t.conn.TryWrite(p)
	if err != nil {
		t.torn = true
		return nil, fmt.Errorf("write to a stream: %w", err)
	}
	if n == len(p) {
		t.written(n, tally)
	} else {
		tally.bytes += int64(n)
	}
	return p[n:], nil
}

// rest lets a parked stream go, or has it called again for what came meanwhile.
func (t *stream) rest() {
	for {
		old := t.state.Load()
		if old&calls != 0 {
			t.crew.call(t)
			return
		}
		if t.state.CompareAndSwap(old, old&^stateCalled) {
			return
		}
	}
}

// Each heartbeat is looked for this often.
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
			silent := int64(time.Since(s.crew.began) - s.Heartbeat*(beatSteps-1)/beatSteps)
			for _, t := range s.crew.all() {
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
	streams := s.crew.all()
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

func (c *crew) all() []*stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.streams)
}
