package handlers_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/handlers"
)

type noNetwork struct{}

func (noNetwork) RoundTrip(*http.Request) (*http.Response, error) { return nil, http.ErrServerClosed }

// A node that can verify no token can begin no stream: it is not ready, and says why. One
// with a key of its own is.
func TestReadyz_SaysThatKeysAreMissing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		keys []*auth.Key
		want int
	}{"the JWKS alone": {nil, 503}, "a key beside it": {[]*auth.Key{tokenKey}, 200}} {
		v := must(auth.New(auth.Config{JWKS: "https://issuer/keys", Transport: noNetwork{}, Keys: test.keys}))
		n := newNode(t, func(n *node) { n.access = handlers.Access{Authenticate: v.Authenticate, Sessions: v} })
		a := do(t, "GET", n.url+"/readyz", "")
		if a.status != test.want || (test.want == 503) != strings.Contains(a.body, "the JWKS can't be fetched") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// A cache in front of a node must not go on saying that it is ready.
func TestHealth_IsNotForCaches(t *testing.T) {
	n := newNode(t, nil)
	for _, path := range []string{"/healthz", "/readyz"} {
		for _, method := range []string{"GET", "HEAD"} {
			if a := do(t, method, n.url+path, ""); a.status != 200 || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: %d, Cache-Control %q", method, path, a.status, a.header.Get("Cache-Control"))
			}
		}
	}
	n.streamer.Drain()
	if a := do(t, "GET", n.url+"/readyz", ""); a.status != 503 || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("/readyz of a node that drains: %d, Cache-Control %q", a.status, a.header.Get("Cache-Control"))
	}
}
