package auth

import (
	"net/http"
	"net/url"
	"strings"
)

// Cookie is the name of the cookie that carries a token.
const Cookie = "outcrier_token"

// Source is where a request carries its token.
type Source int

// Of several that carry the same token, the first of these counts.
const (
	// FromHeader is Authorization: Bearer. No other site's page can send it
	// unless CORS lets it.
	FromHeader Source = iota + 1
	// FromCookie is a cookie, which a browser sends by itself, also with requests of other
	// sites' pages: requests that change something need a check of their origin.
	FromCookie
	// FromQuery is ?token=, which ends up in logs and histories.
	FromQuery
)

// Authenticate returns the identity of a request's token, or a *Refusal.
func (v *Verifier) Authenticate(r *http.Request) (Identity, error) {
	token, source, err := RequestToken(r, v.query)
	if err != nil {
		return Identity{}, err
	}
	identity, err := v.Verify(r.Context(), token)
	identity.Explicit = source != FromCookie
	return identity, err
}

// QueryToken reports whether Authenticate reads ?token=.
func (v *Verifier) QueryToken() bool { return v.query }

// RequestToken finds the token that a request carries: in Authorization, in the cookie
// outcrier_token, or with query true in ?token=. Otherwise it returns a *Refusal:
// ErrNoToken without one, 400 for a malformed one and for several different ones, since any
// choice between them could be the attacker's. It does not verify the token.
func RequestToken(r *http.Request, query bool) (string, Source, error) {
	token, source, err := HeaderToken(r)
	if err != nil {
		return "", 0, err
	}
	carry := func(other string, from Source) bool {
		if token == "" {
			token, source = other, from
		}
		return token == other
	}
	const differ = "the request carries several different tokens: give one"
	for _, cookie := range r.CookiesNamed(Cookie) {
		// An empty value is what remains of a cookie that was removed.
		if cookie.Value != "" && !carry(cookie.Value, FromCookie) {
			return "", 0, badRequest(differ)
		}
	}
	// A lenient parser drops malformed values, which could hide a second token.
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", 0, badRequest("the query is not well-formed")
	}
	for _, value := range values["token"] {
		switch {
		case !query:
			return "", 0, badRequest("a token in the query is not allowed here: send it in Authorization, or as a cookie")
		case value == "":
			return "", 0, badRequest("the token in the query is empty")
		case !carry(value, FromQuery):
			return "", 0, badRequest(differ)
		}
	}
	if token == "" {
		return "", 0, errNoToken
	}
	return token, source, nil
}

// HeaderToken returns the token of Authorization alone, empty without one: a request that
// sets the cookie carries the old cookie as well as the new token.
func HeaderToken(r *http.Request) (string, Source, error) {
	fields := r.Header.Values("Authorization")
	switch {
	case len(fields) == 0:
		return "", 0, nil
	case len(fields) > 1:
		return "", 0, badRequest("Authorization is given more than once")
	}
	scheme, token, _ := strings.Cut(fields[0], " ")
	token = strings.Trim(token, " ")
	// RFC 6750, section 2.1: one token68, no parameters.
	if !strings.EqualFold(scheme, "Bearer") || token == "" || strings.ContainsAny(token, " \t,\"") {
		return "", 0, badRequest("Authorization must be Bearer and a token")
	}
	return token, FromHeader, nil
}
