package handlers

import (
	"context"
	"errors"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse/wire"
)

// identity is the identity of a request, with the keys that limits count it by.
type identity struct {
	auth.Identity
	// open is set where every request has all rights and no identity.
	open bool
	// revocations may end the identity; nil where there are none.
	revocations *auth.Revocations
	// limitKey is the key of the principal in the limits; empty where there is none.
	limitKey string
	// address is the key of the client's address in the limits.
	address string
}

func (w identity) maySubscribe(topics []outbox.Pattern) error {
	if w.open {
		return nil
	}
	for _, topic := range topics {
		if err := w.MaySubscribe(topic); err != nil {
			return about{err, "topic", string(topic)}
		}
	}
	return nil
}

// mayReadCatalogue refuses an identity that may read no topic: the list of types says
// something about the business, but on any topic events of all types may come.
func (w identity) mayReadCatalogue() error {
	if w.open || len(w.Subscribe) > 0 {
		return nil
	}
	return w.May(auth.GrantRead, auth.GrantCatalogue)
}

// mayPublishAnything refuses an identity that may publish on no topic.
func (w identity) mayPublishAnything() error {
	if w.open || len(w.Publish) > 0 {
		return nil
	}
	err := w.MayPublish("")
	if refusal := (*auth.Refusal)(nil); errors.As(err, &refusal) {
		nowhere := *refusal
		nowhere.Detail = "publishing is not granted on any topic"
		return &nowhere
	}
	return err
}

func (w identity) mayPublish(drafts []outbox.Draft) error {
	if w.open {
		return nil
	}
	for _, draft := range drafts {
		if err := w.MayPublish(draft.Topic); err != nil {
			return about{error: err, topic: draft.Topic}
		}
	}
	// While the body arrived the token may have expired or been revoked.
	if err := w.Ended(); err != nil {
		return err
	}
	return w.revocations.Check(context.Background(), w.Identity)
}

// may refuses an identity that has none of these grants of admins.
func (w identity) may(anyOf ...auth.Grant) error {
	if w.open {
		return nil
	}
	return w.May(anyOf...)
}

// granted returns the identity's grants of admins.
func (w identity) granted() []auth.Grant {
	if w.open {
		return auth.Grants()
	}
	return append([]auth.Grant{}, w.Granted()...)
}

// while returns a context that ends with ctx, or with the identity; its cause is then a
// wire.Goodbye. The function must be called.
func (w identity) while(ctx context.Context) (context.Context, func()) {
	return w.lasting(ctx, goodbyeFor)
}

// whilePolling is like while, but the cause is the refusal: an answer has a status for it.
func (w identity) whilePolling(ctx context.Context) (context.Context, func()) {
	return w.lasting(ctx, func(cause error) error { return cause })
}

// lasting returns a context that ends with ctx, or when the identity expires or is revoked;
// its cause is then what say returns. The function must be called.
func (w identity) lasting(ctx context.Context, say func(cause error) error) (context.Context, func()) {
	if w.open {
		return ctx, func() {}
	}
	trusted, stop := w.While(ctx)
	ctx, end := context.WithCancelCause(ctx)
	forget := context.AfterFunc(trusted, func() { end(say(context.Cause(trusted))) })
	unwatch := w.revocations.Watch(w.Identity, func(cause error) { end(say(cause)) })
	return ctx, func() {
		unwatch()
		forget()
		stop()
		end(nil)
	}
}

var (
	errTokenExpired error = &wire.Goodbye{Reason: "token_expired", Text: "the token has expired"}
	errKeyWithdrawn error = &wire.Goodbye{Reason: "key_withdrawn", Text: "the key that signed the token was withdrawn"}
	errTokenRevoked error = &wire.Goodbye{Reason: "token_revoked", Text: "the token was revoked"}
	errRevoked      error = &wire.Goodbye{Reason: "revoked", Text: "the session has ended"}
	errNoKeys             = &wire.Goodbye{Reason: "keys_unavailable", Text: "the keys to verify tokens are not available", Passes: true}
	errNoAnswer           = &wire.Goodbye{Reason: "unavailable", Text: "requests can't be authenticated at present", Passes: true}
	errNoRoomNow          = &wire.Goodbye{Reason: "too_many", Text: "too many bytes of long requests are under way", Passes: true}
	errTooMany            = &wire.Goodbye{Reason: "too_many", Text: "too many streams are open for this principal or address", Passes: true}
)

// goodbyeFor returns the goodbye of a stream whose token has ended.
func goodbyeFor(cause error) error {
	switch {
	case errors.Is(cause, auth.ErrExpired):
		return errTokenExpired
	case errors.Is(cause, auth.ErrWithdrawn):
		return errKeyWithdrawn
	case errors.Is(cause, auth.ErrKeysUnavailable):
		return errNoKeys
	case errors.Is(cause, auth.ErrTokenRevoked):
		return errTokenRevoked
	case errors.As(cause, new(*auth.Refusal)):
		return errRevoked
	}
	return cause
}

// unavailable returns the goodbye of a stream that could not be authenticated.
func unavailable(err error) *wire.Goodbye {
	if errors.Is(err, auth.ErrKeysUnavailable) {
		return errNoKeys
	}
	return errNoAnswer
}
