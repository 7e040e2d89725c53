package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/outcrier/outcrier/outbox"
)

// Identity says who a request is from, and has its rights. The zero value has none.
type Identity struct {
	// Subject names the user or program: in the log, in the audit, and as the one whose
	// streams and publishing the limits count together. At most 255 bytes, all printable.
	// Empty for a nameless one, which the limits count by address.
	Subject string
	// TokenID is the jti of the token, by which it can be revoked; empty for none.
	TokenID string
	// Issued is when the token was issued, or the user signed in: revoking the subject ends
	// identities issued up to then, and those without this time.
	Issued time.Time
	// Subscribe and Publish are the topics granted.
	Subscribe, Publish []outbox.Pattern
	// Admin grants everything that admins may do, Grants a part of it: the admin page, its
	// acts, and GET /metrics.
	Admin  bool
	Grants []Grant
	// Expires is when the identity ends, and its streams with it; zero for never.
	Expires time.Time
	// Revoked, when not nil, ends the identity and its streams before Expires, as at a
	// sign-out, by being done.
	Revoked context.Context
	// Explicit is set for a credential that no browser sends by itself, like a bearer
	// token in Authorization. Otherwise, as with a cookie, requests that a page of
	// another site made are refused.
	Explicit bool

	// nameless identifies a token without a subject.
	nameless string
}

// LimitKey returns the key under which limits count the identity, empty for one that has
// none and is counted by address.
func (i Identity) LimitKey() string {
	switch {
	case i.Subject != "":
		return "subject " + i.Subject
	case i.nameless != "":
		return "token " + i.nameless
	}
	return ""
}

// MaySubscribe returns a *Refusal unless every topic that the pattern can match is granted,
// possibly by several patterns together.
func (i Identity) MaySubscribe(pattern outbox.Pattern) error {
	if !pattern.CoveredBy(i.Subscribe...) {
		return notGranted(fmt.Sprintf("topic %q: subscribing to it is not granted", cut(string(pattern))))
	}
	return nil
}

// MayPublish returns a *Refusal for a topic that no pattern grants. It does not check
// whether the topic is well-formed: append does.
func (i Identity) MayPublish(topic string) error {
	if !slices.ContainsFunc(i.Publish, func(granted outbox.Pattern) bool { return granted.Match(topic) }) {
		return notGranted(fmt.Sprintf("topic %q: publishing on it is not granted", cut(topic)))
	}
	return nil
}

// Ended returns nil while the identity is valid, then ErrExpired, ErrWithdrawn or
// ErrRevoked.
func (i Identity) Ended() error {
	switch {
	case i.Revoked != nil && i.Revoked.Err() != nil:
		return i.revocation()
	case !i.Expires.IsZero() && !time.Now().Before(i.Expires):
		return errExpired
	}
	return nil
}

// revocation returns why Revoked is done.
func (i Identity) revocation() error {
	var refusal *Refusal
	if cause := context.Cause(i.Revoked); errors.As(cause, &refusal) {
		return cause
	}
	return errRevoked
}

// While returns a context that ends with ctx or with the identity; its cause is then
// what Ended returns. The time is counted from now on, so that a clock that is set does
// not end all streams. stop must be called, and costs no goroutine till then.
func (i Identity) While(ctx context.Context) (context.Context, context.CancelFunc) {
	stop := func() {}
	if !i.Expires.IsZero() {
		ctx, stop = context.WithDeadlineCause(ctx, i.Expires, errExpired)
	}
	if i.Revoked == nil {
		return ctx, stop
	}
	ctx, end := context.WithCancelCause(ctx)
	forget := context.AfterFunc(i.Revoked, func() { end(i.revocation()) })
	return ctx, func() {
		forget()
		stop()
		end(nil)
	}
}

// cut keeps an error short; a topic has up to 255 bytes.
func cut(text string) string {
	const most = 300
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
