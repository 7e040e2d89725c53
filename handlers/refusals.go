package handlers

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"github.com/outcrier/outcrier/auth"
)

// Refusals counts the requests that were refused, by why.
type Refusals struct {
	// NoToken: there was none. BadToken: it can't be read, or is not trusted.
	// Expired: it was good.
	NoToken, BadToken, Expired atomic.Int64
	// Forbidden: a token does not grant it. CrossSite: a page of another site made
	// the request, or it names another server.
	Forbidden, CrossSite atomic.Int64
	// TooMany: over a limit of streams, events or bytes.
	TooMany atomic.Int64
	// Unavailable: there are no keys to tell with. NoRoom: the node held too many bytes of
	// requests and answers.
	Unavailable, NoRoom atomic.Int64
}

// of is the counter for an error that has a status; nil for one that refuses nobody.
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

// Refusals are logged at this rate at most: who is refused can go on trying.
const loggedPerSecond, loggedAtOnce = 1, 20

// refused counts and logs a request that was refused. What is logged of it is of
// bounded length, and nothing that authorises.
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
	if !h.logged.Allow() {
		h.unlogged.Add(1)
		return
	}
	h.Log.WarnContext(ctx, "request refused", "status", status, "why", detail, "route", route,
		"subject", who.Subject, "address", who.address, "unlogged", h.unlogged.Swap(0))
}

func newLogged() *rate.Limiter { return rate.NewLimiter(loggedPerSecond, loggedAtOnce) }
