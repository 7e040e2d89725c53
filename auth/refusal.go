package auth

import (
	"errors"
	"net/http"
	"strings"
)

// Kinds of refusals, for errors.Is.
var (
	// ErrNoToken: the request has no token.
	ErrNoToken = errors.New("no token")
	// ErrExpired: the token was valid and has expired.
	ErrExpired = errors.New("token expired")
	// ErrWithdrawn: the key that signed the token is no longer in the JWKS.
	ErrWithdrawn = errors.New("key withdrawn")
	// ErrRevoked: the identity has ended before its time.
	ErrRevoked = errors.New("revoked")
	// ErrTokenRevoked: the token was revoked, alone or with all tokens of its subject.
	ErrTokenRevoked = errors.New("token revoked")
	// ErrKeysUnavailable: the token can't be verified now, since the JWKS could not be
	// fetched.
	ErrKeysUnavailable = errors.New("keys unavailable")
	// ErrRevocationsUnknown: the node has not read the revoked tokens yet.
	ErrRevocationsUnknown = errors.New("revocations unknown")
)

// Refusal is an error that refuses a request: of everything here, and of an application's
// own Authenticate.
type Refusal struct {
	// Status is 400 for a malformed request, 401 without a valid credential, 403 without
	// the right, 503 when that can't be decided now. An EventSource does not reconnect
	// after the first three; a stream refused with 503 is answered so that it does.
	Status int
	// Code is the error code of RFC 6750, section 3.1, for a refusal of a bearer token;
	// otherwise empty.
	Code string
	// Detail is shown to the client: the fault, and what would be allowed. It may quote
	// verified claims, never a token, a signature or a secret.
	Detail string
	// Grants are those of admins of which one is missing, for a refusal that lacks one.
	Grants []Grant

	is error
}

func (r *Refusal) Error() string { return r.Detail }

// Unwrap returns one of the package's errors, or nil.
func (r *Refusal) Unwrap() error { return r.is }

// Challenge returns the value of the header WWW-Authenticate (RFC 6750, section 3), empty
// where the answer has none.
func (r *Refusal) Challenge() string {
	switch {
	case r.Code == "" && r.Status == http.StatusUnauthorized:
		return "Bearer"
	case r.Code == "":
		return ""
	}
	// The section allows these characters only; a quote would end the value, and a
	// line break the header.
	description := strings.Map(func(c rune) rune {
		switch {
		case c == '"' || c == '\\':
			return '\''
		case c < ' ' || c > '~':
			return '?'
		}
		return c
	}, r.Detail)
	return `Bearer error="` + r.Code + `", error_description="` + description + `"`
}

func badRequest(detail string) error {
	return &Refusal{Status: http.StatusBadRequest, Code: "invalid_request", Detail: detail}
}

func invalid(detail string) error {
	return &Refusal{Status: http.StatusUnauthorized, Code: "invalid_token", Detail: detail}
}

func notGranted(detail string) error {
	return &Refusal{Status: http.StatusForbidden, Code: "insufficient_scope", Detail: detail}
}

var (
	errNoToken            = &Refusal{Status: http.StatusUnauthorized, Detail: "a token is needed", is: ErrNoToken}
	errExpired            = &Refusal{Status: http.StatusUnauthorized, Code: "invalid_token", Detail: "the token has expired", is: ErrExpired}
	errWithdrawn          = &Refusal{Status: http.StatusUnauthorized, Code: "invalid_token", Detail: "the key that signed the token was withdrawn", is: ErrWithdrawn}
	errTokenRevoked       = &Refusal{Status: http.StatusUnauthorized, Code: "invalid_token", Detail: "the token was revoked", is: ErrTokenRevoked}
	errRevocationsUnknown = &Refusal{
		Status: http.StatusServiceUnavailable, Detail: "the revoked tokens are not known yet: the database has not answered", is: ErrRevocationsUnknown,
	}
	errRevoked     = &Refusal{Status: http.StatusUnauthorized, Detail: "the session has ended", is: ErrRevoked}
	errUnavailable = &Refusal{Status: http.StatusServiceUnavailable, Detail: "the keys to verify tokens are not available", is: ErrKeysUnavailable}
)
