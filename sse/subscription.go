package sse

import (
	"sync"

	"github.com/outcrier/outcrier/outbox"
)

// Subscription is one reader's place in the hub: what it follows, and the
// frames that wait for it.
type Subscription struct {
	hub    *Hub
	filter outbox.Filter
	format Format
	// wake has a token when there is something to take.
	wake chan struct{}

	// from is the first read that it is handed, start the hub's Start that its
	// reader has taken note of; both guarded by the hub's lock.
	from, start int64

	mu     sync.Mutex
	queue  []*Frame
	bytes  int
	behind bool
	// last is the serial of the frame pushed last: several of the filter's
	// patterns may find the same one.
	last int64
}

// push queues a frame, once, or turns the subscription behind when it does not
// fit. Under the hub's lock.
func (s *Subscription) push(f *Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.behind || s.last == f.serial {
		return
	}
	s.last = f.serial
	n := len(s.queue)
	switch {
	case n >= s.hub.QueueFrames, n > 0 && s.bytes+f.size(s.format) > s.hub.QueueBytes:
		s.queue, s.bytes, s.behind = nil, 0, true
	default:
		s.queue = append(s.queue, f)
		s.bytes += f.size(s.format)
	}
	s.signal()
}

func (s *Subscription) turnBehind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue, s.bytes, s.behind = nil, 0, true
	s.signal()
}

func (s *Subscription) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take empties the queue. When the subscription is behind there is nothing to
// take until it has rejoined.
func (s *Subscription) take() (frames []*Frame, behind bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	frames, s.queue, s.bytes = s.queue, nil, 0
	return frames, s.behind
}

// rejoin starts the subscription anew at W, which it returns. It tells too
// whether the hub has started anew since, so that the reader's own position must
// be judged again.
func (s *Subscription) rejoin() (w outbox.Position, restarted bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue, s.bytes, s.behind = nil, 0, false
	restarted = s.start != s.hub.starts
	s.from, s.start = s.hub.read+1, s.hub.starts
	return s.hub.position, restarted
}

// idle is the position of a reader that has had everything handed to it, if
// nothing waits for it.
func (s *Subscription) idle() (outbox.Position, bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.from > s.hub.read {
		return s.hub.position, !s.behind
	}
	return s.hub.delivered, !s.behind && len(s.queue) == 0
}

// Close takes the subscription out of the hub.
func (s *Subscription) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	delete(s.hub.subscribed, s)
	s.hub.index.remove(s)
}
