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
	// reader, when not nil, is told when there is something to take, too.
	reader subscriber

	// places are where the index holds it, one for each of the filter's topics;
	// from is the first read that it is handed, start the hub's Start that its
	// reader has taken note of; all guarded by the hub's lock.
	places      []int
	from, start int64

	mu    sync.Mutex
	state queueState
	queue []*Frame
	bytes int
	// next is the serial of the first frame to recall while it lags.
	next int64
	// last is the serial of the frame handed over last: several of the filter's
	// patterns may find the same one, and what was recalled may be pushed too.
	last int64
}

// subscriber is who has a subscription. notify does not block. With now set it is called by the tail's
// goroutine, outside of all locks: to take at once what there is may be quicker than to wake
// another goroutine for it.
type subscriber interface{ notify(now bool) }

// queueState tells what waits for a subscription, and where.
type queueState uint8

const (
	// current: what waits is in the queue.
	current queueState = iota
	// lagging: the queue was full and is dropped; the ring has what waits.
	lagging
	// behind: what waits has to be replayed from the reader's own position.
	behind
)

// push queues a frame, once, or drops the queue when it does not fit. It tells
// whether the reader has to be called. Under the hub's lock.
func (s *Subscription) push(f *Frame) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != current || s.last >= f.serial {
		return false
	}
	s.last = f.serial
	size := f.size(s.format)
	n := len(s.queue)
	switch {
	case n == 0:
	case n >= s.hub.QueueFrames, s.bytes+size > s.hub.QueueBytes, !s.hub.Ring.holds(s.queue[0]):
		s.lag()
		return true
	}
	s.queue = append(s.queue, f)
	s.bytes += size
	return n == 0
}

// lag drops the queue. Under both locks.
func (s *Subscription) lag() {
	s.hub.lagged++
	s.next = s.queue[0].serial
	s.state, s.queue, s.bytes = lagging, nil, 0
}

// release drops the queue if the ring has let go of the first in it. The reader was
// called for that already. Under the hub's lock.
func (s *Subscription) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == current && len(s.queue) > 0 && !s.hub.Ring.holds(s.queue[0]) {
		s.lag()
	}
}

func (s *Subscription) turnBehind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.queue, s.bytes = behind, nil, 0
}

// erase drops the frames that wait: some may be of events that were erased. The table has
// the others. A subscription that lags finds the ring emptied. Under the hub's lock.
func (s *Subscription) erase() {
	s.mu.Lock()
	waits := len(s.queue) > 0
	s.mu.Unlock()
	if waits {
		s.turnBehind()
		s.call()
	}
}

// call tells the reader that there is something to take.
func (s *Subscription) call() { s.tell(false) }

func (s *Subscription) tell(now bool) {
	if s.reader != nil {
		s.reader.notify(now)
	}
	signal(s.wake)
}

// take appends to dst what waits, about writeBytes of it, and tells what is left:
// nothing if the state is current and more is false. When the subscription is
// behind there is nothing to take until it has rejoined.
func (s *Subscription) take(dst []*Frame) (frames []*Frame, state queueState, more bool) {
	s.mu.Lock()
	if s.state == lagging {
		s.mu.Unlock()
		frames, state = s.hub.Ring.recall(s, dst)
		return frames, state, state == lagging
	}
	defer s.mu.Unlock()
	n, bytes := 0, 0
	for n < len(s.queue) && (n == 0 || bytes < writeBytes) {
		bytes += s.queue[n].size(s.format)
		n++
	}
	dst = append(dst, s.queue[:n]...)
	left := copy(s.queue, s.queue[n:])
	clear(s.queue[left:])
	s.queue = s.queue[:left]
	s.bytes -= bytes
	return dst, s.state, left > 0
}

// rejoin starts the subscription anew at W, which it returns. It tells too
// whether the hub has started anew since, so that the reader's own position must
// be judged again.
func (s *Subscription) rejoin() (w outbox.Position, restarted bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.queue, s.bytes = current, nil, 0
	restarted = s.start != s.hub.starts
	s.from, s.start = s.hub.read+1, s.hub.starts
	return s.hub.position, restarted
}

// setFilter changes what the subscription follows. If nothing waits for its reader, who then
// has been handed everything up to the position returned, it goes on from there. Else it is
// behind, and what waits has to be found by the new filter.
func (s *Subscription) setFilter(filter outbox.Filter) (at outbox.Position, idle bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.index.remove(s)
	s.filter = filter
	s.hub.index.add(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == current && len(s.queue) == 0 {
		return s.handed(), true
	}
	s.state, s.queue, s.bytes = behind, nil, 0
	return at, false
}

// idle is the position of a reader that has had everything handed to it, if
// nothing waits for it.
func (s *Subscription) idle() (outbox.Position, bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	idle := s.state == current && len(s.queue) == 0
	if idle {
		s.queue = nil // nor does an idle stream hold memory
	}
	return s.handed(), idle
}

// handed is the position of a reader for whom nothing waits. Under the hub's lock.
func (s *Subscription) handed() outbox.Position {
	if s.from > s.hub.read {
		return s.hub.position
	}
	return s.hub.delivered
}

// Close takes the subscription out of the hub.
func (s *Subscription) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	delete(s.hub.subscribed, s)
	s.hub.index.remove(s)
}
