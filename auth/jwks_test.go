package auth_test

import (
	"compress/gzip"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/outcrier/outcrier/auth"
)

// issuer is a JWKS that can be changed, without a network, so that it can be had
// where time is not real.
type issuer struct {
	mu     sync.Mutex
	set    string
	down   bool
	asked  int
	before func(context.Context) // runs within each request
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked++
	if i.before != nil {
		i.before(r.Context())
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if i.down {
		return nil, errors.New("connection refused")
	}
	w := httptest.NewRecorder()
	_, _ = w.WriteString(i.set)
	return w.Result(), nil
}

func (i *issuer) serve(keys ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.set, i.down = jwkSet(keys...), false
}

func (i *issuer) fail() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = true
}

func (i *issuer) requests() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked
}

func serving(set func() string) http.RoundTripper { return &issuer{set: set()} }

// follow is a verifier that knows keys of this issuer only.
func follow(t testing.TB, i http.RoundTripper, change func(*auth.Config)) *auth.Verifier {
	return newVerifier(t, func(c *auth.Config) {
		c.Keys, c.JWKS, c.Transport = nil, "https://issuer/keys", i
		if change != nil {
			change(c)
		}
	})
}

func esBy(key *ecdsa.PrivateKey, kid string) string {
	return forge(fmt.Sprintf(`{"alg":"ES256","kid":%q}`, kid), body(), jwt.SigningMethodES256, key)
}

func accepted(t *testing.T, v *auth.Verifier, token string) auth.Identity {
	t.Helper()
	p, err := v.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func unavailable(t *testing.T, v *auth.Verifier, token string) {
	t.Helper()
	_, err := v.Verify(t.Context(), token)
	var refusal *auth.Refusal
	if !errors.As(err, &refusal) || !errors.Is(err, auth.ErrKeysUnavailable) || refusal.Status != 503 || refusal.Challenge() != "" {
		t.Fatalf("%v, want that keys are not available", err)
	}
	leaksNothing(t, token, err.Error())
}

func run(t *testing.T, v *auth.Verifier) {
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestJWKS_NewKeyIsTakenAtOnceAndOldOneGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.serve(jwk("one", ecKey))
		v := follow(t, i, nil)
		run(t, v)
		synctest.Wait()
		p := accepted(t, v, esBy(ecKey, "one"))
		bound, stop := p.While(t.Context())
		defer stop()

		time.Sleep(time.Minute)
		next := newEC()
		i.serve(jwk("one", ecKey), jwk("two", next))
		accepted(t, v, esBy(next, "two"))
		if p.Ended() != nil || bound.Err() != nil {
			t.Fatal("a key that stayed was withdrawn")
		}

		i.serve(jwk("two", next))
		time.Sleep(5*time.Minute + time.Second) // the refresh time
		synctest.Wait()
		if !errors.Is(p.Ended(), auth.ErrWithdrawn) || !errors.Is(context.Cause(bound), auth.ErrWithdrawn) {
			t.Errorf("a stream goes on by a withdrawn key: %v, %v", p.Ended(), context.Cause(bound))
		}
		refused(t, v, esBy(ecKey, "one"), "no key")
		accepted(t, v, esBy(next, "two"))

		// The old kid, now of another key.
		swapped := newEC()
		i.serve(jwk("two", swapped))
		time.Sleep(5*time.Minute + time.Second)
		refused(t, v, esBy(next, "two"), "signature is wrong")
		accepted(t, v, esBy(swapped, "two"))

		// A key that was withdrawn is published again.
		i.serve(jwk("one", ecKey))
		time.Sleep(5*time.Minute + time.Second)
		accepted(t, v, esBy(ecKey, "one"))
		if p.Ended() == nil {
			t.Error("a stream was trusted again")
		}
	})
}

func TestJWKS_EmptySetWithdrawsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.serve(jwk("one", ecKey))
		v := follow(t, i, nil)
		run(t, v)
		p := accepted(t, v, esBy(ecKey, "one"))
		i.serve()
		time.Sleep(6 * time.Minute)
		if !errors.Is(p.Ended(), auth.ErrWithdrawn) {
			t.Error("trusted still")
		}
		refused(t, v, esBy(ecKey, "one"), "no key")
	})
}

func TestJWKS_OutageKeepsTheLastKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.serve(jwk("one", ecKey))
		v := follow(t, i, func(c *auth.Config) { c.MaxAge = -1 })
		run(t, v)
		synctest.Wait()
		p := accepted(t, v, forge(`{"alg":"ES256","kid":"one"}`, bare(expIn(48*time.Hour)), jwt.SigningMethodES256, ecKey))
		i.fail()
		time.Sleep(24 * time.Hour)
		accepted(t, v, esBy(ecKey, "one"))
		if err := p.Ended(); err != nil {
			t.Error(err)
		}
		if s := v.Status(); s.Keys != 1 || s.Fault == nil || time.Since(s.Fetched) < 23*time.Hour {
			t.Errorf("%+v", s)
		}
		refused(t, v, forge(`{"alg":"ES256","kid":"one"}`, body(), jwt.SigningMethodES256, evilEC), "signature is wrong")
		// Whether this key was added meanwhile is not known while the JWKS can't be
		// fetched.
		unavailable(t, v, esBy(evilEC, "two"))
		i.serve(jwk("one", ecKey))
		time.Sleep(6 * time.Minute)
		refused(t, v, esBy(evilEC, "two"), "no key")
		if s := v.Status(); s.Fault != nil || time.Since(s.Fetched) > 10*time.Minute {
			t.Errorf("%+v", s)
		}
	})
}

func TestJWKS_StartsWithoutItAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.fail()
		v := follow(t, i, func(c *auth.Config) { c.Keys = keys()[:1] })
		unavailable(t, v, esBy(ecKey, "one")) // not even Run has begun
		run(t, v)
		time.Sleep(30 * time.Second)
		unavailable(t, v, esBy(ecKey, "one"))
		unavailable(t, v, es(`{"alg":"ES256"}`, body()))
		accepted(t, v, hs(body())) // a secret of the configuration needs no JWKS
		refused(t, v, forge(`{"alg":"HS256"}`, body(), jwt.SigningMethodHS256, []byte("x")), "signature is wrong")
		refused(t, v, "a.b.c", "base64url")
		i.serve(jwk("one", ecKey))
		time.Sleep(time.Minute)
		accepted(t, v, esBy(ecKey, "one"))
	})
}

func TestJWKS_UnknownKidsDoNotHammerTheIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.serve(jwk("one", ecKey))
		v := follow(t, i, nil)
		token := func(n int) string { return esBy(evilEC, fmt.Sprint("kid", n)) }
		began := time.Now()
		for n := range 200 {
			if _, err := v.Verify(t.Context(), token(n)); err == nil {
				t.Fatal("taken")
			}
			time.Sleep(time.Second / 2)
		}
		if n, most := i.requests(), int(time.Since(began)/(10*time.Second))+5; n > most {
			t.Errorf("%d requests, want %d at most", n, most)
		}
		accepted(t, v, esBy(ecKey, "one"))
	})
}

func TestJWKS_OneFetchServesAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{before: func(context.Context) { time.Sleep(time.Second) }}
		i.serve(jwk("one", ecKey))
		v := follow(t, i, nil)
		token := esBy(ecKey, "one")
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := v.Verify(t.Context(), token); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := i.requests(); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestJWKS_OneWhoLeavesEndsItsOwnWaitOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{before: func(context.Context) { time.Sleep(2 * time.Second) }}
		i.serve(jwk("one", ecKey))
		v := follow(t, i, nil)
		token := esBy(ecKey, "one")
		first, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = v.Verify(first, token) }) // fetches, for the others too
		synctest.Wait()
		began := time.Now()
		wg.Go(func() {
			if _, err := v.Verify(first, token); !errors.Is(err, auth.ErrKeysUnavailable) || time.Since(began) != time.Second {
				t.Errorf("who left was told %v after %s", err, time.Since(began))
			}
		})
		wg.Go(func() {
			if _, err := v.Verify(t.Context(), token); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
	})
}

func TestJWKS_AnswersThatAreNone(t *testing.T) {
	good := jwkSet(jwk("one", ecKey))
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Add(1)
		_, _ = w.Write([]byte(good))
	}))
	defer other.Close()
	write := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
	}
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
		}
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		says    string
	}{
		"redirect to another server": {redirect(other.URL), "302"},
		"redirect to a file":         {redirect("file:///etc/passwd"), "302"},
		"redirect to the cloud":      {redirect("http://169.254.169.254/"), "302"},
		"500 with a good set":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); _, _ = w.Write([]byte(good)) }, "500"},
		"204":                        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "204"},
		"206":                        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(206); _, _ = w.Write([]byte(good)) }, "206"},
		"nothing":                    {write(""), "not JSON"},
		"HTML":                       {write("<!doctype html><title>Sign in</title>"), "not JSON"},
		"cut short":                  {write(good[:len(good)-5]), "not JSON"},
		"a list":                     {write("[" + jwk("one", ecKey) + "]"), "not a JSON object"},
		"null":                       {write("null"), "not a JSON object"},
		"no keys":                    {write(`{"Keys":[]}`), "not a JWKS"},
		"keys null":                  {write(`{"keys":null}`), "not a JWKS"},
		"keys an object":             {write(`{"keys":{}}`), "not a JWKS"},
		"keys twice":                 {write(`{"keys":[],` + good[1:]), "twice"},
		"too many keys":              {write(jwkSet(slices.Repeat([]string{jwk("one", ecKey)}, 65)...)), "at most 64"},
		"nested deep":                {write(`{"keys":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`), "deeper"},
		"huge":                       {write(strings.Repeat(" ", 256<<10) + good), "262144 bytes"},
		"without an end": {func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}, "262144 bytes"},
		"a bomb": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			for range 4 {
				_, _ = z.Write(make([]byte, 1<<20))
			}
			_ = z.Close()
		}, "262144 bytes"},
		"slow to answer": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "deadline"},
		"slow to end": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(good[:10]))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, "deadline"},
		"headers without an end": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 64<<10))
			_, _ = w.Write([]byte(good))
		}, "header"},
		"hangs up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(test.handler)
			defer server.Close()
			v := newVerifier(t, func(c *auth.Config) {
				c.JWKS, c.Timeout = server.URL+"/keys?secret=4711", 5*time.Second
				if test.says == "deadline" {
					c.Timeout = 50 * time.Millisecond
				}
			})
			unavailable(t, v, esBy(ecKey, "one"))
			fault := v.Status().Fault
			if fault == nil || !strings.Contains(fault.Error(), test.says) || strings.Contains(fault.Error(), "4711") {
				t.Errorf("fault %v, want something about %q", fault, test.says)
			}
			accepted(t, v, hs(body()))
		})
	}
	t.Cleanup(func() {
		if n := elsewhere.Load(); n > 0 {
			t.Errorf("%d requests followed a redirect", n)
		}
	})
}

func TestJWKS_KeysThatAreNotTaken(t *testing.T) {
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	edit := func(key, from, to string) string {
		if !strings.Contains(key, from) {
			panic(from + " is not in " + key)
		}
		return strings.Replace(key, from, to, 1)
	}
	zero := b64(make([]byte, 32))
	even := append([]byte(nil), rsaKey().N.Bytes()...)
	even[len(even)-1] &= 0xfe
	rs := func(key any) string { return forge(`{"alg":"RS256","kid":"bad"}`, body(), jwt.SigningMethodRS256, key) }
	ed := forge(`{"alg":"EdDSA","kid":"bad"}`, body(), jwt.SigningMethodEdDSA, evilEd)
	ec := esBy(evilEC, "bad")
	x25519 := must(ecdh.X25519().GenerateKey(rand.Reader)).PublicKey().Bytes()
	for name, test := range map[string]struct{ key, token, why string }{
		"a secret":                 {`{"kty":"oct","kid":"bad","k":"` + b64(secret) + `"}`, forge(`{"alg":"HS256","kid":"bad"}`, body(), jwt.SigningMethodHS256, secret), "secret"},
		"a secret said to be EC":   {`{"kty":"EC","kid":"bad","k":"` + b64(secret) + `"}`, forge(`{"alg":"HS256","kid":"bad"}`, body(), jwt.SigningMethodHS256, secret), "crv"},
		"RSA of 1024 bits":         {jwk("bad", smallRSA()), rs(smallRSA()), "1024 bits"},
		"RSA with exponent 1":      {edit(jwk("bad", rsaKey()), "AQAB", "AQ"), rs(rsaKey()), "exponent"},
		"RSA with exponent 2":      {edit(jwk("bad", rsaKey()), "AQAB", "Ag"), rs(rsaKey()), "exponent"},
		"RSA with a huge exponent": {edit(jwk("bad", rsaKey()), "AQAB", b64(rsaKey().N.Bytes())), rs(rsaKey()), "e is too large"},
		"RSA of an even number":    {edit(jwk("bad", rsaKey()), b64(rsaKey().N.Bytes()), b64(even)), rs(rsaKey()), ""},
		"RSA without n":            {`{"kty":"RSA","kid":"bad","e":"AQAB"}`, rs(rsaKey()), "0 bits"},
		"RSA for encryption":       {jwk("bad", rsaKey(), "use", `"enc"`), rs(rsaKey()), "use"},
		"use null":                 {jwk("bad", evilEC, "use", `null`), ec, "use"},
		"RSA-OAEP":                 {jwk("bad", rsaKey(), "alg", `"RSA-OAEP"`), rs(rsaKey()), "alg"},
		"RS512":                    {jwk("bad", rsaKey(), "alg", `"RS512"`), rs(rsaKey()), "alg"},
		"P-256 said to be HS256":   {jwk("bad", evilEC, "alg", `"HS256"`), ec, "alg"},
		"key_ops without verify":   {jwk("bad", evilEC, "key_ops", `["encrypt","Verify"]`), ec, "key_ops"},
		"key_ops a string":         {jwk("bad", evilEC, "key_ops", `"verify"`), ec, "key_ops"},
		"a private key":            {jwk("bad", evilEC, "d", `"`+b64(must(evilEC.Bytes()))+`"`), ec, "private"},
		"a point off the curve":    {edit(jwk("bad", evilEC), `"x":"`, `"x":"`+zero+`","z":"`), ec, ""},
		"the point zero":           {`{"kty":"EC","crv":"P-256","kid":"bad","x":"` + zero + `","y":"` + zero + `"}`, ec, ""},
		"a coordinate too short":   {`{"kty":"EC","crv":"P-256","kid":"bad","x":"AAAA","y":"` + zero + `"}`, ec, "32 bytes"},
		"base64 with padding":      {edit(jwk("bad", evilEd), `"x":"`, `"x":"=`), ed, "base64"},
		"P-384":                    {jwk("bad", p384), forge(`{"alg":"ES384","kid":"bad"}`, body(), jwt.SigningMethodES384, p384), "crv"},
		"X25519":                   {`{"kty":"OKP","crv":"X25519","kid":"bad","x":"` + b64(x25519) + `"}`, ed, "crv"},
		"Ed25519 too short":        {edit(jwk("bad", evilEd), b64(evilEd.Public().(ed25519.PublicKey)), "AAAA"), ed, "32 bytes"},
		"kind in another case":     {edit(jwk("bad", evilEC), `"kty":"EC"`, `"kty":"ec"`), ec, "kind"},
		"kind a number":            {edit(jwk("bad", evilEC), `"kty":"EC"`, `"kty":1`), ec, "kty"},
		"kid a number":             {edit(jwk("bad", evilEC), `"kid":"bad"`, `"kid":1`), ec, "kid"},
		"no object":                {`"bad"`, ec, "kind"},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			v := follow(t, &issuer{set: jwkSet(test.key, jwk("one", ecKey))}, func(c *auth.Config) { c.Log = logger(&log) })
			_, err := v.Verify(t.Context(), test.token)
			var refusal *auth.Refusal
			if !errors.As(err, &refusal) || refusal.Status != 401 {
				t.Errorf("%v", err)
			}
			// The other keys of the set are good.
			accepted(t, v, esBy(ecKey, "one"))
			if !strings.Contains(log.String(), "passed_over") || !strings.Contains(log.String(), test.why) || strings.Contains(log.String(), b64(secret)[:10]) {
				t.Errorf("log %q, want something about %q", log.String(), test.why)
			}
		})
	}
}

func TestJWKS_KeysOfOneKidAreAllTried(t *testing.T) {
	second := newEC()
	v := follow(t, &issuer{set: jwkSet(jwk("same", ecKey), jwk("same", second), jwk("same", edKey), jwk("same", rsaKey()), jwk("same", ecKey))}, nil)
	accepted(t, v, esBy(ecKey, "same"))
	accepted(t, v, esBy(second, "same"))
	accepted(t, v, forge(`{"alg":"EdDSA","kid":"same"}`, body(), jwt.SigningMethodEdDSA, edKey))
	accepted(t, v, forge(`{"alg":"RS256","kid":"same"}`, body(), jwt.SigningMethodRS256, rsaKey()))
	refused(t, v, esBy(evilEC, "same"), "signature is wrong")
	refused(t, v, forge(`{"alg":"HS256","kid":"same"}`, body(), jwt.SigningMethodHS256, publicPEM(rsaKey())), "no key")
	if n := v.Status().Keys; n != 4 {
		t.Errorf("%d keys, want the one given twice once", n)
	}
}

func TestJWKS_KeysWithoutKid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.serve(jwk("", ecKey, "alg", `"ES256"`, "use", `"sig"`, "key_ops", `["verify"]`))
		v := follow(t, i, nil)
		run(t, v)
		synctest.Wait()
		accepted(t, v, es(`{"alg":"ES256"}`, body()))
		accepted(t, v, esBy(ecKey, "any"))
		// Another key comes, and nothing names it.
		time.Sleep(time.Minute)
		i.serve(jwk("", evilEC))
		accepted(t, v, forge(`{"alg":"ES256"}`, body(), jwt.SigningMethodES256, evilEC))
		refused(t, v, es(`{"alg":"ES256"}`, body()), "signature is wrong")
	})
}

func FuzzJWKS(f *testing.F) {
	f.Add(jwkSet(jwk("one", ecKey)))
	f.Add(jwkSet(jwk("one", edKey, "use", `"sig"`), jwk("", rsaKey())))
	f.Add(jwkSet(`{"kty":"RSA","n":"AAAA","e":"AQAB"}`, `{"kty":"oct","k":"AAAA"}`))
	tokens := []string{esBy(evilEC, "one"), forge(`{"alg":"RS256"}`, body(), jwt.SigningMethodRS256, smallRSA()), forge(`{"alg":"EdDSA"}`, body(), jwt.SigningMethodEdDSA, evilEd)}
	f.Fuzz(func(t *testing.T, set string) {
		v := follow(t, &issuer{set: set}, nil)
		for _, token := range tokens {
			if p, err := v.Verify(t.Context(), token); err == nil {
				t.Fatalf("%+v by %q", p, set)
			}
		}
	})
}
