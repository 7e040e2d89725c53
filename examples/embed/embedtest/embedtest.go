// Package embedtest shows that an embedded node gives each user their own topics.
package embedtest

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// TwoUsers signs two users in to the application that serve serves, and streams to both
// from the path events: each gets their own events and public ones, 403 for the other's
// topics, and a goodbye at the sign-out and when the server stops.
func TwoUsers(t *testing.T, serve func(context.Context, net.Listener, string) error, events string) {
	database := outboxtest.URL(t)
	pool := outboxtest.Pool(t, database)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, listener, database) }()
	stopped := false
	end := func() {
		if !stopped {
			stopped = true
			stop()
			if err := <-served; err != nil {
				t.Errorf("it ended with %v", err)
			}
		}
	}
	t.Cleanup(end)

	base := "http://" + listener.Addr().String()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	do := func(request *http.Request, cookies []*http.Cookie) *http.Response {
		t.Helper()
		for _, cookie := range cookies {
			request.AddCookie(cookie)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response
	}
	post := func(path string, form url.Values, cookies []*http.Cookie) []*http.Cookie {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response := do(request, cookies)
		if response.StatusCode != http.StatusOK {
			t.Fatalf("POST %s: %s", path, response.Status)
		}
		return response.Cookies()
	}
	get := func(topic string, cookies []*http.Cookie) int {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+events+"?topic="+url.QueryEscape(topic), nil)
		if err != nil {
			t.Fatal(err)
		}
		return do(request, cookies).StatusCode
	}

	ann, bob := post("/sign-in", url.Values{"user": {"ann"}}, nil), post("/sign-in", url.Values{"user": {"bob"}}, nil)
	if got := get("user/ann/orders", nil); got != http.StatusUnauthorized {
		t.Errorf("nobody gets %d, want 401", got)
	}
	if got := get("user/bob/orders", ann); got != http.StatusForbidden {
		t.Errorf("ann gets %d for bob's topic, want 403", got)
	}
	if got := get("user/ann/**", bob); got != http.StatusForbidden {
		t.Errorf("bob gets %d for ann's topics, want 403", got)
	}

	open := func(user string, cookies []*http.Cookie) *ssetest.Client {
		c := ssetest.Open(t, base+events+"?topic=user/"+user+"/**&topic=public/news", "Cookie", cookies[0].Name+"="+cookies[0].Value)
		c.Until("outcrier.live")
		return c
	}
	anns, bobs := open("ann", ann), open("bob", bob)
	// The application's own transaction.
	if _, err := pool.Exec(t.Context(), `INSERT INTO outbox (topic, type) VALUES
		('user/ann/orders', 'ann.first'), ('user/bob/orders', 'bob.first'), ('user/ann/orders', 'ann.second'), ('public/news', 'news.published')`); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ann.first", "ann.second", "news.published"} {
		if got := anns.Next(); got.Type != want {
			t.Errorf("ann gets %s, want %s", got.Type, want)
		}
	}
	for _, want := range []string{"bob.first", "news.published"} {
		if got := bobs.Next(); got.Type != want {
			t.Errorf("bob gets %s, want %s", got.Type, want)
		}
	}

	post("/sign-out", nil, ann)
	if got := anns.Until("outcrier.goodbye"); got.Data != `{"reason":"revoked"}` {
		t.Errorf("ann's stream ends with %s", got.Data)
	}
	if got := get("user/ann/orders", ann); got != http.StatusUnauthorized {
		t.Errorf("after the sign-out ann gets %d, want 401", got)
	}
	end()
	if got := bobs.Until("outcrier.goodbye"); got.Data != `{"reason":"drain"}` {
		t.Errorf("bob's stream ends with %s", got.Data)
	}
}
