package hub

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/outcrier/outcrier/internal/fair"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse/wire"
)

// Hub hands the tail's reads to the subscriptions that follow them. It waits for no reader: a
// subscription whose queue is full lags, and recalls the frames that it missed from the replay
// buffer; when the replay buffer has evicted them, the subscription is behind and goes back to
// replay from its own position.
//
// Its position W joins replay to live without a hole or a repeat: a subscription registers
// and copies W under one lock, everything after W is queued for it, and everything up to W
// can be replayed. In the middle of a long read W is already the end of that read, whose
// events are all in the table; the remaining parts then go only to subscriptions that were
// registered when it began.
//
// A part of a read with Forget reports that events were erased or changed: the replay buffer is
// emptied, every subscription with waiting frames is behind, and a page of a replay that
// was read before and not sent yet is read again. So no reader receives anything older,
// except in a write that was under way.
type Hub struct {
	// Buffer has the newest frames.
	Buffer *Buffer
	// Keys write and read positions: a random one by default, for this process alone.
	Keys *position.Keys
	// QueueFrames and QueueBytes bound what waits for one subscription: 256 and 1 MiB by default.
	QueueFrames, QueueBytes int

	mu sync.Mutex
	// started is closed at the first Start.
	started chan struct{}
	// position is W.
	position position.Position
	// delivered is the position of subscriptions that were registered before the present
	// read began: W between reads.
	delivered position.Position
	// present is the read whose parts are being delivered.
	present *wire.Read
	// reads counts reads, starts counts Starts.
	reads, starts int64
	subscribed    map[*Subscription]struct{}
	// released is the newest serial when release last looked at the queues.
	released int64
	// lagged counts the queues that were dropped because they were full.
	lagged int64
	index  index
	// toNotify are the subscriptions whose readers have to be notified.
	toNotify []*Subscription
}

// Default bounds of a subscription's queue: a reader that lags further is better served
// from the table.
const (
	defaultQueueFrames = 256
	defaultQueueBytes  = 1 << 20
)

// New makes a hub that waits for its Start, and feeds the replay buffer.
func New(buffer *Buffer) *Hub {
	// One principal alone gets half of them: the next one finds a place, and a processor.
	replays, starts := cmp.Or(buffer.Replays, 4), cmp.Or(buffer.Starts, 2)
	buffer.pages, buffer.large, buffer.starts = fair.NewQueue(replays, replays/2), fair.NewQueue(replays, replays/2), fair.NewQueue(starts, starts/2)
	return &Hub{
		Buffer: buffer, Keys: position.NewKeys(), QueueFrames: defaultQueueFrames, QueueBytes: defaultQueueBytes,
		started: make(chan struct{}), subscribed: map[*Subscription]struct{}{}, index: newIndex(),
	}
}

// Start sets the position that the next read begins at. If it is called again, every
// subscription is behind, since this position does not continue the frames that they
// received.
func (h *Hub) Start(p position.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Buffer.start(p)
	h.position, h.delivered = p, p
	h.reads++
	h.starts++
	if h.starts == 1 {
		close(h.started)
	}
	for s := range h.subscribed {
		s.turnBehind()
		s.notify(false)
	}
}

const (
	// notifyEvery is how many readers are notified together, so that the first of many are
	// while frames are still being queued for the others.
	notifyEvery = 128
	// notifyNow is how many readers the tail's goroutine lets take their frames by itself:
	// for so few, waking another goroutine takes longer.
	notifyNow = 4
)

// Deliver queues a part of a read at the subscriptions that follow its events. Only the
// tail calls it, and it does not block.
func (h *Hub) Deliver(r tail.Read) {
	few := h.deliver(r)
	for _, s := range few {
		s.notify(true)
	}
}

// deliver queues frames and notifies the readers. A few it returns instead, to be notified
// without the lock.
func (h *Hub) deliver(r tail.Read) (few []*Subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.First {
		h.reads++
		h.position = r.To
		h.present = &wire.Read{From: r.From, To: r.To, Number: h.reads, At: time.Now(), Keys: h.Keys}
	}
	if r.Forget {
		// Before the replay buffer counts the erasure: a reader that has taken frames from a queue
		// has read the count before.
		for s := range h.subscribed {
			s.erase()
		}
	}
	frames := h.Buffer.deliver(r, h.present)
	h.release()
	var f *wire.Frame
	push := func(s *Subscription) {
		if s.from > h.reads || !s.filter.MatchType(f.Event.Type) || !s.push(f) {
			return
		}
		if h.toNotify = append(h.toNotify, s); len(h.toNotify) == notifyEvery {
			h.notify()
		}
	}
	for i := range frames {
		f = &frames[i]
		h.index.each(f.Event.Topic, push)
	}
	if len(h.toNotify) <= notifyNow {
		few = h.toNotify
		h.toNotify = nil
	}
	h.notify()
	switch {
	case r.Last:
		h.delivered = r.To
	case len(frames) > 0:
		h.delivered = f.Position()
	case r.First:
		h.delivered = r.From
	}
	return few
}

// release drops frames from the queues that the replay buffer has evicted. A queue does so itself
// when a frame is added to it; this is for the others, whose topics are quiet. It runs when
// the replay buffer has evicted everything that it held the last time.
func (h *Hub) release() {
	if h.Buffer.oldest() <= h.released || h.Buffer.serial-h.released < int64(len(h.subscribed)) {
		return
	}
	h.released = h.Buffer.serial
	for s := range h.subscribed {
		s.release()
	}
}

func (h *Hub) notify() {
	for _, s := range h.toNotify {
		s.notify(false)
	}
	clear(h.toNotify)
	h.toNotify = h.toNotify[:0]
}

// Started reports whether Start was called.
func (h *Hub) Started() bool {
	select {
	case <-h.started:
		return true
	default:
		return false
	}
}

// Subscribe registers a subscription and returns it with W. It waits for the first Start, or
// for ctx. Queues are bounded by the frames' sizes in the format. A reader, which may be nil,
// is notified besides Wake. The caller must Close the subscription.
func (h *Hub) Subscribe(ctx context.Context, filter outbox.Filter, format wire.Format, reader Reader) (*Subscription, position.Position, error) {
	select {
	case <-h.started:
	case <-ctx.Done():
		return nil, position.Position{}, context.Cause(ctx)
	}
	s := &Subscription{hub: h, filter: filter, format: format, reader: reader, wake: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subscribed[s] = struct{}{}
	h.index.add(s)
	s.from, s.start = h.reads+1, h.starts
	return s, h.position, nil
}

// Position returns W.
func (h *Hub) Position() position.Position {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.position
}

// Erasures returns how often all memory was emptied, because events were erased or
// changed, or the tail has started again.
func (h *Hub) Erasures() int64 { return h.Buffer.erasures.Load() }

// Subscriptions returns how many there are.
func (h *Hub) Subscriptions() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subscribed)
}

// Each calls fn for every subscription, with its reader, which may be nil, where its frames
// are, and how many are in its queue. It holds no lock meanwhile.
func (h *Hub) Each(fn func(reader Reader, state State, queued int)) {
	h.mu.Lock()
	subscribed := slices.Collect(maps.Keys(h.subscribed))
	h.mu.Unlock()
	for _, s := range subscribed {
		s.mu.Lock()
		state, queued := s.state, len(s.queue)
		s.mu.Unlock()
		fn(s.reader, state, queued)
	}
}

// signal puts a token into wake, unless there is one.
func signal(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}
