package outbox

import (
	"math/rand/v2"
	"time"
)

// retry computes the pauses between attempts at work that fails. A library for it would be
// one more module that every application builds to append.
type retry struct {
	first, longest time.Duration
	// mean is that of the last pause, 0 before the first one.
	mean time.Duration
}

// next returns a pause of half to one and a half times the mean, so that nodes which lost
// the same server don't come back to it at the same time. The mean grows by half each time.
func (r *retry) next() time.Duration {
	r.mean = min(max(r.mean*3/2, r.first), r.longest)
	return r.mean/2 + rand.N(r.mean) //nolint:gosec // spread, not secret
}

// reset is called when the work succeeds.
func (r *retry) reset() { r.mean = 0 }
