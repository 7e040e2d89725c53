package handlers

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/auth"
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

// as calls next with who the request is from, if that can be told.
func (h *handlers) as(next func(echo.Context, caller) error) echo.HandlerFunc {
	return func(c echo.Context) error {
		who, err := h.identify(c.Request())
		if errors.Is(err, auth.ErrKeysUnavailable) && asksForStream(c) {
			// The fault is not the client's, and passes.
			h.refused(c, http.StatusServiceUnavailable, err, err.Error())
			return turnAway(c, errNoKeys, keysRetry)
		}
		if err != nil {
			return err
		}
		c.Set(callerKey, who)
		return next(c, who)
	}
}

func asksForStream(c echo.Context) bool {
	r := c.Request()
	poll, err := wantsJSON(r.Header.Values(echo.HeaderAccept))
	return c.Path() == "/events" && r.Method == http.MethodGet && !poll && err == nil
}

// keysRetry is the mean time after which a stream that nobody can tell the right to
// is to try again: for unknown keys the JWKS is fetched no more often.
const keysRetry = 10 * time.Second

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
		// Without the signature: of some algorithms anyone can make another of it.
		sum := sha256.Sum256([]byte(token[:strings.LastIndexByte(token, '.')]))
		who.account = "token " + string(sum[:])
	}
	return who, nil
}
