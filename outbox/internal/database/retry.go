package database

import (
	"math/rand/v2"
	"time"
)

// Retry computes the pauses between attempts at work that fails. A library for it would be
// one more module that every application builds to append.
type Retry struct {
	// First is the mean of the first pause, Longest that of the longest.
	First, Longest time.Duration

	// mean is that of the last pause, 0 before the first one.
	mean time.Duration
}

// Next returns a pause of half to one and a half times the mean, so that nodes which lost
// the same server don't come back to it at the same time. The mean grows by half each time.
func (r *Retry) Next() time.Duration {
	r.mean = min(max(r.mean*3/2, r.First), r.Longest)
	return r.mean/2 + rand.N(r.mean) //nolint:gosec // spread, not secret
}

// Reset is called when the work succeeds.
func (r *Retry) Reset() { r.mean = 0 }
