package sse

import (
	"cmp"
	"slices"
	"time"

	"github.com/outcrier/outcrier/sse/hub"
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
	var slow []Slow
	s.Hub.Each(func(reader hub.Reader, state hub.State, _ int) {
		t, is := reader.(*stream)
		if !is {
			return
		}
		full := state != hub.Current
		since := t.writing.Load()
		if since == 0 {
			since = t.wrote.Load()
		} else {
			full = full || now-time.Duration(since) >= least
		}
		if full {
			slow = append(slow, Slow{t.number.Load(), now - time.Duration(since)})
		}
	})
	slices.SortFunc(slow, func(a, b Slow) int { return cmp.Compare(b.For, a.For) })
	return slow[:min(most, len(slow))]
}
