package auth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/outbox"
)

func logger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func TestIdentity_MayWhatItsTokenGrants(t *testing.T) {
	p := accepted(t, newVerifier(t, nil), hs(granting(`{"subscribe":["user/42/**","public/*","a","a/*/**"],"publish":["audit/*","x/**"]}`)))
	for pattern, want := range map[outbox.Pattern]bool{
		"user/42": true, "user/42/a/b": true, "user/42/*": true, "user/42/**": true, "user/42/*/**": true,
		"public/a": true, "public/*": true, "a": true, "a/**": true, "a/*": true, "a/*/b/**": true,

		"**": false, "*": false, "*/*": false, "*/42": false, "user": false, "user/*": false, "user/**": false, "user/*/**": false,
		"user/43": false, "user/421": false, "User/42": false, "user/42 ": false, "user/4": false, "user/４２": false,
		"public": false, "public/**": false, "public/*/*": false, "*/**": false, "audit/a": false, "x/y": false,
	} {
		err := p.MaySubscribe(pattern)
		if (err == nil) != want {
			t.Errorf("subscribe to %s: %v", pattern, err)
		}
		var refusal *auth.Refusal
		if !want && (!errors.As(err, &refusal) || refusal.Status != 403 || refusal.Code != "insufficient_scope" || !strings.Contains(refusal.Detail, fmt.Sprintf("%q", pattern))) {
			t.Errorf("%s: %+v", pattern, refusal)
		}
	}
	for topic, want := range map[string]bool{
		"audit/a": true, "x": true, "x/y/z": true,
		"audit": false, "audit/a/b": false, "user/42": false, "y": false, "": false, "xx": false, "X/y": false,
	} {
		if err := p.MayPublish(topic); (err == nil) != want || err != nil && !strings.Contains(err.Error(), fmt.Sprintf("%q", topic)) {
			t.Errorf("publish on %q: %v", topic, err)
		}
	}
	if err := p.MayPublish(strings.Repeat("\r\n", 1<<20)); err == nil || len(err.Error()) > 2000 || strings.ContainsAny(err.Error(), "\r\n") {
		t.Error("a long topic is told at length")
	}
	if p.May(auth.Grants()...) == nil {
		t.Error("anyone is admin")
	}
}

// No grant is no access: nothing is open to all by default.
func TestIdentity_WithoutGrantsMayNothing(t *testing.T) {
	for _, claims := range []string{bare(expIn(time.Hour)), granting(`{}`), granting(`{"subscribe":[],"publish":[],"admin":false}`)} {
		p := accepted(t, newVerifier(t, nil), hs(claims))
		if p.MaySubscribe("a") == nil || p.MaySubscribe("**") == nil || p.MayPublish("a") == nil || p.May(auth.Grants()...) == nil {
			t.Errorf("%s lets in", claims)
		}
	}
	var nobody auth.Identity
	if nobody.MaySubscribe("a") == nil || nobody.MayPublish("a") == nil || nobody.May(auth.Grants()...) == nil || nobody.Ended() != nil {
		t.Error("the zero identity lets in")
	}
}

func TestIdentity_EndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t, func(c *auth.Config) { c.Leeway = 10 * time.Second })
		token := hs(bare(expIn(time.Minute)))
		p := accepted(t, v, token)
		ctx, stop := p.While(t.Context())
		defer stop()
		other, stopOther := p.While(t.Context())
		stopOther()
		if !errors.Is(context.Cause(other), context.Canceled) {
			t.Errorf("stopped: %v", context.Cause(other))
		}

		time.Sleep(69 * time.Second)
		synctest.Wait()
		if err := errors.Join(p.Ended(), ctx.Err()); err != nil {
			t.Error(err)
		}
		accepted(t, v, token) // a token that is accepted now must not be revoked at once
		time.Sleep(time.Second)
		synctest.Wait()
		if !errors.Is(context.Cause(ctx), auth.ErrExpired) || !errors.Is(p.Ended(), auth.ErrExpired) {
			t.Errorf("ended with %v; %v", context.Cause(ctx), p.Ended())
		}
		refused(t, v, token, "expired")
		again, stopAgain := p.While(t.Context())
		defer stopAgain()
		if !errors.Is(context.Cause(again), auth.ErrExpired) {
			t.Errorf("begun when over: %v", context.Cause(again))
		}
	})
}

func TestNew_ReportsAllMistakes(t *testing.T) {
	for says, config := range map[string]auth.Config{
		"no key is given":  {},
		"leeway is 1h0m0s": {Keys: keys(), Leeway: time.Hour},
		"max age is 5m0s":  {JWKS: "https://issuer/", MaxAge: 5 * time.Minute},
		"refresh is 1s":    {JWKS: "https://issuer/", Refresh: time.Second},
		`scheme "file"`:    {JWKS: "file:///etc/passwd"},
		`scheme ""`:        {JWKS: "issuer/keys"},
		"without a host":   {JWKS: "https:///keys"},
		"is not a URL":     {JWKS: "https://user:hunter2@[/"},
		"65 keys":          {Keys: make([]*auth.Key, 65)},
		"leeway is 6m0s, at most 5m0s is allowed\nno key": {Leeway: 6 * time.Minute},
	} {
		if _, err := auth.New(config); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, want something about %q", err, says)
		}
	}
}

// The most that a token can carry, asked for the most that a request can ask.
func BenchmarkIdentity_MaySubscribeWorst(b *testing.B) {
	var granted, asked []outbox.Pattern
	for i := range 24 { // fills 8 kB
		granted = append(granted, outbox.Pattern(strings.Repeat("*/", 120)+fmt.Sprintf("x%02x", i)))
	}
	for i := range 256 {
		asked = append(asked, outbox.Pattern(strings.Repeat("*/", 120)+fmt.Sprintf("y%02x/**", i)))
	}
	token, err := auth.Mint(must(auth.ParseSecret(secret)), auth.Claims{Subscribe: granted}, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	p, err := newVerifier(b, nil).Verify(b.Context(), token)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for _, pattern := range asked {
			if p.MaySubscribe(pattern) == nil {
				b.Fatal("granted")
			}
		}
	}
}

// A list grants the names in it and no others. A misspelt name refuses the token,
// because its author meant to grant or to restrict something.
func TestIdentity_AdminGrantsAreApart(t *testing.T) {
	v := newVerifier(t, nil)
	p := accepted(t, v, hs(granting(`{"admin":["metrics","operate","metrics"]}`)))
	for _, grant := range auth.Grants() {
		err := p.May(grant)
		if want := grant == auth.GrantMetrics || grant == auth.GrantOperate; (err == nil) != want {
			t.Errorf("%s: %v", grant, err)
		}
		var refusal *auth.Refusal
		if err != nil && (!errors.As(err, &refusal) || refusal.Status != 403 || refusal.Code != "insufficient_scope" || !strings.Contains(refusal.Detail, string(grant)) || !slices.Equal(refusal.Grants, []auth.Grant{grant})) {
			t.Errorf("%s: %+v", grant, refusal)
		}
	}
	if p.Admin || !slices.Equal(p.Granted(), []auth.Grant{"metrics", "operate"}) || p.May() == nil {
		t.Errorf("%+v", p)
	}
	if p := accepted(t, v, hs(granting(`{"admin":true}`))); !slices.Equal(p.Granted(), auth.Grants()) || p.May(auth.GrantErase) != nil {
		t.Errorf("%+v", p)
	}
	if p := accepted(t, v, hs(granting(`{"admin":[]}`))); p.Admin || p.Granted() != nil {
		t.Errorf("%+v", p)
	}
	for claim, says := range map[string]string{
		`{"admin":["reed"]}`:      `unknown grant "reed"; allowed are metrics, read, operate, catalogue and erase`,
		`{"admin":["Read"]}`:      "unknown grant",
		`{"admin":["read",true]}`: "unknown grant",
		`{"admin":["true"]}`:      "unknown grant",
		`{"admin":"read"}`:        "true or false, or a list of",
		`{"admin":1}`:             "true or false, or a list of",
		`{"admin":null}`:          "true or false, or a list of",
		`{"admin":{"read":true}}`: "true or false, or a list of",
	} {
		refused(t, v, hs(granting(claim)), says)
	}
}

// A token that an issuer made for ten years by mistake is not valid for ten years,
// whether it says since when it is or not.
func TestVerify_LifeOfATokenIsBounded(t *testing.T) {
	v := newVerifier(t, func(c *auth.Config) { c.MaxLife = 24 * time.Hour })
	const years = 10 * 365 * 24 * time.Hour
	accepted(t, v, hs(bare(expIn(24*time.Hour-time.Second))))
	accepted(t, v, hs(bare(at("iat", -23*time.Hour), expIn(time.Hour))))
	for _, claims := range []string{
		bare(expIn(years)), bare(expIn(25 * time.Hour)), bare(at("iat", 0), expIn(25*time.Hour)),
		bare(at("iat", -years), expIn(time.Hour)), bare(at("iat", -24*time.Hour), at("nbf", 0), expIn(time.Hour)),
	} {
		refused(t, v, hs(claims), "at most 24h0m0s from iat to exp")
	}
	accepted(t, newVerifier(t, nil), hs(bare(expIn(years))))
}
