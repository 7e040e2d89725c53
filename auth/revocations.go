package auth

import (
	"context"
	"sync"
	"time"

	"github.com/outcrier/outcrier/outbox"
)

// Revocations are the revoked tokens that a node knows of, and the identities in use. Its
// methods may be called at the same time; on nil nothing is revoked.
type Revocations struct {
	// known is closed by the first Replace.
	known chan struct{}

	mu sync.Mutex
	// subjects have the moment up to which their tokens are revoked.
	subjects map[string]time.Time
	ids      map[string]struct{}
	watches  map[*watch]struct{}
}

// watch is an identity in use.
type watch struct {
	identity Identity
	end      func()
}

// knownWithin is how long a request waits for a starting node to read the revocations.
const knownWithin = 5 * time.Second

// NewRevocations returns an empty list that is not known yet: Check waits until Replace was
// called.
func NewRevocations() *Revocations {
	return &Revocations{known: make(chan struct{}), watches: map[*watch]struct{}{}}
}

// Replace replaces the list of revocations, and ends the identities in use that it revokes.
func (r *Revocations) Replace(list []outbox.Revocation) {
	subjects, ids := map[string]time.Time{}, map[string]struct{}{}
	for _, one := range list {
		if one.JTI != nil {
			ids[*one.JTI] = struct{}{}
		}
		if one.Sub != nil && one.At.After(subjects[*one.Sub]) {
			subjects[*one.Sub] = one.At
		}
	}
	r.mu.Lock()
	first := r.subjects == nil
	r.subjects, r.ids = subjects, ids
	var ended []*watch
	for w := range r.watches {
		if r.revoked(w.identity) {
			ended = append(ended, w)
		}
	}
	r.mu.Unlock()
	if first {
		close(r.known)
	}
	for _, w := range ended {
		w.end()
	}
}

// Known reports whether Replace was called.
func (r *Revocations) Known() bool {
	if r == nil {
		return true
	}
	select {
	case <-r.known:
		return true
	default:
		return false
	}
}

// revoked reports whether an identity is revoked; mu is held. An identity of a revoked
// subject without the time of its issue counts as issued before.
func (r *Revocations) revoked(i Identity) bool {
	if _, is := r.ids[i.TokenID]; is && i.TokenID != "" {
		return true
	}
	at, is := r.subjects[i.Subject]
	return is && i.Subject != "" && (i.Issued.IsZero() || !i.Issued.After(at))
}

// Check refuses a revoked identity, with ErrTokenRevoked. While the list is not known yet,
// because the database has not answered, it waits, and then refuses every identity with
// 503.
func (r *Revocations) Check(ctx context.Context, i Identity) error {
	if r == nil {
		return nil
	}
	if !r.Known() {
		waiting, cancel := context.WithTimeout(ctx, knownWithin)
		defer cancel()
		select {
		case <-r.known:
		case <-waiting.Done():
			return errRevocationsUnknown
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.revoked(i) {
		return errTokenRevoked
	}
	return nil
}

// Watch calls end, at most once, when the identity is revoked, or at once if it already is.
// stop must be called.
func (r *Revocations) Watch(i Identity, end func(cause error)) (stop func()) {
	if r == nil || i.Subject == "" && i.TokenID == "" {
		return func() {}
	}
	w := &watch{
		identity: Identity{Subject: i.Subject, TokenID: i.TokenID, Issued: i.Issued}, // not its grants: streams are many
		end:      sync.OnceFunc(func() { end(errTokenRevoked) }),
	}
	r.mu.Lock()
	r.watches[w] = struct{}{}
	revoked := r.revoked(i)
	r.mu.Unlock()
	if revoked {
		w.end()
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watches, w)
	}
}
