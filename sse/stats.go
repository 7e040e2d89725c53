package sse

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse/hub"
)

// Stats is the state of a Streamer and its hub at one moment, and what they have
// counted since the process began.
type Stats struct {
	hub.Stats
	// Open are the open streams and polls. Those with a place at the hub are: Parked, live
	// and without a goroutine; Current, live, or about to be, with one; Lagging, whose
	// queue was full and who receive frames from the replay buffer; Behind, which go back to replay.
	Open, Parked, Current, Lagging, Behind int
	// Queued are the frames that wait in the queues of all.
	Queued int
	// Events counts events written to the sockets of streams, each once for each stream;
	// Bytes and Writes count the writes.
	Events, Bytes, Writes int64
	// Dispatch has for each write of live events the time from when the first of them
	// was handed to the hub to the end of the write.
	Dispatch tail.Durations
	// Replays counts the replays of streams that had a stretch to go.
	Replays int64
	// Polls counts those that were answered.
	Polls int64
	// Gaps counts gaps by reason; Ended counts ended streams by cause: "left", "lost",
	// "stalled", "failed", or the reason of a Goodbye.
	Gaps, Ended map[string]int64
	// Draining reports whether Drain was called.
	Draining bool
}

// Stats returns the state now. It looks at every stream, without holding the others up.
func (s *Streamer) Stats() Stats {
	st := Stats{
		Stats: s.Hub.Stats(), Open: s.Open(), Draining: s.Draining(),
		Replays: s.counts.replays.Load(), Polls: s.counts.polls.Load(),
	}
	st.Gaps, st.Ended = s.counts.maps()
	sent := s.pool.sent.sum(&s.pool.inline)
	st.Events, st.Bytes, st.Writes, st.Dispatch = sent.events, sent.bytes, sent.writes, sent.dispatch
	s.Hub.Each(st.look)
	return st
}

// look counts a subscription.
func (st *Stats) look(reader hub.Reader, state hub.State, queued int) {
	t, _ := reader.(*stream)
	st.Queued += queued
	switch {
	case state == hub.Lagging:
		st.Lagging++
	case state == hub.Behind:
		st.Behind++
	case t != nil && t.state.Load()&stateParked != 0:
		st.Parked++
	default:
		st.Current++
	}
}

// tally counts what one goroutine has written. It is plain: a delivery costs less
// than a counter that others share.
type tally struct {
	events, bytes, writes int64
	dispatch              tail.Durations
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

// sum returns what all have written, with one more worker. It waits for each worker to finish
// the streams that it has taken.
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

func (c *counts) gap(reason position.Reason) {
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
