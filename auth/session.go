package auth

import (
	"fmt"
	"net/http"
	"time"
)

// maxCookieBytes is the largest size of name and value that browsers keep (RFC 6265bis,
// 5.6).
const maxCookieBytes = 4096

// SignIn returns the cookie that carries the bearer token of a request from then on, which
// a plain EventSource sends, or a *Refusal. A cookie that the request already has is not
// read, since it is replaced. secure must be set if the client uses TLS; otherwise the
// browser would not keep a cookie that is Secure.
func (v *Verifier) SignIn(r *http.Request, secure bool) (*http.Cookie, error) {
	token, _, err := HeaderToken(r)
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, &Refusal{Status: http.StatusUnauthorized, Detail: "a token is needed, in Authorization"}
	}
	identity, err := v.Verify(r.Context(), token)
	if err != nil {
		return nil, err
	}
	if most := maxCookieBytes - len(Cookie); len(token) > most {
		return nil, &Refusal{Status: http.StatusBadRequest, Detail: fmt.Sprintf("the token has %d bytes, a cookie can have %d", len(token), most)}
	}
	return cookie(token, int(time.Until(identity.Expires).Seconds()), secure), nil
}

// SignOut returns the cookie that removes the one of SignIn. The token itself is not
// revoked.
func SignOut(secure bool) *http.Cookie { return cookie("", -1, secure) }

// cookie returns a cookie that neither scripts nor requests of other sites' pages can use.
func cookie(value string, seconds int, secure bool) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // the caller decides on Secure
		Name: Cookie, Value: value, Path: "/", MaxAge: seconds,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: secure,
	}
}
