package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Config says whom to trust: Keys, a JWKS, or both.
type Config struct {
	// Keys are trusted as long as the process runs. Two of a kind serve while one
	// takes over from the other.
	Keys []*Key
	// JWKS is the address of a JSON Web Key Set (RFC 7517), http or https; none if
	// empty. Keys of RSA (2048 bits or more), P-256 and Ed25519 are taken from
	// it; secrets, private keys and keys for encryption are passed over.
	JWKS string
	// Refresh is how often the JWKS is fetched, 5 minutes if zero, 10 seconds at
	// least. It is also how long a key that was withdrawn may still be trusted,
	// while the JWKS can be fetched.
	Refresh time.Duration
	// Timeout is how long one fetch may take in all, 5 seconds if zero.
	Timeout time.Duration
	// Issuer is the iss that a token must have; any, or none, if empty.
	Issuer string
	// Audience is the name of this server that a token must have in aud. If empty,
	// a token must have no aud.
	Audience string
	// Leeway is how far clocks may be apart: tokens are good so much before nbf and
	// iat, and after exp. 30 seconds if zero, none if negative, 5 minutes at most.
	Leeway time.Duration
	// QueryToken takes a token from ?token= too, which proxies log.
	QueryToken bool
	// Transport fetches the JWKS; one of its own if nil.
	Transport http.RoundTripper
	// Log is told of the JWKS: its faults, and which keys come and go. None if nil.
	Log *slog.Logger
}

// Defaults and limits of Config.
const (
	defaultRefresh = 5 * time.Minute
	defaultTimeout = 5 * time.Second
	defaultLeeway  = 30 * time.Second
	maxLeeway      = 5 * time.Minute
)

// Verifier tells good tokens from others. It may be used by many at the same time.
type Verifier struct {
	issuer, audience string
	leeway           time.Duration
	query            bool
	log              *slog.Logger
	fixed            []*Key
	jwks             *jwks // nil without
	// known are the fixed keys and those of the JWKS.
	known atomic.Pointer[[]*Key]
}

// New checks the configuration, and reports all its mistakes together. It fetches
// nothing: the server starts without the issuer, and Run goes on trying.
func New(config Config) (*Verifier, error) {
	var mistakes []error
	v := &Verifier{issuer: config.Issuer, audience: config.Audience, leeway: config.Leeway, query: config.QueryToken, log: config.Log, fixed: slices.Clone(config.Keys)}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	switch {
	case v.leeway == 0:
		v.leeway = defaultLeeway
	case v.leeway < 0:
		v.leeway = 0
	case v.leeway > maxLeeway:
		mistakes = append(mistakes, fmt.Errorf("leeway is %s, at most %s is allowed", v.leeway, maxLeeway))
	}
	if len(config.Keys) == 0 && config.JWKS == "" {
		mistakes = append(mistakes, errors.New("no key is given, and no JWKS"))
	}
	if len(config.Keys) > maxKeys {
		mistakes = append(mistakes, fmt.Errorf("%d keys, at most %d are allowed", len(config.Keys), maxKeys))
	}
	if config.JWKS != "" {
		var err error
		if v.jwks, err = newJWKS(config); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	v.known.Store(&v.fixed)
	return v, errors.Join(mistakes...)
}

// Verify returns the identity that a token gives, or a *Refusal: 401, with ErrExpired where
// that alone is wrong, or 503 with ErrKeysUnavailable. It waits at most for one fetch
// of the JWKS, and for that only when the token names no key that is known. ctx ends
// the wait for another's fetch, not a fetch.
func (v *Verifier) Verify(ctx context.Context, token string) (Identity, error) {
	c, err := parseCompact(token)
	if err != nil {
		return Identity{}, invalid(err.Error())
	}
	if !slices.Contains(algorithms, c.algorithm) {
		return Identity{}, invalid("the token's alg is not supported; allowed are HS256, RS256, ES256 and EdDSA")
	}
	key, err := v.signer(c)
	if key == nil && v.refreshFor(ctx, c) {
		key, err = v.signer(c)
	}
	switch {
	case key != nil:
	case v.unavailable(c):
		return Identity{}, errUnavailable
	default:
		return Identity{}, err
	}
	claims, err := parseClaims(c.body)
	if err != nil {
		return Identity{}, invalid(err.Error())
	}
	if err := v.check(claims, time.Now()); err != nil {
		return Identity{}, err
	}
	identity := Identity{
		Subject:   claims.subject,
		Subscribe: claims.subscribe,
		Publish:   claims.publish,
		Admin:     claims.admin,
		Expires:   claims.expires.Add(v.leeway),
		Revoked:   key.withdrawn,
	}
	if claims.subject == "" {
		// Without the signature: of some algorithms anyone can make another of it.
		sum := sha256.Sum256([]byte(token[:strings.LastIndexByte(token, '.')]))
		identity.nameless = string(sum[:])
	}
	return identity, nil
}

var algorithms = []string{"HS256", "RS256", "ES256", "EdDSA"}

// signer is the key that signed. Only keys of the token's algorithm are tried, each
// with its own method, never one that the header chose: so a public key is never
// the secret of an HMAC.
func (v *Verifier) signer(c compact) (*Key, error) {
	err := invalid("no key that is trusted here is for the token's kid and alg")
	for _, key := range *v.known.Load() {
		if key.Algorithm() != c.algorithm || c.kidGiven && key.ID != "" && key.ID != c.kid {
			continue
		}
		if key.method.Verify(c.signed, c.signature, key.verify) == nil {
			return key, nil
		}
		err = invalid("the token's signature is wrong")
	}
	return nil, err
}

// refreshFor tells whether the JWKS was fetched anew for a token, since it may have
// a key by now that the token names.
func (v *Verifier) refreshFor(ctx context.Context, c compact) bool {
	return v.jwks != nil && v.foreign(c) && v.jwks.demand(ctx, v.adopt)
}

// foreign tells whether a token may be signed by a key of the JWKS that is not
// known: a kid that is known would have named it. Secrets are not of a JWKS.
func (v *Verifier) foreign(c compact) bool {
	named := c.kidGiven && slices.ContainsFunc(*v.known.Load(), func(key *Key) bool { return key.ID == c.kid })
	return c.algorithm != "HS256" && !named
}

// unavailable tells whether a token that no key verified may be good for all that
// is known: its key is foreign, and the JWKS did not come when last asked for.
func (v *Verifier) unavailable(c compact) bool {
	return v.jwks != nil && v.foreign(c) && v.jwks.failing()
}
