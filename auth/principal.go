package auth

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/outcrier/outcrier/outbox"
)

// Principal is who a good token speaks of, and what it grants. Without grants it
// may nothing.
type Principal struct {
	// Subject is the claim sub: at most 255 bytes, all of which print; empty for a
	// token that has none.
	Subject string
	// Subscribe and Publish are the patterns granted, 256 of each at most.
	Subscribe, Publish []outbox.Pattern
	Admin              bool
	// Expires is when the token stops being good here: its exp and the leeway.
	Expires time.Time

	key *Key
}

// MaySubscribe refuses a pattern unless every topic that it can match is granted,
// be it by several patterns together.
func (p Principal) MaySubscribe(pattern outbox.Pattern) error {
	if !pattern.CoveredBy(p.Subscribe...) {
		return notGranted(fmt.Sprintf("topic %q: the token does not grant to subscribe to it", cut(string(pattern))))
	}
	return nil
}

// MayPublish refuses a topic that no pattern grants. It does not tell whether the
// topic is well-formed: append does.
func (p Principal) MayPublish(topic string) error {
	if !slices.ContainsFunc(p.Publish, func(granted outbox.Pattern) bool { return granted.Match(topic) }) {
		return notGranted(fmt.Sprintf("topic %q: the token does not grant to publish on it", cut(topic)))
	}
	return nil
}

// MayAdmin refuses who is no admin.
func (p Principal) MayAdmin() error {
	if !p.Admin {
		return notGranted("the token does not grant admin")
	}
	return nil
}

// Trusted tells whether the principal would still be accepted: ErrExpired if the
// token is over by now, ErrWithdrawn if its key is. It costs next to nothing.
func (p Principal) Trusted() error {
	switch {
	case p.key != nil && p.key.withdrawn != nil && p.key.withdrawn.Err() != nil:
		return errWithdrawn
	case !time.Now().Before(p.Expires):
		return errExpired
	}
	return nil
}

// While returns a context that ends with ctx, when the token expires, or when the
// key that signed it is withdrawn; its cause is then ErrExpired or ErrWithdrawn.
// The time is counted from now on, so that a clock that is set does not end all
// streams. stop must be called, and costs no goroutine till then.
func (p Principal) While(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithDeadlineCause(ctx, p.Expires, errExpired)
	if p.key == nil || p.key.withdrawn == nil {
		return ctx, stop
	}
	ctx, end := context.WithCancelCause(ctx)
	forget := context.AfterFunc(p.key.withdrawn, func() { end(errWithdrawn) })
	return ctx, func() {
		forget()
		stop()
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
