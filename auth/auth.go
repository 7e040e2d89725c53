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
	"sync"
	"sync/atomic"
	"time"
)

// Config has the trusted keys: Keys, a JWKS, or both.
type Config struct {
	// Keys are trusted until Replace replaces them. There may be two of one kind, for a
	// rotation.
	Keys []*Key
	// JWKS is the address of a JSON Web Key Set (RFC 7517), http or https; none if
	// empty. Keys of RSA (2048 bits or more), P-256 and Ed25519 are taken from
	// it; secrets, private keys and keys for encryption are passed over.
	JWKS string
	// Refresh is how often the JWKS is fetched, 5 minutes if zero, 10 seconds at
	// least. It is also how long a key that was withdrawn may still be trusted,
	// while the JWKS can be fetched.
	Refresh time.Duration
	// MaxAge is how long the keys of the JWKS are trusted while it can't be fetched, 24
	// hours if zero, for ever if negative: an attacker who cuts the server off from the
	// issuer could otherwise keep a withdrawn key alive. Then its tokens are answered 503,
	// and their streams end.
	MaxAge time.Duration
	// Timeout is how long one fetch may take in all, 5 seconds if zero.
	Timeout time.Duration
	// Issuer is the iss that a token must have; any, or none, if empty.
	Issuer string
	// Audience is the name of this server that a token must have in aud. If empty,
	// a token must have no aud.
	Audience string
	// Leeway is how far clocks may be apart: tokens are valid that much before nbf and iat,
	// and after exp. 30 seconds if zero, none if negative, 5 minutes at most.
	Leeway time.Duration
	// MaxLife is the longest validity of a token, from iat to exp, or from now on if it has
	// no iat. Unlimited if zero.
	MaxLife time.Duration
	// QueryToken accepts a token in ?token= too, which proxies log.
	QueryToken bool
	// Transport fetches the JWKS; one of its own if nil.
	Transport http.RoundTripper
	// Log gets the failures of the JWKS, and which keys are added and withdrawn. Nothing if
	// nil.
	Log *slog.Logger
}

// Defaults and limits of Config.
const (
	defaultRefresh = 5 * time.Minute
	defaultMaxAge  = 24 * time.Hour
	defaultTimeout = 5 * time.Second
	defaultLeeway  = 30 * time.Second
	maxLeeway      = 5 * time.Minute
)

// Verifier verifies tokens. It may be used by many goroutines at the same time.
type Verifier struct {
	issuer, audience string
	leeway, maxLife  time.Duration
	query            bool
	log              *slog.Logger
	jwks             *jwks // nil without
	known            atomic.Pointer[known]
	changing         sync.Mutex // held while known changes
}

// known are the trusted keys: those of the configuration, and all.
type known struct{ fixed, all []*Key }

// New checks the configuration, and reports all its mistakes together. It fetches
// nothing: the server starts without the issuer, and Run goes on trying.
func New(config Config) (*Verifier, error) {
	var mistakes []error
	v := &Verifier{issuer: config.Issuer, audience: config.Audience, leeway: config.Leeway, maxLife: config.MaxLife, query: config.QueryToken, log: config.Log}
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
		if v.jwks, err = newJWKS(config, v.leeway); err != nil {
			mistakes = append(mistakes, err)
		}
	}
	if len(mistakes) == 0 {
		v.known.Store(&known{})
		v.replaceFixed(config.Keys)
	}
	return v, errors.Join(mistakes...)
}

// Verify returns the identity of a token, or a *Refusal: 401, with ErrExpired if only its
// time is over, or 503 with ErrKeysUnavailable. It waits for at most one fetch of the JWKS,
// and only when the token names no known key; if no fetch is due, a token that may be
// signed by a key newer than the last fetch is answered 503, and not refused for good. ctx
// ends the wait for another request's fetch, not a fetch.
func (v *Verifier) Verify(ctx context.Context, token string) (Identity, error) {
	c, err := parseCompact(token)
	if err != nil {
		return Identity{}, invalid(err.Error())
	}
	if !slices.Contains(algorithms, c.algorithm) {
		return Identity{}, invalid("the token's alg is not supported; allowed are HS256, RS256, ES256 and EdDSA")
	}
	keys := v.trusted()
	key, err := signer(keys, c)
	if key == nil && v.jwks != nil && mayBeUnknown(keys, c) {
		key, err = v.unknownSigner(ctx, c, keys, err)
	}
	if key == nil {
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
		TokenID:   claims.id,
		Issued:    claims.issuedAt,
		Subscribe: claims.subscribe,
		Publish:   claims.publish,
		Admin:     claims.admin,
		Grants:    claims.grants,
		Expires:   claims.expires.Add(v.leeway),
		Revoked:   key.withdrawn,
	}
	if claims.subject == "" {
		// Without the signature: with some algorithms anyone can derive another valid one
		// from it.
		sum := sha256.Sum256([]byte(token[:strings.LastIndexByte(token, '.')]))
		identity.nameless = string(sum[:])
	}
	return identity, nil
}

var algorithms = []string{"HS256", "RS256", "ES256", "EdDSA"}

// signer returns the key that signed the token. Only keys of the token's algorithm are
// tried, each with its own method, never one that the header chose: so a public key is
// never the secret of an HMAC.
func signer(keys []*Key, c compact) (*Key, error) {
	err := invalid("no key that is trusted here is for the token's kid and alg")
	for _, key := range keys {
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

// trusted returns the keys that are trusted now: without those of a JWKS that is too old.
func (v *Verifier) trusted() []*Key {
	if v.jwks != nil && v.jwks.stale() {
		return v.known.Load().fixed
	}
	return v.known.Load().all
}
