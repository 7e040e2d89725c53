package handlers_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/sse/ssetest"
)

var tokenKey = must(auth.ParseSecret([]byte("correct horse battery staple, 32 bytes and more")))

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// mint is a token of a subject that grants to subscribe and publish on topics.
func mint(subject string, ttl time.Duration, topics ...outbox.Pattern) string {
	return must(auth.Mint(tokenKey, auth.Claims{Subject: subject, Subscribe: topics, Publish: topics}, ttl))
}

// ann may read and publish on a and all topics beneath it.
var ann = mint("ann", time.Hour, "a/**")

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// closedAccess needs tokens.
func closedAccess() handlers.Access {
	access := handlers.Access{Refusals: new(handlers.Refusals)}
	verified(&access, auth.Config{})
	return access
}

// verified takes tokens signed by tokenKey.
func verified(access *handlers.Access, config auth.Config) {
	config.Keys, config.Leeway = []*auth.Key{tokenKey}, -1
	byTokens(access, must(auth.New(config)))
}

func byTokens(access *handlers.Access, verifier *auth.Verifier) {
	access.Authenticate, access.Sessions = verifier.Authenticate, verifier
}

// queried takes them from ?token= too.
func queried(access *handlers.Access) {
	verified(access, auth.Config{QueryToken: true})
	access.QueryToken = true
}

// closed is a node that does.
func closed(t *testing.T, change func(*handlers.Access)) *node {
	t.Helper()
	return newNode(t, func(n *node) {
		n.access = closedAccess()
		if change != nil {
			change(&n.access)
		}
	})
}

func TestAccess_NobodyMayAnythingByDefault(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node) { n.access = handlers.Access{} })
	for _, headers := range [][]string{nil, bearer(ann)} {
		for _, accept := range []string{stream, jsonAll} {
			if a := do(t, "GET", n.events("topic=a"), "", append(headers, "Accept", accept)...); a.status != 401 && a.status != 503 {
				t.Errorf("%d %s", a.status, a.body)
			}
		}
		if a := n.post(t, `{"topic":"a","type":"t"}`, headers...); a.status != 401 && a.status != 503 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if n.count(t) != 0 || n.streamer.Open() != 0 {
		t.Error("something was stored or opened")
	}
}

func TestAccess_TokenDecidesBeforeAnythingIsStreamed(t *testing.T) {
	t.Parallel()
	n := closed(t, nil)
	expired := mint("ann", time.Second, "a/**")
	time.Sleep(1100 * time.Millisecond)
	for name, test := range map[string]struct {
		headers   []string
		topics    []string
		status    int
		challenge string
		says      string
	}{
		"no token":               {nil, []string{"a"}, 401, "Bearer", "a token is needed"},
		"not a token":            {bearer("a.b.c"), []string{"a"}, 401, `Bearer error="invalid_token"`, "base64url"},
		"of another key":         {bearer(must(auth.Mint(must(auth.ParseSecret([]byte("another secret that is long enough"))), auth.Claims{Subscribe: []outbox.Pattern{"**"}}, time.Hour))), []string{"a"}, 401, `Bearer error="invalid_token"`, "signature"},
		"expired":                {bearer(expired), []string{"a"}, 401, `Bearer error="invalid_token"`, "expired"},
		"another topic":          {bearer(ann), []string{"b"}, 403, `Bearer error="insufficient_scope"`, `topic "b"`},
		"another topic besides":  {bearer(ann), []string{"a", "a/b", "b/1"}, 403, `Bearer error="insufficient_scope"`, `topic "b/1"`},
		"a topic that begins so": {bearer(ann), []string{"ab"}, 403, `Bearer error="insufficient_scope"`, `topic "ab"`},
		"a pattern that is wide": {bearer(ann), []string{"**"}, 403, `Bearer error="insufficient_scope"`, `topic "**"`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, accept := range []string{stream, jsonAll} {
				a := do(t, "GET", n.events("topic="+strings.Join(test.topics, "&topic=")), "", append(test.headers, "Accept", accept)...)
				a.wantProblem(t, test.status, test.says)
				if got := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, test.challenge) {
					t.Errorf("WWW-Authenticate is %q, want %s", got, test.challenge)
				}
			}
			if test.topics[0] == "**" {
				return
			}
			var drafts []string
			for _, topic := range test.topics {
				drafts = append(drafts, fmt.Sprintf(`{"topic":%q,"type":"t"}`, topic))
			}
			n.post(t, "["+strings.Join(drafts, ",")+"]", test.headers...).wantProblem(t, test.status, strings.Replace(test.says, "subscribe to", "publish on", 1))
		})
	}
	if n.count(t) != 0 || n.streamer.Open() != 0 {
		t.Error("something was stored or opened")
	}
	c := ssetest.Open(t, n.events("topic=a/*&topic=a"), bearer(ann)...)
	c.Until("outcrier.live")
	n.post(t, `{"topic":"a/1","type":"t"}`, bearer(ann)...).ids(t)
	c.Until("t")
	r := n.access.Refusals
	if r.NoToken.Load() == 0 || r.BadToken.Load() == 0 || r.Expired.Load() == 0 || r.Forbidden.Load() == 0 {
		t.Errorf("counted: %d without, %d bad, %d expired, %d forbidden", r.NoToken.Load(), r.BadToken.Load(), r.Expired.Load(), r.Forbidden.Load())
	}
}

// A stream ends with its token, whether its connection was taken over or not, and a
// poll too.
func TestAccess_StreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*httptest.Server){"taken over": (*httptest.Server).Start, "over TLS": (*httptest.Server).StartTLS} {
		t.Run(name, func(t *testing.T) {
			n := closed(t, nil)
			if name == "over TLS" {
				n = newNode(t, func(m *node) { m.access, m.start = n.access, start })
			}
			token := mint("ann", 4*time.Second, "a/**")
			if name == "taken over" {
				polled := make(chan answer)
				go func() {
					polled <- do(t, "GET", n.events("topic=a&wait=30s"), "", append(bearer(token), "Accept", jsonAll)...)
				}()
				defer func() { (<-polled).wantProblem(t, 401, "expired") }()
			}
			if status, text := whole(t, n.events("topic=a"), bearer(token)...); status != 200 || !strings.Contains(text, "\n\nevent: outcrier.goodbye\nretry: ") || !strings.HasSuffix(text, "\ndata: {\"reason\":\"token_expired\"}\n\n") {
				t.Errorf("%d: it ends with %q", status, text)
			}
			if status, text := whole(t, n.events("topic=a"), bearer(token)...); status != 401 {
				t.Errorf("it is opened again: %d: %q", status, text)
			}
			eventually(t, func() bool { return n.streamer.Open() == 0 && n.streamer.Hub.Subscriptions() == 0 })
		})
	}
}

// whole is all of a stream until its server ends it.
func whole(t *testing.T, address string, headers ...string) (int, string) {
	t.Helper()
	request := must(http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil))
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the server is the test's own
	response, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// signerOf is a key that signs, of an issuer's.
func signerOf(private *ecdsa.PrivateKey, id string) *auth.Key {
	block := &pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(private))}
	key := must(auth.ParsePrivateKey(pem.EncodeToMemory(block)))
	key.ID = id
	return key
}

// issuer is a server of a JWKS whose one key changes.
type issuer struct {
	*httptest.Server
	set  atomic.Pointer[string]
	down atomic.Bool
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if i.down.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write([]byte(*i.set.Load()))
	}))
	t.Cleanup(i.Close)
	return i
}

// publish makes a key the only one, and returns it.
func (i *issuer) publish(id string) *ecdsa.PrivateKey {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	point := must(key.PublicKey.Bytes())
	half := len(point) / 2
	encode := base64.RawURLEncoding.EncodeToString
	set := string(must(json.Marshal(map[string]any{"keys": []map[string]string{{"kty": "EC", "crv": "P-256", "kid": id, "x": encode(point[1 : 1+half]), "y": encode(point[1+half:])}}})))
	i.set.Store(&set)
	return key
}

func TestAccess_KeyThatIsWithdrawnEndsItsStreams(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	old := signerOf(issuer.publish("old"), "old")
	token := must(auth.Mint(old, auth.Claims{Subject: "ann", Subscribe: []outbox.Pattern{"a"}}, time.Hour))
	verifier := must(auth.New(auth.Config{JWKS: issuer.URL, Refresh: 10 * time.Second}))
	n := newNode(t, func(n *node) {
		n.access, n.admin = closedAccess(), admin.New(n.pool)
		byTokens(&n.access, verifier)
	})

	// The keys are not known yet.
	issuer.down.Store(true)
	do(t, "GET", n.events("topic=a"), "", append(bearer(token), "Accept", jsonAll)...).wantProblem(t, 503, "keys")
	// An EventSource comes back by itself only after a 200.
	if events := ssetest.Open(t, n.events("topic=a"), bearer(token)...).End(); len(events) != 1 || events[0].Type != "outcrier.goodbye" || events[0].Data != `{"reason":"keys_unavailable"}` {
		t.Errorf("a stream is told %+v", events)
	}
	n.post(t, `{"topic":"a","type":"t"}`, bearer(token)...).wantProblem(t, 503, "keys")
	for _, path := range []string{"/catalogue", "/admin/api/overview"} {
		do(t, "GET", n.url+path, "", append(bearer(token), "Accept", "*/*")...).wantProblem(t, 503, "keys")
	}
	issuer.down.Store(false)

	// Run fetches at its start.
	refresh := func() {
		ctx, stop := context.WithCancel(t.Context())
		before := verifier.Status().Fetched
		done := make(chan struct{})
		go func() { defer close(done); _ = verifier.Run(ctx) }()
		eventually(t, func() bool { return verifier.Status().Fetched.After(before) })
		stop()
		<-done
	}
	refresh()
	c := ssetest.Open(t, n.events("topic=a"), bearer(token)...)
	c.Until("outcrier.live")
	refresh() // the same keys
	n.add(t, "a")
	c.Until("test.added")
	issuer.publish("new")
	refresh()
	events := c.End()
	if last := events[len(events)-1]; last.Type != "outcrier.goodbye" || last.Data != `{"reason":"key_withdrawn"}` {
		t.Errorf("it ends with %+v", events)
	}
	do(t, "GET", n.events("topic=a"), "", bearer(token)...).wantProblem(t, 401)
	if n.access.Refusals.Unavailable.Load() != 5 {
		t.Errorf("%d counted", n.access.Refusals.Unavailable.Load())
	}
}
