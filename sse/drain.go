package sse

import (
	"context"
	"math/rand/v2"
	"time"
)

// Drain ends all streams, spread over DrainTime, and every new one at once. It does not
// wait; Drained does.
func (s *Streamer) Drain() {
	s.drain.Do(func() {
		close(s.draining)
		if s.open.Load() == 0 {
			s.emptied.Do(func() { close(s.empty) })
		}
	})
}

// Drained is closed when Drain was called and no stream is left.
func (s *Streamer) Drained() <-chan struct{} { return s.empty }

// Draining reports whether Drain was called.
func (s *Streamer) Draining() bool {
	select {
	case <-s.draining:
		return true
	default:
		return false
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

// endLater spreads the ends of all streams over the drain time.
func (t *stream) endLater() {
	t.draining, t.end = nil, time.After(rand.N(t.DrainTime+1))
}
