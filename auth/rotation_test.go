package auth_test

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/outcrier/outcrier/auth"
)

// esNow is a token that is made now.
func esNow(key *ecdsa.PrivateKey, header string) string {
	return forge(header, body(at("iat", 0)), jwt.SigningMethodES256, key)
}

func kid(id string) string { return fmt.Sprintf(`{"alg":"ES256","kid":%q}`, id) }

// never fails if a good token is refused for good. It returns whether it was taken.
func never401(t *testing.T, v *auth.Verifier, token string) bool {
	t.Helper()
	_, err := v.Verify(t.Context(), token)
	if err != nil && !errors.Is(err, auth.ErrKeysUnavailable) {
		t.Fatalf("a good token is refused for good: %v", err)
	}
	return err == nil
}

// A client that sends any number of tokens with unknown keys can't have tokens of a new
// key refused: they are accepted at once, or answered 503 and accepted later.
func TestJWKS_JunkDoesNotTouchARotation(t *testing.T) {
	junk := map[string]func(n int) string{
		"kids, each another":      func(n int) string { return esNow(evilEC, kid(fmt.Sprint("junk", n))) },
		"the kid that is to come": func(int) string { return esNow(evilEC, kid("two")) },
		"no kid":                  func(int) string { return esNow(evilEC, `{"alg":"ES256"}`) },
		"kids of another method": func(n int) string {
			return forge(fmt.Sprintf(`{"alg":"EdDSA","kid":"e%d"}`, n), body(), jwt.SigningMethodEdDSA, evilEd)
		},
		"of the future": func(n int) string {
			return forge(kid(fmt.Sprint(n)), body(at("iat", time.Hour)), jwt.SigningMethodES256, evilEC)
		},
		"of the past, and the kid": func(int) string {
			return forge(kid("two"), body(at("iat", -time.Hour)), jwt.SigningMethodES256, evilEC)
		},
	}
	for name, token := range junk {
		for _, every := range []time.Duration{10 * time.Second, 100 * time.Millisecond} {
			t.Run(fmt.Sprint(name, " every ", every), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					i := &issuer{}
					i.serve(jwk("one", ecKey))
					v := follow(t, i, nil)
					run(t, v)
					synctest.Wait()
					ctx, stop := context.WithCancel(t.Context())
					var sender sync.WaitGroup
					defer sender.Wait()
					defer stop()
					sender.Go(func() {
						for n := 0; ctx.Err() == nil; n++ {
							if _, err := v.Verify(ctx, token(n)); err == nil {
								t.Error("junk is taken")
							}
							time.Sleep(every)
						}
					})
					time.Sleep(time.Minute + time.Millisecond)
					next := newEC()
					i.serve(jwk("one", ecKey), jwk("two", next))
					good := esNow(next, kid("two"))
					taken := never401(t, v, good)
					for wait := 0; !taken && wait < 11; wait++ {
						time.Sleep(time.Second)
						taken = never401(t, v, good)
					}
					if !taken {
						t.Error("the new key is not learned of within 11 s")
					}
					if every == 10*time.Second && i.requests() > 15 || i.requests() > 20 {
						t.Errorf("the issuer was asked %d times in a minute", i.requests())
					}
				})
			})
		}
	}
}

// An issuer whose keys have no kid rotates them under junk of the same form.
func TestJWKS_JunkDoesNotTouchKeysWithoutKid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.serve(jwk("", ecKey))
		v := follow(t, i, nil)
		run(t, v)
		for range 50 {
			_, _ = v.Verify(t.Context(), esNow(evilEC, `{"alg":"ES256"}`))
		}
		next := newEC()
		i.serve(jwk("", next))
		good := esNow(next, `{"alg":"ES256"}`)
		for deadline := time.Now().Add(11 * time.Second); !never401(t, v, good); time.Sleep(time.Second) {
			if time.Now().After(deadline) {
				t.Fatal("the new key is not learned of")
			}
		}
	})
}

// Tokens of a withdrawn key are refused for good, however many come: their pages have to
// ask for new ones, and not to try again.
func TestJWKS_TokensOfAWithdrawnKeyAreFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.serve(jwk("one", ecKey))
		v := follow(t, i, nil)
		run(t, v)
		synctest.Wait()
		old := esNow(ecKey, kid("one"))
		accepted(t, v, old)
		i.serve(jwk("two", newEC()))
		time.Sleep(6 * time.Minute)
		before := i.requests()
		for range 100 {
			refused(t, v, old, "no key")
		}
		if n := i.requests() - before; n > 1 {
			t.Errorf("%d fetches for one kid", n)
		}
	})
}

// So are tokens that are older than the last fetch, of keys that were never here, also
// while junk has used up the fetches.
func TestJWKS_OldTokensOfUnknownKeysAreFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.serve(jwk("one", ecKey))
		v := follow(t, i, nil)
		run(t, v)
		synctest.Wait()
		for n := range 20 {
			_, _ = v.Verify(t.Context(), esNow(evilEC, kid(fmt.Sprint("junk", n))))
		}
		unavailable(t, v, esNow(evilEC, kid("new")))
		before := i.requests()
		for n := range 20 {
			refused(t, v, forge(kid(fmt.Sprint("old", n)), body(at("iat", -time.Hour)), jwt.SigningMethodES256, evilEC), "no key")
		}
		if n := i.requests(); n != before {
			t.Errorf("%d fetches for them", n-before)
		}
	})
}

// A JWKS that can't be fetched is not trusted for ever: an attacker who cuts the server
// off from the issuer would keep a withdrawn key alive.
func TestJWKS_AgeIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		i := &issuer{}
		i.serve(jwk("one", ecKey))
		v := follow(t, i, func(c *auth.Config) {
			c.Keys, c.MaxAge, c.Log = keys()[:1], time.Hour, logger(&log)
		})
		run(t, v)
		synctest.Wait()
		token := forge(kid("one"), bare(expIn(48*time.Hour)), jwt.SigningMethodES256, ecKey)
		p := accepted(t, v, token)
		stream, stop := p.While(t.Context())
		defer stop()
		i.fail()
		time.Sleep(time.Hour - time.Second)
		accepted(t, v, token)
		if s := v.Status(); s.Stale || s.Failures < 5 || s.Keys != 2 || stream.Err() != nil {
			t.Errorf("before: %+v, %v", s, stream.Err())
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		unavailable(t, v, token)
		if err := p.Ended(); !errors.Is(err, auth.ErrKeysUnavailable) || !errors.Is(context.Cause(stream), auth.ErrKeysUnavailable) {
			t.Errorf("its stream: %v, %v", err, context.Cause(stream))
		}
		if s := v.Status(); !s.Stale || s.Keys != 1 || s.Fault == nil || !s.JWKS {
			t.Errorf("after: %+v", s)
		}
		if !strings.Contains(log.String(), "level=ERROR msg=\"jwks is too old") {
			t.Error("the log does not say so")
		}
		accepted(t, v, hs(body())) // the configuration's own key needs no JWKS
		i.serve(jwk("one", ecKey))
		time.Sleep(5*time.Minute + time.Second)
		accepted(t, v, token)
		if s := v.Status(); s.Stale || s.Fault != nil {
			t.Errorf("in the end: %+v", s)
		}
	})
}

// The limit holds also if the verifier's Run is not called.
func TestJWKS_AgeIsLimitedWithoutRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.serve(jwk("one", ecKey))
		v := follow(t, i, func(c *auth.Config) { c.MaxAge = time.Hour })
		accepted(t, v, esBy(ecKey, "one"))
		i.fail()
		time.Sleep(59 * time.Minute)
		accepted(t, v, esBy(ecKey, "one"))
		time.Sleep(2 * time.Minute)
		unavailable(t, v, esBy(ecKey, "one"))
	})
}

// The keys of the configuration are replaced while the server runs: a secret that leaked
// ends with its file, and its streams with it. What stays goes on.
func TestVerifier_KeysAreReplaced(t *testing.T) {
	var log strings.Builder
	v := newVerifier(t, func(c *auth.Config) { c.Log = logger(&log) })
	bySecret, byKey := accepted(t, v, hs(body())), accepted(t, v, es(kid("ec"), body()))
	stays, stop := byKey.While(t.Context())
	defer stop()
	next := []byte("another secret of 32 bytes and more, by and by")
	if err := v.Replace([]*auth.Key{must(auth.ParseSecret(next)), publicKey("ec", ecKey)}); err != nil {
		t.Fatal(err)
	}
	refused(t, v, hs(body()), "signature is wrong")
	accepted(t, v, forge(`{"alg":"HS256"}`, body(), jwt.SigningMethodHS256, next))
	accepted(t, v, es(kid("ec"), body()))
	if !errors.Is(bySecret.Ended(), auth.ErrWithdrawn) || byKey.Ended() != nil || stays.Err() != nil {
		t.Errorf("%v, %v, %v", bySecret.Ended(), byKey.Ended(), stays.Err())
	}
	if err := v.Replace(nil); err == nil {
		t.Error("a verifier is left without a key")
	}
	accepted(t, v, es(kid("ec"), body()))
	if strings.Contains(log.String(), string(next)) || !strings.Contains(log.String(), "keys changed") {
		t.Errorf("log %q", log.String())
	}
	// With a JWKS, each set has its own limit.
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.serve(jwk("one", evilEC))
		v := newVerifier(t, func(c *auth.Config) { c.JWKS, c.Transport = "https://issuer/keys", i })
		run(t, v)
		synctest.Wait()
		if err := v.Replace([]*auth.Key{publicKey("ec", ecKey)}); err != nil {
			t.Fatal(err)
		}
		accepted(t, v, esBy(evilEC, "one"))
		i.serve(jwk("two", evilEC))
		time.Sleep(6 * time.Minute)
		accepted(t, v, es(kid("ec"), body()))
		refused(t, v, hs(body()), "no key")
		if n := v.Status().Keys; n != 2 {
			t.Errorf("%d keys", n)
		}
	})
}
