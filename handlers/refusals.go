package handlers

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/auth"
)

// Refusals counts refused requests by their reason.
type Refusals struct {
	// NoToken: there was none. BadToken: it is malformed, or not trusted. Expired: it was
	// valid before.
	NoToken, BadToken, Expired atomic.Int64
	// Forbidden: the identity lacks the right. CrossSite: a page of another site made the
	// request, or it names another server.
	Forbidden, CrossSite atomic.Int64
	// TooMany: over a limit of streams, events or bytes.
	TooMany atomic.Int64
	// Unavailable: there are no keys to verify with. NoRoom: the node held too many bytes
	// of requests and answers.
	Unavailable, NoRoom atomic.Int64
}

// of returns the counter for an error with this status; nil for one that is no refusal.
func (r *Refusals) of(status int, err error) *atomic.Int64 {
	var refusal *auth.Refusal
	switch {
	case status == http.StatusTooManyRequests:
		return &r.TooMany
	case !errors.As(err, &refusal) && (status == http.StatusForbidden || status == http.StatusMisdirectedRequest):
		return &r.CrossSite
	case refusal == nil:
		return nil
	case errors.Is(err, auth.ErrExpired):
		return &r.Expired
	case status == http.StatusForbidden:
		return &r.Forbidden
	case status == http.StatusServiceUnavailable:
		return &r.Unavailable
	case refusal.Code == "":
		return &r.NoToken
	}
	return &r.BadToken
}

// Refusals are logged at this rate at most: a refused client can try again and again.
const loggedPerSecond, loggedAtOnce = 1, 20

// refused counts and logs a refused request. The log entry has a bounded length, and no
// credentials. That tokens can't be verified is no fault of the clients', who all come
// again: it is an outage, logged when it begins and when it is over.
func (h *handlers) refused(c echo.Context, status int, err error, detail string) {
	who, known := c.Get(identityKey).(identity)
	if !known {
		who.address = h.Access.Proxies.client(c.Request()).key()
	}
	h.countRefusal(c.Request().Context(), status, err, detail, c.Path(), who)
}

func (h *handlers) countRefusal(ctx context.Context, status int, err error, detail, route string, who identity) {
	counter := h.Access.Refusals.of(status, err)
	if counter == nil {
		return
	}
	counter.Add(1)
	switch {
	case errors.Is(err, errNotAuthenticated):
		return // identify has logged why
	case errors.Is(err, auth.ErrKeysUnavailable), errors.Is(err, auth.ErrRevocationsUnknown):
		h.unanswered.fails(ctx, verificationFailed, errors.New(detail))
		return
	}
	if !h.logged.Allow() {
		h.unlogged.Add(1)
		return
	}
	h.Log.WarnContext(ctx, "request refused", "status", status, "why", detail, "route", route,
		"subject", who.Subject, "address", who.address, "unlogged", h.unlogged.Swap(0))
}
