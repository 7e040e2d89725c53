// Package login signs admins in at an OpenID Connect provider, by the authorization code
// flow with PKCE, instead of with a pasted token. Groups of the provider give grants of
// admins, and nothing else: streams use tokens.
//
//	GET /admin/login    → the provider, with state, nonce and challenge
//	GET /admin/callback ← code; the ID token is verified, its groups are looked up
//	                    → a session in a sealed cookie, good at every node
//
// In addition to the requirements of the OAuth 2.0 Security Best Current Practice (RFC
// 9700): no address of a request is used for a redirect; a session has no more life than
// was configured; the groups are looked up with every request, so that a change of the
// configuration counts at once; signing out revokes the session itself.
package login

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/outcrier/outcrier/auth"
)

// Config says where admins sign in, and which rights they get.
type Config struct {
	// Issuer is the provider's address, as its tokens have it in iss.
	Issuer string
	// ClientID is the client id of this application at the provider.
	ClientID string
	// ClientSecret returns what the provider gave it, as it is now. The key of sessions is
	// made of it: another secret ends them all.
	ClientSecret func() (string, error)
	// RedirectURL is where the provider sends people back to, as it is registered there:
	// https://events.example.com/admin/callback.
	RedirectURL string
	// Scopes are requested in addition to openid.
	Scopes []string
	// Claim is the claim of the ID token that has the groups, a string or a list; groups
	// if empty.
	Claim string
	// Grants are what a value of the claim grants. The others grant nothing.
	Grants map[string][]auth.Grant
	// Life is how long a session lasts, 8 hours if zero.
	Life time.Duration
	// Transport reaches the provider; one of its own if nil.
	Transport http.RoundTripper
	// Log gets who signed in, and why others could not. None if nil.
	Log *slog.Logger
}

const (
	// signInTime is how long a person may take at the provider.
	signInTime = 15 * time.Minute
	// providerTime is how long one request to the provider may take.
	providerTime = 10 * time.Second
	// maxGroups bounds what a cookie has to hold.
	maxGroups = 20
)

// Login signs people in. Its methods may be called at the same time.
type Login struct {
	Config
	client *http.Client
	secure bool

	finding  singleflight.Group
	provider atomic.Pointer[oidc.Provider] // nil until it was found
	// logged bounds the lines about those who were not signed in; unlogged are the others.
	logged   *rate.Limiter
	unlogged atomic.Int64
}

// These bound the lines about people who were not signed in.
const loggedPerSecond, loggedAtOnce = 1, 20

// New checks the configuration, and reports all its mistakes together. It asks the provider
// nothing: that is done when the first person signs in.
func New(config Config) (*Login, error) {
	var mistakes []error
	reject := func(format string, a ...any) { mistakes = append(mistakes, fmt.Errorf(format, a...)) }
	if err := checkURL(config.Issuer); err != nil {
		reject("issuer: %w", err)
	}
	redirect, err := url.Parse(config.RedirectURL)
	if err == nil {
		err = checkURL(config.RedirectURL)
	}
	switch {
	case err != nil:
		reject("redirect URL: %w", err)
	case redirect.Path != "/admin/callback" || redirect.RawQuery != "":
		reject("redirect URL: want the path /admin/callback, and nothing after it")
	}
	if config.ClientID == "" {
		reject("client id: has to be given")
	}
	if config.ClientSecret == nil {
		reject("client secret: has to be given")
	}
	if len(config.Grants) == 0 {
		reject("grants: none are given, so nobody could sign in")
	}
	for value, grants := range config.Grants {
		for _, grant := range grants {
			if !slices.Contains(auth.Grants(), grant) {
				reject("grants of %q: unknown grant %q", value, grant)
			}
		}
	}
	config.Claim, config.Life = cmp.Or(config.Claim, "groups"), cmp.Or(config.Life, 8*time.Hour)
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	l := &Login{
		Config: config, logged: rate.NewLimiter(loggedPerSecond, loggedAtOnce), secure: redirect != nil && redirect.Scheme == "https",
		// With a redirect, an attacker at the provider's front end could send us anywhere.
		client: &http.Client{Transport: config.Transport, Timeout: providerTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	return l, errors.Join(mistakes...)
}

// checkURL allows http on loopback alone: a code and a secret travel there.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "":
		return errors.New("want https://host/path")
	case u.Scheme == "https":
	case u.Scheme != "http" || u.Hostname() != "localhost" && !net.ParseIP(u.Hostname()).IsLoopback():
		return errors.New("want https, or http on loopback")
	}
	return nil
}

// found returns the provider by its own description, which is fetched once. Requests that
// arrive during the fetch share it: anybody can cause one, since it comes before a sign-in.
func (l *Login) found(ctx context.Context) (*oidc.Provider, error) {
	if provider := l.provider.Load(); provider != nil {
		return provider, nil
	}
	found := l.finding.DoChan("", func() (any, error) {
		provider, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), l.client), l.Issuer)
		if err != nil {
			return nil, fmt.Errorf("find the provider: %w", err)
		}
		l.provider.Store(provider)
		return provider, nil
	})
	select {
	case result := <-found:
		provider, _ := result.Val.(*oidc.Provider) // nil with an error
		return provider, result.Err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// warn logs that somebody was not signed in: at a bounded rate, since anybody can try.
func (l *Login) warn(ctx context.Context, message string, attributes ...any) {
	if !l.logged.Allow() {
		l.unlogged.Add(1)
		return
	}
	l.Log.WarnContext(ctx, message, append(attributes, "unlogged", l.unlogged.Swap(0))...)
}

func (l *Login) oauth(provider *oidc.Provider, secret string) oauth2.Config {
	return oauth2.Config{
		ClientID: l.ClientID, ClientSecret: secret, Endpoint: provider.Endpoint(), RedirectURL: l.RedirectURL,
		Scopes: append([]string{oidc.ScopeOpenID}, l.Scopes...),
	}
}

// attempt is the state of a person's sign-in while they are at the provider, in a cookie of
// theirs.
type attempt struct {
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"`
	Until    time.Time `json:"until"`
}

var errProvider = &auth.Refusal{Status: http.StatusServiceUnavailable, Detail: "the sign-in provider can't be reached at present"}

// Begin returns the address at which a person signs in, and the cookie by which their return
// is recognised.
func (l *Login) Begin(ctx context.Context) (to string, cookie *http.Cookie, err error) {
	provider, err := l.found(ctx)
	if err != nil {
		l.warn(ctx, "nobody can sign in", "err", err)
		return "", nil, errProvider
	}
	secret, err := l.ClientSecret()
	if err != nil {
		return "", nil, err
	}
	a := attempt{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Until: time.Now().Add(signInTime)}
	if cookie, err = l.seal(attemptCookie, secret, a, signInTime); err != nil {
		return "", nil, err
	}
	// Lax: the provider's site sends the browser back.
	cookie.SameSite = http.SameSiteLaxMode
	config := l.oauth(provider, secret)
	return config.AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)), cookie, nil
}

func denied(detail string) error { return &auth.Refusal{Status: http.StatusForbidden, Detail: detail} }

// Finish returns the cookies of a person who comes back from the provider, or why they
// are not signed in, as a *auth.Refusal.
func (l *Login) Finish(r *http.Request) (cookies []*http.Cookie, err error) {
	ctx, query := r.Context(), r.URL.Query()
	secret, err := l.ClientSecret()
	if err != nil {
		return nil, err
	}
	var a attempt
	// The code must not be somebody else's, which a page or a mail brought here.
	if !l.open(r, attemptCookie, secret, &a) || time.Now().After(a.Until) ||
		subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(a.State)) != 1 {
		return nil, denied("this sign-in was not begun here, or too long ago: begin again at /admin")
	}
	if query.Get("error") != "" || query.Get("code") == "" {
		l.warn(ctx, "sign-in refused by the provider", "error", cut(query.Get("error")))
		return nil, denied("the provider refused the sign-in")
	}
	claims, token, err := l.exchange(ctx, secret, query.Get("code"), a)
	if err != nil {
		l.warn(ctx, "sign-in failed", "err", err)
		var reached net.Error
		if errors.As(err, &reached) {
			return nil, errProvider
		}
		return nil, denied("the provider's answer is not good: begin again at /admin")
	}
	groups := l.known(claims)
	if len(groups) == 0 {
		l.warn(ctx, "sign-in without a group that is granted anything", "subject", cut(token.Subject), "claim", l.Claim)
		return nil, denied("you are signed in at the provider, but no group of yours is granted anything here")
	}
	s := session{ID: rand.Text(), Subject: token.Subject, Groups: groups, Issued: time.Now(), Until: time.Now().Add(l.Life)}
	cookie, err := l.seal(sessionCookie, secret, s, l.Life)
	if err != nil {
		return nil, err
	}
	l.Log.InfoContext(ctx, "admin signed in", "subject", s.Subject, "groups", groups)
	return []*http.Cookie{cookie, l.gone(attemptCookie)}, nil
}

// exchange trades the code for an ID token, and verifies it.
func (l *Login) exchange(ctx context.Context, secret, code string, a attempt) (claims map[string]any, token *oidc.IDToken, err error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, l.client), 2*providerTime)
	defer cancel()
	provider, err := l.found(ctx)
	if err != nil {
		return nil, nil, err
	}
	config := l.oauth(provider, secret)
	answer, err := config.Exchange(ctx, code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) { // its text has the body
			return nil, nil, fmt.Errorf("trade the code: the provider answers %q", cut(refused.ErrorCode))
		}
		return nil, nil, fmt.Errorf("trade the code: %w", err)
	}
	raw, _ := answer.Extra("id_token").(string)
	if token, err = provider.Verifier(&oidc.Config{ClientID: l.ClientID}).Verify(ctx, raw); err != nil {
		return nil, nil, fmt.Errorf("verify the ID token: %w", err)
	}
	switch {
	case subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(a.Nonce)) != 1:
		return nil, nil, errors.New("verify the ID token: it is of another sign-in")
	case token.Subject == "" || len(token.Subject) > 255 || !printable(token.Subject):
		return nil, nil, errors.New("verify the ID token: sub must be 1 to 255 printable bytes")
	}
	err = token.Claims(&claims)
	return claims, token, err
}

// known returns the groups of a person that are granted something.
func (l *Login) known(claims map[string]any) (groups []string) {
	if l.Claim == "email" && claims["email_verified"] != true {
		return nil // anybody can claim an address
	}
	var values []any
	switch claim := claims[l.Claim].(type) {
	case string:
		values = []any{claim}
	case []any:
		values = claim
	}
	for _, value := range values {
		group, is := value.(string)
		if _, granted := l.Grants[group]; is && granted && len(groups) < maxGroups && !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
	}
	return groups
}
