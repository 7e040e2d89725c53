package sse

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Slow is a stream whose reader does not keep up.
type Slow struct {
	// Number is that of its audit's record, 0 without.
	Number int64
	// For is how long a write has been waiting for the reader, or, where none does, how
	// long ago the last one left.
	For time.Duration
}

// Slow returns the streams whose queue was full, or whose reader has kept a write waiting
// for some time, the slowest first and at most so many.
func (s *Streamer) Slow(least time.Duration, most int) []Slow {
	now := time.Since(s.pool.began)
	s.Hub.mu.Lock()
	subscribed := slices.Collect(maps.Keys(s.Hub.subscribed))
	s.Hub.mu.Unlock()
	var slow []Slow
	for _, sub := range subscribed {
		t, is := sub.reader.(*stream)
		if !is {
			continue
		}
		sub.mu.Lock()
		full := sub.state != current
		sub.mu.Unlock()
		since := t.writing.Load()
		if since == 0 {
			since = t.wrote.Load()
		} else {
			full = full || now-time.Duration(since) >= least
		}
		if full {
			slow = append(slow, Slow{t.number.Load(), now - time.Duration(since)})
		}
	}
	slices.SortFunc(slow, func(a, b Slow) int { return cmp.Compare(b.For, a.For) })
	return slow[:min(most, len(slow))]
}
