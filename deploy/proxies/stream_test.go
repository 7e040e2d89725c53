package proxies

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// node is a real server, reached through a proxy.
type node struct {
	address string
	// also is a second address, as of a second node.
	also    string
	pool    *pgxpool.Pool
	streams *outcrier.Node

	mu   sync.Mutex
	seen map[string]http.Header // of the last request for a stream of each topic
}

func newNode(t *testing.T, heartbeat time.Duration) *node {
	t.Helper()
	url := outboxtest.URL(t)
	streams, err := outcrier.New(t.Context(), outcrier.Config{DatabaseURL: url, Open: true, Heartbeat: heartbeat, FollowOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{pool: outboxtest.Pool(t, url), streams: streams, seen: map[string]http.Header{}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			n.mu.Lock()
			n.seen[r.FormValue("topic")] = r.Header.Clone()
			n.mu.Unlock()
		}
		streams.Handler().ServeHTTP(w, r)
	}))
	server.Config.MaxHeaderBytes = 64 << 10
	server.Start()
	second, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Config.Serve(second) }()
	n.address, n.also = server.Listener.Addr().String(), second.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- streams.Run(ctx) }()
	t.Cleanup(func() {
		second.Close()
		server.CloseClientConnections()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		server.Close()
	})
	testkit.Eventually(t, "the tail follows", func() bool { return streams.Status().Following && streams.Status().Listening })
	return n
}

// header is that of the last request for a stream of the topic, or of it and others.
func (n *node) header(topic, name string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.seen[topic].Get(name)
}

// add appends an event on the topic "user/42", addOn on another.
func (n *node) add(t *testing.T, kind string) {
	t.Helper()
	n.addOn(t, "user/42", kind)
}

func (n *node) addOn(t *testing.T, topic, kind string) {
	t.Helper()
	if _, err := n.pool.Exec(t.Context(), `INSERT INTO outbox (topic, type) VALUES ($1, $2)`, topic, kind); err != nil {
		t.Fatal(err)
	}
}

// heartbeats is how many of them a stream has had: lines that are empty comments.
func heartbeats(stream []byte) int { return strings.Count(string(stream), "\n:\n") }

// patience is how many heartbeats of the node a proxy may take to pass an event on.
const patience = 10

// passes appends an event, and reports whether the proxy passes it on before a reader
// without a proxy has received a number of heartbeats. How long that takes does not
// matter.
func (n *node) passes(t *testing.T, direct *ssetest.Client, shown func() []byte, kind string) bool {
	t.Helper()
	n.add(t, kind)
	direct.Until(kind)
	after := len(direct.Raw())
	for began := time.Now(); ; testkit.Pause(began) {
		if strings.Contains(string(shown()), "event: "+kind+"\n") {
			return true
		}
		if heartbeats(direct.Raw()[after:]) >= patience {
			return false
		}
	}
}

const path = "/events?topic=user/42"

func TestProxies_PassAStreamOn(t *testing.T) {
	t.Parallel()
	for _, p := range proxies {
		t.Run(p.file, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, 100*time.Millisecond)
			base := p.start(t, [2]string{n.address, n.also})
			p.findsNode(t, base)
			direct := ssetest.Open(t, "http://"+n.address+path)
			proxied := ssetest.Open(t, base+path, "Authorization", "Bearer abc", "X-Forwarded-For", "203.0.113.9")
			if got := n.header("user/42", "Authorization"); got != "Bearer abc" {
				t.Errorf("Authorization is %q", got)
			}
			https := "https"
			if p.plain {
				https = "" // that is for the proxy before it to say
			}
			if by, proto := n.header("user/42", "X-Forwarded-For"), n.header("user/42", "X-Forwarded-Proto"); by != "127.0.0.1" || proto != https {
				t.Errorf("the client is %q by %q: it may not say so of itself", by, proto)
			}
			proxied.Until("outcrier.live")
			direct.Until("outcrier.live")

			// Each before the next is appended.
			for i := range 5 {
				if !n.passes(t, direct, proxied.Raw, fmt.Sprintf("test.%d", i)) {
					t.Fatal("the proxy holds events back")
				}
			}
			before := heartbeats(proxied.Raw())
			testkit.Eventually(t, "heartbeats pass", func() bool { return heartbeats(proxied.Raw()) >= before+3 })

			n.add(t, "test.last")
			last := proxied.Until("test.last").ID
			open := n.streams.Streams().Open
			proxied.Close()
			testkit.Eventually(t, "the node sees that the reader has left", func() bool { return n.streams.Streams().Open == open-1 })

			n.add(t, "test.missed")
			resumed := ssetest.Open(t, base+path, "Last-Event-ID", last)
			if hello := resumed.Next(); !strings.Contains(hello.Data, `"resumed":true`) {
				t.Errorf("it says %s", hello.Data)
			}
			resumed.Until("test.missed")

			long := ssetest.Open(t, base+path+strings.Repeat("&topic=public/announcements/0123456789", 200), "Cookie", "theirs="+strings.Repeat("x", 14<<10))
			if got := len(n.header("user/42", "Cookie")); got != 14<<10+len("theirs=") {
				t.Errorf("of a long header %d bytes arrive", got)
			}
			long.Until("outcrier.live")

			if !p.plain {
				http2(t, n, base)
			}

			if err := n.streams.Drain(t.Context()); err != nil {
				t.Error(err)
			}
			resumed.Until("outcrier.goodbye")
			resumed.End()
		})
	}
}

// TestProxies_OfAQuietNode tests streams on which nothing comes for long, and WebSockets. Each
// part has a topic of its own, on which nothing else is appended.
func TestProxies_OfAQuietNode(t *testing.T) {
	t.Parallel()
	n := newNode(t, 10*time.Minute)
	for _, p := range proxies {
		t.Run(p.file, func(t *testing.T) {
			t.Parallel()
			base := p.start(t, [2]string{n.address, n.also})
			p.findsNode(t, base)
			t.Run("HoldNothingBack", func(t *testing.T) { holdNothingBack(t, n, base) })
			t.Run("PassAWebSocketOn", func(t *testing.T) { passAWebSocketOn(t, n, base) })
			t.Run("LetNobodyPastByAWebSocket", func(t *testing.T) { letNobodyPastByAWebSocket(t, n, base) })
		})
	}
}

// holdNothingBack: what a stream begins with arrives, and then each event, though the node
// writes nothing after it for longer than this test waits.
func holdNothingBack(t *testing.T, n *node, base string) {
	t.Helper()
	proxied := ssetest.Open(t, base+"/events?topic="+t.Name())
	proxied.Until("outcrier.hello")
	proxied.Until("outcrier.live")
	for i := range 3 {
		kind := fmt.Sprintf("test.%d", i)
		n.addOn(t, t.Name(), kind)
		proxied.Until(kind)
	}
}

var insecure = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
	DisableKeepAlives: true, TLSClientConfig: trusting(),
}}

// trusting returns the TLS of a client that takes every certificate. Its curve is in assembly: under the
// race detector the keys that Go makes otherwise take longer than all else that a connection costs.
func trusting() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.CurveP256}} //nolint:gosec // a test's
}

// http2 sees that a browser is spoken to over HTTP/2, where its streams share one
// connection.
func http2(t *testing.T, n *node, base string) {
	t.Helper()
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: trusting()}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 {
		t.Errorf("it speaks %s", response.Proto)
	}
	events := ssetest.NewParser(response.Body)
	for i, want := range []string{"outcrier.hello", "outcrier.live", "test.http2.1", "test.http2.2"} {
		if i >= 2 {
			n.add(t, want)
		}
		for {
			event, err := events.Next()
			if err != nil {
				t.Fatalf("before %s: %v", want, err)
			}
			if event.Type == want {
				break
			}
		}
	}
}

// TestProxies_BufferingIsFoundOut: what TestProxies_PassAStreamOn looks for can be seen.
func TestProxies_BufferingIsFoundOut(t *testing.T) {
	t.Parallel()
	n := newNode(t, 100*time.Millisecond)
	base := nginx.start(t, [2]string{n.address, n.also}, "proxy_buffering off;", "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;")
	direct := ssetest.Open(t, "http://"+n.address+path)
	direct.Until("outcrier.live")

	// Not even the header comes through: a client that waits for it waits long.
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var got []byte
	var reading sync.WaitGroup
	reading.Go(func() {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
		if err != nil {
			t.Error(err)
			return
		}
		request.Header.Set("Accept", "text/event-stream")
		response, err := insecure.Transport.RoundTrip(request)
		if err != nil {
			return // it is cancelled
		}
		defer response.Body.Close()
		for buf := make([]byte, 4096); ; {
			read, err := response.Body.Read(buf)
			mu.Lock()
			got = append(got, buf[:read]...)
			mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	defer reading.Wait()
	defer cancel()
	testkit.Eventually(t, "the node has both streams", func() bool { return n.streams.Streams().Open == 2 })
	shown := func() []byte {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
	if n.passes(t, direct, shown, "test.held") {
		t.Error("nginx passes an event on, though it was told to buffer")
	}
}
