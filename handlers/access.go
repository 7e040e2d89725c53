package handlers

import (
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/auth/login"
)

// Access configures authentication, allowed origins and limits. The zero value rejects
// every request.
type Access struct {
	// Authenticate returns who a request is from, or why it is refused: an *auth.Refusal
	// is answered with its status, any other error is logged and answered 503, so that
	// the client comes back. nil rejects every request unless Open is set.
	Authenticate func(*http.Request) (auth.Identity, error)
	// Sessions, when not nil, enables POST and DELETE /session, which set and remove the
	// cookie with a bearer token that Sessions.Authenticate reads.
	Sessions *auth.Verifier
	// Login, when not nil, signs admins in at a provider, as an alternative to tokens.
	Login *login.Login
	// Revocations, when not nil, are the revoked tokens: they also end identities of an
	// application's own Authenticate, by Subject and TokenID.
	Revocations *auth.Revocations
	// Open grants everything to every request, and ignores tokens. It is for a server that
	// only listens on loopback: requests must name it as such.
	Open bool
	// QueryToken allows the parameter token on routes that know their parameters, for
	// an Authenticate that reads it.
	QueryToken bool
	// Origins are the sites whose pages may read answers, and act with the cookie
	// of their user, each as ParseOrigin returns it.
	Origins []string
	// Headers are request headers that pages of Origins may send, besides those that
	// Outcrier itself reads and those of traces, in lower case.
	Headers []string
	// CrossSiteCookie makes the cookie of POST /session one that browsers send from pages
	// of other sites too (SameSite=None; Partitioned), where the client comes by TLS.
	CrossSiteCookie bool
	Proxies         Proxies
	Limits          Limits
	// Refusals are counted here, if it is not nil.
	Refusals *Refusals
}

// withIdentity calls next with the request's identity.
func (h *handlers) withIdentity(next func(echo.Context, identity) error) echo.HandlerFunc {
	return func(c echo.Context) error {
		who, err := h.identify(c.Request())
		if refusal := (*auth.Refusal)(nil); errors.As(err, &refusal) && refusal.Status == http.StatusServiceUnavailable && asksForStream(c) {
			// The failure is temporary, and not the client's.
			h.refused(c, refusal.Status, err, refusal.Detail)
			return turnAway(c, unavailable(err), keysRetry)
		}
		if err != nil {
			return err
		}
		c.Set(identityKey, who)
		return next(c, who)
	}
}

func asksForStream(c echo.Context) bool {
	r := c.Request()
	poll, err := wantsJSON(r.Header.Values(echo.HeaderAccept))
	if upgrades(r) {
		return c.Path() == "/events" && checkHandshake(c) == nil
	}
	return c.Path() == "/events" && r.Method == http.MethodGet && !poll && err == nil
}

// keysRetry is the mean time after which a stream should try again that could not be
// authenticated: unknown keys cause a fetch of the JWKS no more often.
const keysRetry = 10 * time.Second

// identityKey is where a request's context has its identity, for the log.
const identityKey = "identity"

func (h *handlers) identify(r *http.Request) (who identity, err error) {
	who = identity{open: h.Access.Open, address: h.Access.Proxies.client(r).key()}
	if upgrades(r) {
		// Whatever its token: CORS, which keeps a page from reading answers, does not apply to
		// WebSockets.
		if err := h.sites.mayUseCookie(r); err != nil {
			return who, err
		}
		r = withProtocolToken(r)
	}
	if who.open {
		// There is no cookie to abuse, but pages of other sites must not make a visitor's
		// browser publish either.
		return who, h.sites.mayAct(r)
	}
	if h.Access.Authenticate == nil {
		return who, fault(http.StatusServiceUnavailable, "no way to authenticate requests is configured")
	}
	identity, err := h.authenticate(r)
	if refusal := (*auth.Refusal)(nil); err != nil && !errors.As(err, &refusal) {
		h.unanswered.fails(r.Context(), authenticationFailed, err)
		return who, errNotAuthenticated
	}
	h.unanswered.answered(r.Context(), authenticationFailed)
	if err == nil {
		err = identity.Ended()
	}
	if err == nil && !identity.Explicit {
		err = h.sites.mayUseCookie(r)
	}
	if err == nil {
		switch err = h.Access.Revocations.Check(r.Context(), identity); {
		case err == nil:
			h.unanswered.answered(r.Context(), verificationFailed)
		// The metrics are needed most while the database does not answer.
		case r.URL.Path == "/metrics" && !errors.Is(err, auth.ErrTokenRevoked):
			err = nil
		}
	}
	if err != nil {
		return who, err
	}
	who.Identity, who.limitKey, who.revocations = identity, identity.LimitKey(), h.Access.Revocations
	return who, nil
}

// errNotAuthenticated is the answer to a client when Authenticate fails.
var errNotAuthenticated = &auth.Refusal{Status: http.StatusServiceUnavailable, Detail: "requests can't be authenticated at present"}
