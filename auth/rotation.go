package auth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/outcrier/outcrier/internal/outage"
)

// Run keeps the keys of the JWKS fresh until ctx ends, and returns its cause; without a
// JWKS it only waits. After a failed fetch the known keys stay trusted, up to
// Config.MaxAge, and Run tries again after a pause that grows up to the refresh time.
func (v *Verifier) Run(ctx context.Context) error {
	if v.jwks == nil {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	const firstPause = time.Second
	pause := firstPause
	var failing outage.Outage
	for {
		next := v.jwks.refresh
		if err := v.jwks.fetch(ctx, v.adopt); err != nil && ctx.Err() == nil {
			next = min(pause, next)
			pause = 2 * next
			if failing.Fails("") {
				v.log.WarnContext(ctx, "jwks not fetched", "url", v.jwks.name(), "err", err, "retry_in", next)
			}
		} else if err == nil {
			pause = firstPause
			if failures, lasted := failing.Ends(); failures > 0 {
				v.log.InfoContext(ctx, "jwks is fetched again", "url", v.jwks.name(), "after", lasted, "failures", failures)
			}
		}
		// Nodes that were started together should not fetch together.
		next -= time.Duration(rand.Int64N(int64(next)/10 + 1)) //nolint:gosec // spread, not secret
		if left := v.jwks.staleIn(); left == 0 {
			v.withdrawStale(ctx)
		} else if left > 0 {
			next = min(next, left)
		}
		select {
		case <-time.After(next):
		case <-v.jwks.wanted:
			select {
			case <-time.After(v.jwks.demands.Reserve().Delay()):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// withdrawStale withdraws the keys of the JWKS, and so ends their streams, once they are too
// old to be trusted.
func (v *Verifier) withdrawStale(ctx context.Context) {
	// Not while a fetched set is being adopted.
	v.jwks.fetching <- struct{}{}
	defer func() { <-v.jwks.fetching }()
	v.changing.Lock()
	defer v.changing.Unlock()
	before := v.known.Load()
	old := before.all[len(before.fixed):]
	if len(old) == 0 || !v.jwks.stale() {
		return
	}
	v.known.Store(&known{fixed: before.fixed, all: before.fixed})
	for _, key := range old {
		key.withdraw(errUnavailable)
	}
	v.log.ErrorContext(ctx, "jwks is too old, its keys are no longer trusted", "url", v.jwks.name(), "age", v.jwks.maxAge)
}

// Replace replaces the keys of the configuration, as when a file with them has changed. The
// streams of a key that is not among them end.
func (v *Verifier) Replace(keys []*Key) error {
	switch {
	case len(keys) == 0 && v.jwks == nil:
		return errors.New("replace keys: none is given, and no JWKS")
	case len(keys) > maxKeys:
		return fmt.Errorf("replace keys: %d keys, at most %d are allowed", len(keys), maxKeys)
	}
	came, went := v.replaceFixed(keys)
	if came != nil || went != nil {
		v.log.Info("keys changed", "keys", len(keys), "came", came, "went", went)
	}
	return nil
}

// replaceFixed replaces the keys of the configuration. came and went are as in replaceKeys.
func (v *Verifier) replaceFixed(keys []*Key) (came, went []string) {
	v.changing.Lock()
	defer v.changing.Unlock()
	before := v.known.Load()
	fixed, came, went, gone := replaceKeys(before.fixed, keys)
	v.known.Store(&known{fixed: fixed, all: slices.Concat(fixed, before.all[len(before.fixed):])})
	for _, old := range gone {
		old.withdraw(errWithdrawn)
	}
	return came, went
}

// adopt replaces the keys of the JWKS by those of a new one. An empty set counts too: with
// it an issuer withdraws all its keys. The caller holds fetching.
func (v *Verifier) adopt(set keySet) {
	v.changing.Lock()
	defer v.changing.Unlock()
	before := v.known.Load()
	keys, came, went, gone := replaceKeys(before.all[len(before.fixed):], set.keys)
	v.known.Store(&known{fixed: before.fixed, all: slices.Concat(before.fixed, keys)})
	v.jwks.replaced(keys, gone)
	for _, old := range gone {
		old.withdraw(errWithdrawn)
	}
	if came != nil || went != nil || !slices.Equal(set.passedOver, v.jwks.passedOver) {
		v.jwks.passedOver = set.passedOver
		v.log.Info("jwks changed", "url", v.jwks.name(), "keys", len(keys), "came", came, "went", went, "passed_over", set.passedOver)
	}
}

// replaceKeys returns the trusted keys after keys replace others: a key that was there before
// stays the same object, so that its streams go on. came and went are the ids of the added
// and the withdrawn keys.
func replaceKeys(before, keys []*Key) (after []*Key, came, went []string, gone []*Key) {
	for _, key := range keys {
		like := func(other *Key) bool { return other.same(key) && other.ID == key.ID }
		if slices.ContainsFunc(after, like) {
			continue // a duplicate
		}
		if i := slices.IndexFunc(before, like); i >= 0 {
			after = append(after, before[i])
			continue
		}
		own := *key
		own.withdrawn, own.withdraw = context.WithCancelCause(context.Background())
		after = append(after, &own)
		came = append(came, key.ID)
	}
	for _, old := range before {
		if !slices.Contains(after, old) {
			gone = append(gone, old)
			went = append(went, old.ID)
		}
	}
	return after, came, went, gone
}

// Status is the state of the keys.
type Status struct {
	// Keys is how many are trusted.
	Keys int
	// JWKS is set where one is configured; the other fields are about it.
	JWKS bool
	// Fetched is when it was last fetched, zero if it never was.
	Fetched time.Time
	// Fault is why the last fetch failed; nil without a JWKS.
	Fault error
	// Failures is how many fetches failed.
	Failures int64
	// Stale is set when its keys are too old to be trusted.
	Stale bool
}

// Status may be called at any time.
func (v *Verifier) Status() Status {
	status := Status{Keys: len(v.trusted())}
	if v.jwks != nil {
		status.JWKS, status.Stale = true, v.jwks.stale()
		v.jwks.mu.Lock()
		defer v.jwks.mu.Unlock()
		status.Fetched, status.Fault, status.Failures = v.jwks.good, v.jwks.fault, v.jwks.failed
	}
	return status
}
