package tail

import "time"

// Durations is a histogram of durations: a Tail and the streams count in it, and the
// metrics read it. The zero value is empty. It is a value: copy it under the lock that
// guards it.
type Durations struct {
	// Counts has, for each bound of DurationBounds, how many durations were at most as long
	// and longer than the bound before; its last element counts those longer than every
	// bound.
	Counts [len(durationBounds) + 1]int64
	// Sum is the sum of all durations.
	Sum time.Duration
}

// durationBounds go from the time of a wake-up to longer than any user waits.
var durationBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second, time.Minute,
}

// DurationBounds returns the upper bounds of every Durations, ascending; each bound belongs
// to its own bucket.
func DurationBounds() []time.Duration { return durationBounds[:] }

// Observe counts one; a negative duration, of clocks that differ, counts as none.
func (d *Durations) Observe(took time.Duration) {
	took = max(0, took)
	i := 0
	for i < len(durationBounds) && took > durationBounds[i] {
		i++
	}
	d.Counts[i]++
	d.Sum += took
}

// Add adds what another one has counted.
func (d *Durations) Add(other *Durations) {
	for i, n := range other.Counts {
		d.Counts[i] += n
	}
	d.Sum += other.Sum
}
