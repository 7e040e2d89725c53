package handlers_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/auth/login"
	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
)

// provider is an OpenID Connect provider where somebody is always signed in already.
type provider struct {
	*httptest.Server
	t   *testing.T
	key *rsa.PrivateKey

	mu    sync.Mutex
	codes map[string]url.Values // the requests that they were issued for
	// person are the claims of who is signed in; change may spoil an ID token.
	person map[string]any
	change func(claims map[string]any, sign func(jwt.SigningMethod, any) string) string
}

const clientSecret = "a secret of the client, long enough"

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{t: t, key: must(rsa.GenerateKey(rand.Reader, 2048)), codes: map[string]url.Values{}, person: map[string]any{"sub": "ann", "groups": []string{"staff", "oncall"}}}
	mux := http.NewServeMux()
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	answer := func(w http.ResponseWriter, status int, value any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(value)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		encode := base64.RawURLEncoding.EncodeToString
		answer(w, 200, map[string]any{"keys": []any{map[string]any{"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", "n": encode(p.key.N.Bytes()), "e": "AQAB"}}})
	})
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		if query.Get("client_id") != "outcrier" || query.Get("response_type") != "code" || query.Get("code_challenge_method") != "S256" || !slices.Contains(strings.Fields(query.Get("scope")), "openid") {
			t.Errorf("asked with %v", query)
		}
		code := rand.Text()
		p.mu.Lock()
		p.codes[code] = query
		p.mu.Unlock()
		http.Redirect(w, r, query.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {query.Get("state")}}.Encode(), http.StatusFound)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		p.mu.Lock()
		defer p.mu.Unlock()
		asked, is := p.codes[r.FormValue("code")]
		delete(p.codes, r.FormValue("code")) // once
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		secret, _ = url.QueryUnescape(secret)
		if !is || id != "outcrier" || secret != clientSecret || asked.Get("redirect_uri") != r.FormValue("redirect_uri") || base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge") {
			answer(w, 400, map[string]string{"error": "invalid_grant"})
			return
		}
		claims := map[string]any{"iss": p.URL, "aud": "outcrier", "nonce": asked.Get("nonce"), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()}
		maps.Copy(claims, p.person)
		sign := func(method jwt.SigningMethod, key any) string {
			token := jwt.NewWithClaims(method, jwt.MapClaims(claims))
			token.Header["kid"] = "1"
			return must(token.SignedString(key))
		}
		token := ""
		if p.change != nil {
			token = p.change(claims, sign)
		}
		if token == "" {
			token = sign(jwt.SigningMethodRS256, p.key)
		}
		answer(w, 200, map[string]any{"access_token": rand.Text(), "token_type": "Bearer", "id_token": token})
	})
	return p
}

// switchable is a network that can be down.
type switchable struct{ down atomic.Bool }

func (s *switchable) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.down.Load() {
		return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	}
	return http.DefaultTransport.RoundTrip(r)
}

// person is a browser, as far as redirects and cookies go.
func person(t *testing.T) *http.Client {
	jar := must(cookiejar.New(nil))
	return &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
}

// signedInAt is a node whose admins sign in at a provider.
func signedInAt(t *testing.T, p *provider, change func(*login.Config)) *node {
	t.Helper()
	r := auth.NewRevocations()
	r.Replace(nil)
	n := administered(t, func(n *node) {
		n.access.Revocations = r
		n.start = func(server *httptest.Server) {
			config := login.Config{
				Issuer: p.URL, ClientID: "outcrier", ClientSecret: func() (string, error) { return clientSecret, nil },
				RedirectURL: "http://" + server.Listener.Addr().String() + "/admin/callback", Scopes: []string{"groups"},
				Grants: map[string][]auth.Grant{"oncall": {auth.GrantRead, auth.GrantOperate}, "root": auth.Grants()},
			}
			if change != nil {
				change(&config)
			}
			server.Config.Handler = agrees(t, handlers.New(handlers.Config{
				Streamer: n.streamer, TailStatus: n.tail.Status, MaxBody: maxBody, Log: n.log, Admin: n.admin,
				Access: func() handlers.Access { a := n.access; a.Login = must(login.New(config)); return a }(),
			}))
			server.Start()
		}
	})
	// What a node does when its tail reads a revocation.
	n.revoked = func() { r.Replace(must(outbox.Revocations(t.Context(), n.pool, outbox.DefaultSchema))) }
	return n
}

// ask sends a request as a person; headers are pairs.
func ask(t *testing.T, who *http.Client, method, address string, headers ...string) answer {
	t.Helper()
	request := must(http.NewRequestWithContext(t.Context(), method, address, nil))
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := who.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return answer{response.StatusCode, response.Header, string(must(io.ReadAll(response.Body)))}
}

func TestLogin_SignsAnAdminInAndOut(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	n := signedInAt(t, p, nil)
	if a := do(t, "GET", n.url+"/admin/signin", ""); a.status != 200 || a.body != "{\"login\":\"/admin/login\"}\n" {
		t.Errorf("%d %q", a.status, a.body)
	}
	ann := person(t)
	ask(t, ann, "GET", n.url+"/admin/api/overview").wantProblem(t, 401)
	var cookies []string
	ann.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		cookies = append(cookies, r.Response.Header.Values("Set-Cookie")...)
		return nil
	}
	if a := ask(t, ann, "GET", n.url+"/admin/login"); a.status != 200 || !strings.Contains(a.body, "<html") {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if len(cookies) != 3 || !strings.Contains(cookies[0], "; HttpOnly; SameSite=Lax") || !strings.Contains(cookies[1], "outcrier_admin=") || !strings.Contains(cookies[1], "; HttpOnly; SameSite=Strict") || !strings.Contains(cookies[2], "Max-Age=0") {
		t.Errorf("the cookies are %q", cookies)
	}
	for _, cookie := range cookies {
		if strings.Contains(cookie, "ann") || strings.Contains(cookie, "oncall") {
			t.Errorf("a cookie shows %q", cookie)
		}
	}
	who := ask(t, ann, "GET", n.url+"/admin/api/identity")
	if who.status != 200 || !strings.Contains(who.body, `"subject":"ann"`) || !strings.Contains(who.body, `"grants":["read","operate"]`) {
		t.Errorf("%d %s", who.status, who.body)
	}
	ask(t, ann, "PUT", n.url+"/admin/api/catalogue/x").wantProblem(t, 403, "catalogue")
	// The session is for the admin page alone, and for its own pages.
	ask(t, ann, "GET", n.events("topic=a&wait=0"), "Accept", "application/json").wantProblem(t, 401)
	ask(t, ann, "GET", n.url+"/admin/api/overview", "Sec-Fetch-Site", "cross-site").wantProblem(t, 403, "another site")
	ask(t, ann, "GET", n.url+"/admin/api/overview", "Sec-Fetch-Site", "same-site").wantProblem(t, 403, "another site")
	ask(t, ann, "POST", n.url+"/admin/logout", "Sec-Fetch-Site", "cross-site").wantProblem(t, 403, "another site")
	// A token in Authorization counts before it.
	ask(t, ann, "PUT", n.url+"/admin/api/catalogue/x", "Authorization", "Bearer "+root, "Content-Type", "application/json").wantProblem(t, 400)

	// Signed out, a copy of the cookie is worth nothing.
	u := must(url.Parse(n.url))
	copied := ann.Jar.Cookies(u)[0]
	if a := ask(t, ann, "POST", n.url+"/admin/logout"); a.status != 204 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if left := ann.Jar.Cookies(u); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
	n.revoked()
	do(t, "GET", n.url+"/admin/api/overview", "", "Cookie", copied.Name+"="+copied.Value).wantProblem(t, 401, "was revoked")
	// The page signs out by DELETE /session, which is the same here.
	ask(t, ann, "GET", n.url+"/admin/login")
	if a := ask(t, ann, "DELETE", n.url+"/session"); a.status != 204 || len(ann.Jar.Cookies(u)) != 0 {
		t.Errorf("%d %s: %v", a.status, a.body, ann.Jar.Cookies(u))
	}
	if rows := n.tell(t, `SELECT count(*) FROM outcrier.revoked WHERE revoked_by = 'ann' AND until IS NOT NULL`); rows != 2 {
		t.Errorf("%d sessions are withdrawn", rows)
	}
}

// Each attack is one that the flow is there to stop.
func TestLogin_Attacks(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	n := signedInAt(t, p, nil)
	spoil := func(change func(claims map[string]any, sign func(jwt.SigningMethod, any) string) string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.change = change
	}
	set := func(name string, value any) func(map[string]any, func(jwt.SigningMethod, any) string) string {
		return func(claims map[string]any, _ func(jwt.SigningMethod, any) string) string {
			claims[name] = value
			return ""
		}
	}
	other := must(rsa.GenerateKey(rand.Reader, 2048))
	for name, change := range map[string]func(map[string]any, func(jwt.SigningMethod, any) string) string{
		"another nonce":         set("nonce", "x"),
		"no nonce":              set("nonce", ""),
		"for another client":    set("aud", "other"),
		"of another issuer":     set("iss", "https://evil.example"),
		"expired":               set("exp", time.Now().Add(-time.Hour).Unix()),
		"of nobody":             set("sub", ""),
		"with lines in its sub": set("sub", "ann\nlevel=ERROR"),
		"by another key": func(_ map[string]any, sign func(jwt.SigningMethod, any) string) string {
			return sign(jwt.SigningMethodRS256, other)
		},
		"by none": func(_ map[string]any, sign func(jwt.SigningMethod, any) string) string {
			return sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType)
		},
		"by the client's secret": func(_ map[string]any, sign func(jwt.SigningMethod, any) string) string {
			return sign(jwt.SigningMethodHS256, []byte(clientSecret))
		},
		"that is none": func(map[string]any, func(jwt.SigningMethod, any) string) string { return "x.y.z" },
	} {
		spoil(change)
		who := person(t)
		ask(t, who, "GET", n.url+"/admin/login").wantProblem(t, 403, "provider's answer is not good")
		if a := ask(t, who, "GET", n.url+"/admin/api/overview"); a.status != 401 {
			t.Errorf("an ID token %s: %d %s", name, a.status, a.body)
		}
	}
	for name, groups := range map[string]any{"none": []string{}, "others": []string{"staff", "Oncall", "oncall "}, "a text": "oncall,root", "an object": map[string]any{"oncall": true}, "numbers": []int{1}} {
		spoil(set("groups", groups))
		ask(t, person(t), "GET", n.url+"/admin/login").wantProblem(t, 403, "no group of yours")
		_ = name
	}
	spoil(nil)

	// Halfway to the callback: the address that the provider sends a browser to.
	stop := func(who *http.Client) string {
		t.Helper()
		var callback string
		who.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
			if r.URL.Path == "/admin/callback" {
				callback = r.URL.String()
				return http.ErrUseLastResponse
			}
			return nil
		}
		ask(t, who, "GET", n.url+"/admin/login")
		who.CheckRedirect = nil
		if callback == "" {
			t.Fatal("no callback")
		}
		return callback
	}
	// The attacker's own code, which their page has a victim's browser redeem.
	eve, victim := person(t), person(t)
	theirs := stop(eve)
	ask(t, victim, "GET", theirs).wantProblem(t, 403, "was not begun here")
	stop(victim) // also with an attempt of the victim's own
	ask(t, victim, "GET", theirs).wantProblem(t, 403, "was not begun here")
	// A code that was seen on its way, redeemed with one's own attempt.
	seen := must(url.Parse(stop(victim)))
	own := must(url.Parse(stop(eve)))
	query := seen.Query()
	query.Set("state", own.Query().Get("state"))
	ask(t, eve, "GET", n.url+"/admin/callback?"+query.Encode()).wantProblem(t, 403, "provider's answer is not good")
	// A code that is redeemed twice.
	ann := person(t)
	again := stop(ann)
	kept := ann.Jar.Cookies(must(url.Parse(n.url)))[0]
	ask(t, ann, "GET", again)
	do(t, "GET", again, "", "Cookie", kept.Name+"="+kept.Value).wantProblem(t, 403, "provider's answer is not good")
	// An error of the provider, and a callback without anything.
	last := must(url.Parse(stop(ann)))
	ask(t, ann, "GET", n.url+"/admin/callback?error=access_denied&state="+last.Query().Get("state")).wantProblem(t, 403, "the provider refused")
	ask(t, person(t), "GET", n.url+"/admin/callback").wantProblem(t, 403, "was not begun here")

	// Cookies that were not made here, or for something else.
	ask(t, ann, "GET", again)
	session := func() *http.Cookie {
		for _, cookie := range ann.Jar.Cookies(must(url.Parse(n.url))) {
			if cookie.Name == "outcrier_admin" {
				return cookie
			}
		}
		t.Fatal("no session")
		return nil
	}()
	changed := []byte(session.Value)
	changed[20] ^= 1
	for name, value := range map[string]string{
		"changed": string(changed), "cut": session.Value[:len(session.Value)-4], "empty": "", "an attempt": kept.Value, "a token": root,
		"JSON": base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"root","groups":["root"],"until":"2999-01-01T00:00:00Z"}`)),
		"two":  session.Value + "; outcrier_admin=" + session.Value,
	} {
		if a := do(t, "GET", n.url+"/admin/api/overview", "", "Cookie", "outcrier_admin="+value); a.status != 401 {
			t.Errorf("a session %s: %d %s", name, a.status, a.body)
		}
	}
	if a := do(t, "GET", n.url+"/admin/api/overview", "", "Cookie", "outcrier_admin="+session.Value); a.status != 200 {
		t.Errorf("the session itself: %d %s", a.status, a.body)
	}
	// Of another node with another secret, and after the group has lost its grants.
	elsewhere := signedInAt(t, p, func(c *login.Config) {
		c.ClientSecret = func() (string, error) { return "another secret, long enough", nil }
	})
	do(t, "GET", elsewhere.url+"/admin/api/overview", "", "Cookie", "outcrier_admin="+session.Value).wantProblem(t, 401, "sign in again")
	lost := signedInAt(t, p, func(c *login.Config) { c.Grants = map[string][]auth.Grant{"root": auth.Grants()} })
	do(t, "GET", lost.url+"/admin/api/overview", "", "Cookie", "outcrier_admin="+session.Value).wantProblem(t, 403, "read")
	short := signedInAt(t, p, func(c *login.Config) { c.Life = time.Hour })
	do(t, "GET", short.url+"/admin/api/overview", "", "Cookie", "outcrier_admin="+session.Value).wantProblem(t, 401, "sign in again")
}

// A provider that is down has one effect only, that admins can't sign in, and it ends
// by itself.
func TestLogin_ProviderMayBeDown(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	reached := new(switchable)
	n := signedInAt(t, p, func(c *login.Config) { c.Transport = reached })
	reached.down.Store(true)
	ask(t, person(t), "GET", n.url+"/admin/login").wantProblem(t, 503, "can't be reached")
	if a := n.api(t, "GET", "overview", ""); a.status != 200 {
		t.Errorf("a token: %d %s", a.status, a.body)
	}
	reached.down.Store(false)
	ann := person(t)
	ask(t, ann, "GET", n.url+"/admin/login")
	if a := ask(t, ann, "GET", n.url+"/admin/api/overview"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	reached.down.Store(true)
	if a := ask(t, ann, "GET", n.url+"/admin/api/overview"); a.status != 200 {
		t.Errorf("a session while the provider is down: %d %s", a.status, a.body)
	}
}

// An unverified address can be anyone's.
func TestLogin_ByAVerifiedAddressOnly(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	n := signedInAt(t, p, func(c *login.Config) {
		c.Claim, c.Grants = "email", map[string][]auth.Grant{"ann@example.com": {auth.GrantRead}}
	})
	for _, verified := range []any{nil, false, "true", 1} {
		p.person = map[string]any{"sub": "eve", "email": "ann@example.com", "email_verified": verified}
		ask(t, person(t), "GET", n.url+"/admin/login").wantProblem(t, 403, "no group of yours")
	}
	p.person["email_verified"] = true
	ann := person(t)
	ask(t, ann, "GET", n.url+"/admin/login")
	if a := ask(t, ann, "GET", n.url+"/admin/api/overview"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Over TLS the cookies have the prefix that keeps sister domains from setting them.
func TestLogin_CookiesAreOfTheHostOverTLS(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	l := must(login.New(login.Config{
		Issuer: p.URL, ClientID: "outcrier", ClientSecret: func() (string, error) { return clientSecret, nil }, RedirectURL: "https://events.example.com/admin/callback",
		Grants: map[string][]auth.Grant{"oncall": {auth.GrantRead}},
	}))
	to, cookie, err := l.Begin(t.Context())
	if err != nil || !strings.HasPrefix(to, p.URL+"/authorize?") || !strings.Contains(to, url.QueryEscape("https://events.example.com/admin/callback")) {
		t.Fatal(to, err)
	}
	for _, c := range []*http.Cookie{cookie, l.SignOut()} {
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" {
			t.Errorf("%v", c)
		}
	}
	if _, err := login.New(login.Config{Issuer: "http://login.example.com", RedirectURL: "https://h/x"}); err == nil || strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("the mistakes are %v", err)
	}
}

// Anybody may begin to sign in, and come back with a made-up code: that fills no log, and
// asks the provider no more often than the node's own people might.
func TestLogin_AnybodysAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	var log testkit.Log
	n := signedInAt(t, p, func(c *login.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	eve := person(t)
	eve.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	begun := ask(t, eve, "GET", n.url+"/admin/login")
	state := must(url.Parse(begun.header.Get("Location"))).Query().Get("state")
	statuses, began := map[int]int{}, time.Now()
	for i := 0; i < 300 || statuses[429] == 0 && i < 3000; i++ { // a slow machine asks hardly faster than is allowed
		back := url.Values{"state": {state}, "code": {"made up"}}
		if i%2 == 0 {
			back = url.Values{"state": {state}, "error": {"denied"}}
		}
		a := ask(t, eve, "GET", n.url+"/admin/callback?"+back.Encode())
		if statuses[a.status]++; a.status == 429 && a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if statuses[403] < 90 || statuses[429] < 1 || len(statuses) != 2 {
		t.Errorf("the answers are %v", statuses)
	}
	if got := strings.Count(log.String(), "level=WARN"); got < 20 || got > 60+int(time.Since(began).Seconds()) {
		t.Errorf("%d lines of the log", got)
	}
}
