package sse

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/outcrier/outcrier/outbox"
)

// Stats is the state of a Streamer and its hub at one moment, and what they have
// counted since the process began.
type Stats struct {
	// Open are the open streams and polls. Those with a place at the hub are: Parked, live
	// and without a goroutine; Current, live, or about to be, with one; Lagging, whose
	// queue was full and who receive frames from the replay buffer; Behind, which go back to replay.
	Open, Parked, Current, Lagging, Behind int
	// Waiting are the streams and polls that wait for their turn to read the table.
	Waiting int
	// Queued are the frames that wait in the queues of all.
	Queued int
	// Events counts events written to the sockets of streams, each once for each stream;
	// Bytes and Writes count the writes.
	Events, Bytes, Writes int64
	// Dispatch has for each write of live events the time from when the first of them
	// was handed to the hub to the end of the write.
	Dispatch outbox.Durations
	// Replays counts the replays of streams that had a stretch to go; Memory and Table
	// the pages that the replay buffer and the table gave, also to polls.
	Replays       int64
	Memory, Table Pages
	// Polls counts those that were answered.
	Polls int64
	// Lagged counts the queues that were full and dropped, Fell those whose missing
	// frames the replay buffer did not have any more.
	Lagged, Fell int64
	// Gaps counts gaps by reason; Ended counts ended streams by cause: "left", "lost",
	// "stalled", "failed", or the reason of a Goodbye.
	Gaps, Ended map[string]int64
	// BufferBytes is about what the replay buffer holds, BufferEvents how many, BufferLimit the bytes
	// that it may hold.
	BufferBytes, BufferEvents, BufferLimit int
	// Draining reports whether Drain was called.
	Draining bool
}

// Pages counts pages of replays, and the events in them.
type Pages struct{ Pages, Events int64 }

// Stats is the state now. It takes a look at every stream, without holding the others
// up.
func (s *Streamer) Stats() Stats {
	st := Stats{
		Open: s.Open(), Draining: s.Draining(),
		Replays: s.counts.replays.Load(), Polls: s.counts.polls.Load(),
		Memory: s.Hub.Buffer.memory.pages(), Table: s.Hub.Buffer.table.pages(), Fell: s.Hub.Buffer.behind.Load(),
	}
	st.Waiting = s.Hub.Buffer.slots.Waiting() + s.Hub.Buffer.lanes.Waiting() + s.Hub.Buffer.starts.Waiting()
	st.BufferBytes, st.BufferEvents, st.BufferLimit = s.Hub.Buffer.held()
	st.Gaps, st.Ended = s.counts.maps()
	sent := s.pool.sent.sum(&s.pool.inline)
	st.Events, st.Bytes, st.Writes, st.Dispatch = sent.events, sent.bytes, sent.writes, sent.dispatch

	s.Hub.mu.Lock()
	st.Lagged = s.Hub.lagged
	subscribed := slices.Collect(maps.Keys(s.Hub.subscribed))
	s.Hub.mu.Unlock()
	for _, sub := range subscribed {
		st.look(sub)
	}
	return st
}

func (st *Stats) look(sub *Subscription) {
	t, _ := sub.reader.(*stream)
	sub.mu.Lock()
	state, queued := sub.state, len(sub.queue)
	sub.mu.Unlock()
	st.Queued += queued
	switch {
	case state == lagging:
		st.Lagging++
	case state == behind:
		st.Behind++
	case t != nil && t.state.Load()&stateParked != 0:
		st.Parked++
	default:
		st.Current++
	}
}

// held returns the replay buffer's size, in bytes and events, and its limit.
func (r *Buffer) held() (bytes, events, limit int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.bytes, int(r.serial - r.oldest() + 1), r.limit() // serials rise by one
}

// source counts the pages that one of the two sources of a replay gave.
type source struct{ read, events atomic.Int64 }

func (s *source) count(events int) {
	s.read.Add(1)
	s.events.Add(int64(events))
}

func (s *source) pages() Pages { return Pages{s.read.Load(), s.events.Load()} }

// tally counts what one goroutine has written. It is plain: a delivery costs less
// than a counter that others share.
type tally struct {
	events, bytes, writes int64
	dispatch              outbox.Durations
}

// sent has the counts of writes: each worker counts for itself, and all streams that have a
// goroutine of their own, or have ended, count together.
type sent struct {
	mu      sync.Mutex
	tally   tally
	workers []*worker
}

func (s *sent) join(w *worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workers = append(s.workers, w)
}

func (s *sent) leave(w *worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workers = slices.DeleteFunc(s.workers, func(other *worker) bool { return other == w })
	s.tally.add(&w.tally)
}

// sum is what all have written, with one more worker. It waits for what a worker is at.
func (s *sent) sum(inline *worker) tally {
	s.mu.Lock()
	sum, workers := s.tally, append(slices.Clone(s.workers), inline)
	s.mu.Unlock()
	for _, w := range workers {
		w.mu.Lock()
		sum.add(&w.tally)
		w.mu.Unlock()
	}
	return sum
}

func (t *tally) add(other *tally) {
	t.events += other.events
	t.bytes += other.bytes
	t.writes += other.writes
	t.dispatch.Add(&other.dispatch)
}

// counts are of what happens to a stream a few times at most.
type counts struct {
	replays, polls atomic.Int64

	mu         sync.Mutex
	gaps, ends map[string]int64
}

func (c *counts) gap(reason outbox.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gaps = counted(c.gaps, string(reason))
}

func (c *counts) ended(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends = counted(c.ends, why)
}

func (c *counts) maps() (gaps, ends map[string]int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.gaps), maps.Clone(c.ends)
}

// maxReasons bounds the words that are counted apart, which a Goodbye may choose.
const maxReasons = 32

func counted(by map[string]int64, word string) map[string]int64 {
	if by == nil {
		by = map[string]int64{}
	}
	if _, known := by[word]; !known && len(by) >= maxReasons {
		word = "other"
	}
	by[word]++
	return by
}
