package handlers

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/internal/auth"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse"
)

// Access says who may, from where, and how much. The zero value lets nobody in.
type Access struct {
	// Tokens verifies what clients bring. Without it nobody may anything, unless
	// Open.
	Tokens *auth.Verifier
	// Open grants everything to everyone, and no token is looked at. It is for a
	// server that listens on loopback alone: requests must name it as such.
	Open bool
	// QueryToken takes a token from ?token= too, which proxies log.
	QueryToken bool
	// Origins are the sites whose pages may read answers, and act with the cookie
	// of their user, each as ParseOrigin returns it.
	Origins []string
	Proxies Proxies
	Limits  Limits
	// Refusals are counted here, if it is not nil.
	Refusals *Refusals
}

// caller is who sent a request.
type caller struct {
	auth.Principal
	// open: all is granted, there is no principal.
	open bool
	// account is what is counted as one principal; empty where there is none.
	account string
	// address is what is counted as one client.
	address string
}

// as calls next with who the request is from, if that can be told.
func (h *handlers) as(next func(echo.Context, caller) error) echo.HandlerFunc {
	return func(c echo.Context) error {
		who, err := h.identify(c.Request())
		if err != nil {
			return err
		}
		c.Set(callerKey, who)
		return next(c, who)
	}
}

// callerKey is where a request's context has its caller, for the log.
const callerKey = "caller"

func (h *handlers) identify(r *http.Request) (caller, error) {
	who := caller{open: h.Access.Open, address: h.Access.Proxies.peer(r).key()}
	if who.open {
		// There is no cookie to abuse, but a page of another site may not make a
		// visitor's browser publish either.
		return who, h.sites.mayAct(r)
	}
	token, source, err := auth.RequestToken(r, h.Access.QueryToken)
	if err != nil {
		return who, err
	}
	if source == auth.FromCookie {
		if err := h.sites.mayUseCookie(r); err != nil {
			return who, err
		}
	}
	return h.verify(r.Context(), who, token)
}

func (h *handlers) verify(ctx context.Context, who caller, token string) (caller, error) {
	if h.Access.Tokens == nil {
		return who, fault(http.StatusServiceUnavailable, "no key to verify tokens is configured")
	}
	var err error
	if who.Principal, err = h.Access.Tokens.Verify(ctx, token); err != nil {
		return who, err
	}
	who.account = "subject " + who.Subject
	if who.Subject == "" {
		sum := sha256.Sum256([]byte(token))
		who.account = "token " + string(sum[:])
	}
	return who, nil
}

func (w caller) maySubscribe(topics []outbox.Pattern) error {
	for _, topic := range topics {
		if w.open {
			break
		}
		if err := w.MaySubscribe(topic); err != nil {
			return err
		}
	}
	return nil
}

func (w caller) mayPublish(drafts []outbox.Draft) error {
	for _, draft := range drafts {
		if w.open {
			break
		}
		if err := w.MayPublish(draft.Topic); err != nil {
			return err
		}
	}
	// The body had time to come, and the token to expire.
	if !w.open {
		return w.Trusted()
	}
	return nil
}

// while ends with ctx, or with what lets the caller read; its cause is then an
// sse.Goodbye. The function must be called.
func (w caller) while(ctx context.Context) (context.Context, func()) {
	if w.open {
		return ctx, func() {}
	}
	trusted, stop := w.While(ctx)
	ctx, end := context.WithCancelCause(ctx)
	forget := context.AfterFunc(trusted, func() { end(farewell(context.Cause(trusted))) })
	return ctx, func() {
		forget()
		stop()
		end(nil)
	}
}

func (w caller) whilePolling(ctx context.Context) (context.Context, context.CancelFunc) {
	if w.open {
		return ctx, func() {}
	}
	return w.While(ctx)
}

var (
	errTokenExpired error = &sse.Goodbye{Reason: "token_expired", Text: "the token has expired"}
	errKeyWithdrawn error = &sse.Goodbye{Reason: "key_withdrawn", Text: "the key that signed the token was withdrawn"}
	errTooMany            = &sse.Goodbye{Reason: "too_many", Text: "too many streams are open for this principal or address"}
)

// farewell is what a reader is told of the end of a token.
func farewell(cause error) error {
	switch {
	case errors.Is(cause, auth.ErrExpired):
		return errTokenExpired
	case errors.Is(cause, auth.ErrWithdrawn):
		return errKeyWithdrawn
	}
	return cause
}
