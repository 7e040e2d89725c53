package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/auth/login"
)

// LoginSettings configures where admins sign in, in addition to pasted tokens.
type LoginSettings struct {
	OIDCIssuer     string            `name:"oidc-issuer" help:"an OpenID Connect provider at which admins sign in, like https://login.example.com"`
	OIDCClientID   string            `name:"oidc-client-id" help:"the client id of this application at the provider"`
	OIDCSecretFile string            `name:"oidc-client-secret-file" help:"a file with the client's secret, without the line break at its end; read again when it changes, and then all sessions end"`
	OIDCRedirect   string            `name:"oidc-redirect-url" help:"the URL to which the provider sends people back, as registered there, like https://events.example.com/admin/callback"`
	OIDCScopes     []string          `name:"oidc-scope" help:"a further scope to ask for, like groups"`
	OIDCClaim      string            `name:"oidc-claim" default:"groups" help:"the claim of the ID token that has a person's groups"`
	OIDCGrants     map[string]string `name:"oidc-grant" help:"the grants of a group, like oncall=read+operate, or admins=all"`
	OIDCSession    time.Duration     `name:"oidc-session" default:"8h" allow:"5m..168h" help:"the time for which a person is signed in"`
}

func (s LoginSettings) check(r *report) {
	if s.OIDCIssuer == "" {
		for flag, given := range map[string]bool{
			"oidc-client-id": s.OIDCClientID != "", "oidc-client-secret-file": s.OIDCSecretFile != "", "oidc-redirect-url": s.OIDCRedirect != "", "oidc-grant": len(s.OIDCGrants) > 0,
		} {
			if given {
				r.reject(flag, "needs --oidc-issuer too")
			}
		}
		return
	}
	r.require("oidc-client-id", s.OIDCClientID)
	r.require("oidc-client-secret-file", s.OIDCSecretFile)
	r.require("oidc-redirect-url", s.OIDCRedirect)
	if len(s.OIDCGrants) == 0 {
		r.reject("oidc-grant", "has to be given: without one nobody could sign in")
	}
	if s.OIDCSecretFile != "" {
		if _, err := readKey(s.OIDCSecretFile, parseClientSecret); err != nil {
			r.reject("oidc-client-secret-file", "%v", err)
		}
	}
	if _, err := s.grants(); err != nil {
		r.reject("oidc-grant", "%v", err)
	}
	// Each mistake is reported at its own setting where that is possible.
	for flag, config := range map[string]login.Config{
		"oidc-issuer":       {Issuer: s.OIDCIssuer, RedirectURL: "https://h/admin/callback"},
		"oidc-redirect-url": {Issuer: "https://h", RedirectURL: s.OIDCRedirect},
	} {
		config.ClientID, config.ClientSecret, config.Grants = "x", func() (string, error) { return "", nil }, map[string][]auth.Grant{"x": nil}
		if _, err := login.New(config); err != nil {
			r.reject(flag, "%v", err)
		}
	}
}

// grants are those of OIDCGrants, parsed.
func (s LoginSettings) grants() (map[string][]auth.Grant, error) {
	grants := map[string][]auth.Grant{}
	for group, text := range s.OIDCGrants {
		all, some, err := auth.ParseGrants(strings.ReplaceAll(text, "+", ","))
		switch {
		case err != nil:
			return nil, err
		case all:
			some = auth.Grants()
		case len(some) == 0:
			return nil, errors.New("want group=grant+grant, or group=all")
		}
		grants[group] = some
	}
	return grants, nil
}

func parseClientSecret(text []byte) (string, error) {
	secret := string(bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r")))
	// The key of sessions is made of it.
	if len(secret) < 16 {
		return "", errors.New("the secret has fewer than 16 bytes")
	}
	return secret, nil
}

// login is nil where no provider is set.
func (s LoginSettings) login(log *slog.Logger) (*login.Login, error) {
	if s.OIDCIssuer == "" {
		return nil, nil
	}
	grants, err := s.grants()
	if err != nil {
		return nil, err
	}
	secret := &rereadFile[string]{name: s.OIDCSecretFile, parse: parseClientSecret, log: log}
	return login.New(login.Config{
		Issuer: s.OIDCIssuer, ClientID: s.OIDCClientID, ClientSecret: secret.get, RedirectURL: s.OIDCRedirect, Scopes: s.OIDCScopes,
		Claim: s.OIDCClaim, Grants: grants, Life: s.OIDCSession, Log: log,
	})
}
