package auth

import (
	"context"
	"slices"
	"time"
)

const (
	// Unknown keys cause at most one fetch per demandEvery, and demandBurst at once, since
	// anyone can send a kid. The regular refresh does not count.
	demandEvery, demandBurst = 10 * time.Second, 5
	// A key that is missing after a fetch causes no further fetch for missFor, if the token
	// is older than that fetch. At most missMost are remembered.
	missFor, missMost = time.Minute, 1000
)

// mayBeUnknown reports whether a token may be signed by a key of the JWKS that is not among
// those known: a known kid would have named it. Secrets are never in a JWKS.
func mayBeUnknown(keys []*Key, c compact) bool {
	named := c.kidGiven && slices.ContainsFunc(keys, func(key *Key) bool { return key.ID == c.kid })
	return c.algorithm != "HS256" && !named
}

// unknownSigner returns the key that signed a token by an unknown key, once the JWKS was fetched
// for it. Otherwise it returns why there is none: refused, if the issuer was asked after the
// token was made and has no such key, or errUnavailable as long as that is not known.
// Anyone can send an unknown kid, so such a token may cause neither a fetch each nor the
// refusal of another.
func (v *Verifier) unknownSigner(ctx context.Context, c compact, tried []*Key, refused error) (*Key, error) {
	outcome := v.jwks.demand(ctx, c, v.adopt)
	// Whatever the outcome: others may have fetched since the keys were tried.
	if keys := v.trusted(); !slices.Equal(keys, tried) {
		key, err := signer(keys, c)
		if key != nil || !mayBeUnknown(keys, c) {
			return key, err
		}
	}
	switch {
	case outcome == absent:
		return nil, refused
	case outcome == unknown, v.jwks.failing():
		return nil, errUnavailable
	}
	v.jwks.miss(c)
	return nil, refused
}

// outcome is the result of a demand.
type outcome int

const (
	fetched outcome = iota + 1 // the JWKS came, or failed to, after the demand
	absent                     // a JWKS that is newer than the token has no such key
	unknown                    // it can't be known before the next fetch
)

// demand fetches for a token of an unknown key, if the budget has it, or waits for a
// fetch that goes on.
func (j *jwks) demand(ctx context.Context, c compact, adopt func(keySet)) outcome {
	j.mu.Lock()
	loads, older := j.loads, j.olderThan(c, j.began) || c.kidGiven && j.withdrawn[c.kid]
	missed, is := j.misses[c.name()]
	j.mu.Unlock()
	if is && time.Since(missed) < missFor && j.olderThan(c, missed) {
		return absent
	}
	select {
	case j.fetching <- struct{}{}:
		defer func() { <-j.fetching }()
	case <-ctx.Done():
		return unknown
	}
	j.mu.Lock()
	done := j.loads > loads
	j.mu.Unlock()
	switch {
	case done:
		return fetched
	case j.demands.Allow():
		// The end of this request must not end it: others wait for it.
		_ = j.load(context.WithoutCancel(ctx), adopt) // kept in fault; Run logs
		return fetched
	case older && !j.failing():
		return absent
	}
	select {
	case j.wanted <- struct{}{}:
	default:
	}
	return unknown
}

// olderThan reports whether a token claims to be older than a fetch. It is not verified
// yet, but a false claim only makes the token itself refused or delayed.
func (j *jwks) olderThan(c compact, fetch time.Time) bool {
	made := c.made()
	return !made.IsZero() && !fetch.IsZero() && made.Add(j.leeway).Before(fetch)
}

// replaced remembers which keys were withdrawn by their issuer.
func (j *jwks) replaced(keys, gone []*Key) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.withdrawn) >= missMost {
		clear(j.withdrawn)
	}
	for _, key := range gone {
		j.withdrawn[key.ID] = true
	}
	for _, key := range keys {
		delete(j.withdrawn, key.ID)
	}
}

// miss remembers that the last fetch did not have a token's key.
func (j *jwks) miss(c compact) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.misses) >= missMost {
		clear(j.misses)
	}
	j.misses[c.name()] = j.began
}
