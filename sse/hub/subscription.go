package hub

import (
	"sync"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/sse/wire"
)

// Subscription is one reader's place in the hub: its filter, and the frames that wait for
// it. One goroutine at a time takes them.
type Subscription struct {
	hub    *Hub
	filter outbox.Filter
	format wire.Format
	// wake has a token when there is something to take.
	wake chan struct{}
	// reader, when not nil, is notified too when there is something to take.
	reader Reader

	// places are where the index holds it, one for each of the filter's topics. from is the
	// number of the first read that it gets, start how often the hub had been started when its
	// reader joined. The hub's lock guards all three.
	places      []int
	from, start int64

	mu    sync.Mutex
	state State
	queue []*wire.Frame
	bytes int
	// next is the serial of the first frame to recall while it lags.
	next int64
	// last is the serial of the last frame: several of the filter's patterns may match the
	// same frame, and a recalled frame may be pushed too.
	last int64
}

// Reader is notified when there is something to take from its subscription. Notify does not
// block. With now set it is called by the tail's goroutine, outside of all locks: to take the
// frames at once may be quicker than to wake another goroutine.
type Reader interface{ Notify(now bool) }

// State says where the frames are that wait for a subscription.
type State uint8

const (
	// Current: they are in the queue.
	Current State = iota
	// Lagging: the queue was full and is dropped; the replay buffer has them.
	Lagging
	// Behind: they must be replayed from the reader's own position.
	Behind
)

// push queues a frame, once, or drops the queue when it does not fit. It reports whether
// the reader must be notified. Under the hub's lock.
func (s *Subscription) push(f *wire.Frame) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != Current || s.last >= f.Serial {
		return false
	}
	s.last = f.Serial
	size := f.Size(s.format)
	n := len(s.queue)
	switch {
	case n == 0:
	case n >= s.hub.QueueFrames, s.bytes+size > s.hub.QueueBytes, !s.hub.Buffer.holds(s.queue[0]):
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
	s.next = s.queue[0].Serial
	s.empty(Lagging)
}

// release drops the queue if the replay buffer has evicted its first frame. The reader was
// already notified. Under the hub's lock.
func (s *Subscription) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == Current && len(s.queue) > 0 && !s.hub.Buffer.holds(s.queue[0]) {
		s.lag()
	}
}

func (s *Subscription) turnBehind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.empty(Behind)
}

// empty empties the queue, and says where the frames are from now on. Under the lock.
func (s *Subscription) empty(state State) { s.state, s.queue, s.bytes = state, nil, 0 }

// erase drops the frames that wait: some may be of events that were erased. The table has
// the others. A subscription that lags finds the replay buffer emptied. Under the hub's lock.
func (s *Subscription) erase() {
	s.mu.Lock()
	waits := len(s.queue) > 0
	s.mu.Unlock()
	if waits {
		s.turnBehind()
		s.notify(false)
	}
}

// notify tells the reader that there is something to take; now is as in Reader.
func (s *Subscription) notify(now bool) {
	if s.reader != nil {
		s.reader.Notify(now)
	}
	signal(s.wake)
}

// Wake has a token when there is something to take.
func (s *Subscription) Wake() <-chan struct{} { return s.wake }

// Take appends waiting frames to dst, about wire.WriteBytes of them, and returns where the rest
// is: there is none if the state is Current and more is false. When the subscription is
// behind there is nothing to take until it has rejoined.
func (s *Subscription) Take(dst []*wire.Frame) (frames []*wire.Frame, state State, more bool) {
	s.mu.Lock()
	if s.state == Lagging {
		s.mu.Unlock()
		frames, state = s.hub.Buffer.recall(s, dst)
		return frames, state, state == Lagging
	}
	defer s.mu.Unlock()
	n, bytes := 0, 0
	for n < len(s.queue) && (n == 0 || bytes < wire.WriteBytes) {
		bytes += s.queue[n].Size(s.format)
		n++
	}
	dst = append(dst, s.queue[:n]...)
	left := copy(s.queue, s.queue[n:])
	clear(s.queue[left:])
	s.queue = s.queue[:left]
	s.bytes -= bytes
	return dst, s.state, left > 0
}

// Rejoin restarts the subscription at W, which it returns. It also reports whether the hub
// was restarted since, so that the reader's own position must be validated again.
func (s *Subscription) Rejoin() (w position.Position, restarted bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.empty(Current)
	restarted = s.start != s.hub.starts
	s.from, s.start = s.hub.reads+1, s.hub.starts
	return s.hub.position, restarted
}

// SetFilter changes the subscription's filter. If nothing waits for its reader, which then
// has everything up to the position returned, it goes on from there. Otherwise it is
// behind, and must be replayed with the new filter.
func (s *Subscription) SetFilter(filter outbox.Filter) (at position.Position, idle bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.index.remove(s)
	s.filter = filter
	s.hub.index.add(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == Current && len(s.queue) == 0 {
		return s.handed(), true
	}
	s.empty(Behind)
	return at, false
}

// Idle returns the position of the reader, if nothing waits for it.
func (s *Subscription) Idle() (position.Position, bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	idle := s.state == Current && len(s.queue) == 0
	if idle {
		s.queue = nil // nor does an idle stream hold memory
	}
	return s.handed(), idle
}

// handed returns the position of a reader for which nothing waits. Under the hub's lock.
func (s *Subscription) handed() position.Position {
	if s.from > s.hub.reads {
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
