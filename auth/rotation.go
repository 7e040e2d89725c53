package auth

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// Run keeps the keys of the JWKS fresh until ctx ends, and returns its cause; without
// a JWKS it only waits. Fetches that fail change nothing: the keys known stay, and
// it is tried again after a pause that grows up to the refresh time.
func (v *Verifier) Run(ctx context.Context) error {
	if v.jwks == nil {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	const firstPause = time.Second
	pause := firstPause
	for {
		next := v.jwks.refresh
		if err := v.jwks.fetch(ctx, v.adopt); err != nil && ctx.Err() == nil {
			next = min(pause, next)
			pause = 2 * next
			v.log.WarnContext(ctx, "jwks not fetched", "url", v.jwks.name(), "err", err, "retry_in", next)
		} else {
			pause = firstPause
		}
		// Nodes that were started together need not ask together.
		next -= time.Duration(rand.Int64N(int64(next)/10 + 1)) //nolint:gosec // spread, not secret
		select {
		case <-time.After(next):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// adopt takes the keys of a JWKS for those of the last. A set that came is obeyed,
// an empty one too: that is how an issuer says that no key of its is good. It is
// called by who holds fetching.
func (v *Verifier) adopt(set keySet) {
	before := (*v.known.Load())[len(v.fixed):]
	after := slices.Clone(v.fixed)
	var came, went []string
	for _, key := range set.keys {
		like := func(other *Key) bool { return other.same(key) && other.ID == key.ID }
		if slices.ContainsFunc(after[len(v.fixed):], like) {
			continue // given twice
		}
		// The same key stays the same, so that its streams do.
		if i := slices.IndexFunc(before, like); i >= 0 {
			after = append(after, before[i])
			continue
		}
		key.withdrawn, key.withdraw = context.WithCancelCause(context.Background())
		after = append(after, key)
		came = append(came, key.ID)
	}
	v.known.Store(&after)
	for _, old := range before {
		if !slices.Contains(after, old) {
			old.withdraw(errWithdrawn)
			went = append(went, old.ID)
		}
	}
	if came != nil || went != nil || !slices.Equal(set.passedOver, v.jwks.passedOver) {
		v.jwks.passedOver = set.passedOver
		v.log.Info("jwks changed", "url", v.jwks.name(), "keys", len(after)-len(v.fixed), "came", came, "went", went, "passed_over", set.passedOver)
	}
}

// Status is the state of the keys.
type Status struct {
	// Keys is how many are trusted.
	Keys int
	// Fetched is when the JWKS last came, zero if it never did.
	Fetched time.Time
	// Fault is why it did not come when last asked for; nil without a JWKS.
	Fault error
}

// Status may be called at any time.
func (v *Verifier) Status() Status {
	status := Status{Keys: len(*v.known.Load())}
	if v.jwks != nil {
		v.jwks.mu.Lock()
		defer v.jwks.mu.Unlock()
		status.Fetched, status.Fault = v.jwks.good, v.jwks.fault
	}
	return status
}
