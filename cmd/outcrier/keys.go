package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/outcrier/outcrier/auth"
)

// KeySettings has the keys that verify tokens.
type KeySettings struct {
	JWTSecret     string   `name:"jwt-secret" secret:"true" help:"the secret of tokens signed with HS256, at least 32 bytes; better in its variable or a file than on the command line"`
	JWTSecretFile string   `name:"jwt-secret-file" help:"a file with that secret, without the line break at its end; read again when it changes"`
	JWTKeyFiles   []string `name:"jwt-key-file" help:"a PEM file of public keys, RSA, P-256 or Ed25519, of tokens signed with RS256, ES256 or EdDSA; read again when it changes"`
	// JWKSURL can have a password.
	JWKSURL      string        `name:"jwks-url" secret:"true" help:"where the issuer publishes its keys, like https://issuer.example.com/.well-known/jwks.json"`
	JWKSRefresh  time.Duration `name:"jwks-refresh" default:"5m" allow:"10s..24h" help:"the time after which they are fetched again"`
	JWKSMaxAge   time.Duration `name:"jwks-max-age" default:"24h" allow:"0|1m..8760h" help:"how long they are trusted while they can't be fetched; after that, requests with their tokens get 503; 0 is for ever"`
	JWTIssuer    string        `name:"jwt-issuer" help:"the iss that a token must have; any by default"`
	JWTAudience  string        `name:"jwt-audience" help:"the name of this server that a token must have in aud; by default it must have no aud"`
	TokenMaxLife time.Duration `name:"token-max-life" default:"0" allow:"0|1m..87600h" help:"the longest time that a token may be valid, from iat to exp, or from now on if it has no iat; 0 for any"`
	JWTLeeway    time.Duration `name:"jwt-leeway" default:"30s" allow:"0s..5m" help:"how far the clocks of issuer and server may be apart"`
}

// configured reports whether tokens can be verified.
func (k KeySettings) configured() bool {
	return k.JWTSecret != "" || k.JWTSecretFile != "" || len(k.JWTKeyFiles) > 0 || k.JWKSURL != ""
}

func (k KeySettings) check(r *report) {
	_ = k.keys(func(flag string, err error) { r.reject(flag, "%v", err) })
	if k.JWKSURL != "" {
		if _, err := auth.New(auth.Config{JWKS: k.JWKSURL}); err != nil {
			r.reject("jwks-url", "want https://host/path: %v", err)
		}
		if k.JWKSMaxAge > 0 && k.JWKSMaxAge < 2*k.JWKSRefresh {
			r.reject("jwks-max-age", "want at least twice --jwks-refresh, %v", 2*k.JWKSRefresh)
		}
	}
}

// keys reads the keys of the configuration. Its errors show none.
func (k KeySettings) keys(reject func(flag string, err error)) (keys []*auth.Key) {
	add := func(flag string, more []*auth.Key, err error) {
		if err != nil {
			reject(flag, err)
		}
		keys = append(keys, more...)
	}
	if k.JWTSecret != "" {
		key, err := auth.ParseSecret([]byte(k.JWTSecret))
		add("jwt-secret", []*auth.Key{key}, err)
	}
	if k.JWTSecretFile != "" {
		key, err := readKey(k.JWTSecretFile, parseSecretFile)
		add("jwt-secret-file", []*auth.Key{key}, err)
	}
	for _, name := range k.JWTKeyFiles {
		more, err := readKey(name, auth.ParsePublicKeys)
		add("jwt-key-file", more, err)
	}
	return keys
}

func readKey[K any](name string, parse func([]byte) (K, error)) (K, error) {
	text, err := os.ReadFile(name) //nolint:gosec // named by the user
	if err != nil {
		var none K
		return none, err
	}
	return parse(text)
}

// parseSecretFile removes the line break that editors and openssl append.
func parseSecretFile(text []byte) (*auth.Key, error) {
	return auth.ParseSecret(bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r")))
}

// lookAtKeys is how often the files of keys are read again.
const lookAtKeys = 2 * time.Second

// watch reads the files of keys again until ctx ends, so that a key can be changed while the
// server runs. It does not wait for the next use, as rereadFile does: streams whose key was
// withdrawn have to end. While one of the files is wrong, the keys from before stay.
func (k KeySettings) watch(ctx context.Context, v *auth.Verifier, log *slog.Logger) error {
	if k.JWTSecretFile == "" && len(k.JWTKeyFiles) == 0 {
		return nil
	}
	every := time.NewTicker(lookAtKeys)
	defer every.Stop()
	var logged string
	for {
		select {
		case <-every.C:
		case <-ctx.Done():
			return nil
		}
		var wrong []error
		keys := k.keys(func(flag string, err error) { wrong = append(wrong, fmt.Errorf("--%s: %w", flag, err)) })
		err := errors.Join(wrong...)
		if err == nil {
			err = v.Replace(keys) // which does nothing if they are the same
		}
		switch {
		case err == nil:
			logged = ""
		case err.Error() != logged:
			logged = err.Error()
			log.WarnContext(ctx, "keys can't be read, the previous ones stay in use", "err", err, "retry_in", lookAtKeys)
		}
	}
}

// verifier returns the verifier of the keys, which have passed check.
func (k KeySettings) verifier(log *slog.Logger, query bool) (*auth.Verifier, error) {
	var wrong []error
	keys := k.keys(func(flag string, err error) { wrong = append(wrong, fmt.Errorf("--%s: %w", flag, err)) })
	if wrong != nil {
		return nil, errors.Join(wrong...)
	}
	config := auth.Config{
		Keys: keys, JWKS: k.JWKSURL, Refresh: k.JWKSRefresh, MaxAge: orNegative(k.JWKSMaxAge), Issuer: k.JWTIssuer, Audience: k.JWTAudience,
		Leeway: k.JWTLeeway, MaxLife: k.TokenMaxLife, QueryToken: query, Log: log,
	}
	if config.Leeway == 0 {
		config.Leeway = -1 // none; its 0 is the default
	}
	return auth.New(config)
}
