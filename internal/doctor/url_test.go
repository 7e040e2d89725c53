package doctor

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/sse"
	"github.com/outcrier/outcrier/sse/wire"
)

// node is a server on a database of its own, until the test ends.
func node(t *testing.T, config outcrier.Config) string {
	t.Helper()
	config.DatabaseURL, config.DrainTime = outboxtest.URL(t), -1
	node, err := outcrier.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(node.Handler())
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }()
	t.Cleanup(func() {
		server.CloseClientConnections()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		server.Close()
	})
	for deadline := time.Now().Add(time.Minute); !node.Status().Listening; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the node is not ready within a minute")
		}
	}
	return server.URL
}

// nginx passes on to a node, once for each of the ways, and returns its URLs.
func nginx(t *testing.T, to string, ways ...string) (urls []string) {
	t.Helper()
	bin, dir := program(t, "nginx"), folder(t)
	var servers strings.Builder
	var ports []int
	for _, way := range ways {
		port := freePort(t)
		ports = append(ports, port)
		urls = append(urls, fmt.Sprintf("http://127.0.0.1:%d", port))
		fmt.Fprintf(&servers, "server { listen 127.0.0.1:%d; location / { proxy_pass %s; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host localhost; %s } }\n", port, to, way)
	}
	write(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
access_log off;
client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
%[2]s}
`, dir, servers.String()))
	start(t, dir, bin, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr")
	for _, port := range ports {
		listening(t, port)
	}
	return urls
}

// holding passes requests on to a node and never flushes: the answer is held until a
// buffer is full, or it ends.
func holding(t *testing.T, to string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := http.NewRequestWithContext(r.Context(), r.Method, to+r.URL.RequestURI(), r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		request.Header = r.Header.Clone()
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			return // the reader has left
		}
		defer response.Body.Close()
		maps.Copy(w.Header(), response.Header)
		w.WriteHeader(response.StatusCode)
		_, _ = io.Copy(w, response.Body)
	}))
	t.Cleanup(server.CloseClientConnections)
	return server.URL
}

func TestURL_FindsWhatAProxyDoes(t *testing.T) {
	to := node(t, outcrier.Config{Open: true, Heartbeat: 500 * time.Millisecond})
	compressed := node(t, outcrier.Config{Open: true, Heartbeat: 500 * time.Millisecond, Gzip: true})
	urls := nginx(t, to,
		`proxy_buffering off;`,
		`proxy_buffering on;`,
		`proxy_set_header Last-Event-ID '';`,
		`gzip on; gzip_types text/event-stream; gzip_min_length 0; gzip_proxied any;`,
		`proxy_hide_header Cache-Control;`,
		`return 404;`,
	)
	urls[1] = holding(t, to)
	all := make([]findings, len(urls)+4)
	var group sync.WaitGroup
	for i, url := range append(urls, to, nginx(t, node(t, outcrier.Config{Open: true, Heartbeat: time.Minute}), `proxy_read_timeout 2s;`)[0], compressed, nginx(t, compressed, `proxy_buffering off;`)[0]) {
		group.Go(func() { all[i] = examine(t, Config{URL: url, Patience: 10 * time.Second}) })
	}
	group.Wait()
	for _, well := range []findings{all[0], all[6], all[8], all[9]} {
		for _, check := range []string{"url", "compression", "headers", "delivery", "resume", "heartbeat"} {
			well.want(t, OK, check)
		}
		well.want(t, Advice, "protocol", "HTTP/1.1", "six connections")
	}
	all[1].want(t, Error, "buffering", "a proxy holds streams back", "proxy_buffering off")
	all[2].want(t, Error, "resume", "Last-Event-ID does not reach the node")
	all[2].want(t, OK, "delivery")
	all[3].want(t, Error, "compression", "gzip")
	all[4].want(t, Warning, "headers", "Cache-Control: no-store, no-transform")
	all[5].want(t, Error, "url", "404")
	all[8].want(t, OK, "compression", "--gzip")
	all[7].want(t, Error, "heartbeat", "the stream was cut after", "proxy_read_timeout")
}

func TestURL_SaysWhichTokenItNeeds(t *testing.T) {
	key, err := auth.ParseSecret([]byte(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := auth.New(auth.Config{Keys: []*auth.Key{key}})
	if err != nil {
		t.Fatal(err)
	}
	url := node(t, outcrier.Config{Tokens: verifier, Heartbeat: time.Minute})
	mint := func(claims auth.Claims) string {
		token, err := auth.Mint(key, claims, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	examine(t, Config{URL: url}).want(t, Error, "stream", "401 Unauthorized: a token is needed", "--subscribe 'outcrier/doctor/**'")
	reader := mint(auth.Claims{Subscribe: []outbox.Pattern{"outcrier/doctor/**"}})
	found := examine(t, Config{URL: url, Token: reader, Patience: 200 * time.Millisecond})
	found.want(t, Error, "append", "403 Forbidden", "--publish 'outcrier/doctor/**'")
	found.want(t, Error, "heartbeat", "no heartbeat comes within 200ms", "--patience")
	examine(t, Config{URL: "http://127.0.0.1:1"}).want(t, Error, "url", "can't be reached")
}

// A stream that ends early is not one that a proxy holds back.
func TestURL_TellsAGoodbyeFromBuffering(t *testing.T) {
	behind := func(stream string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/readyz" {
				_, _ = io.WriteString(w, `{"ready":true}`)
				return
			}
			w.Header().Set("Content-Type", "text/event-stream")
			w.Header().Set("Cache-Control", "no-store, no-transform")
			_, _ = io.WriteString(w, stream)
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	full := string(sse.Refuse(&wire.Goodbye{Reason: "full"}, time.Second))
	for stream, want := range map[string]string{
		full:                          "the node says goodbye: full",
		"":                            "the stream ended",
		": outcrier\nretry: 2731\n\n": "the stream ended",
	} {
		found := examine(t, Config{URL: behind(stream)})
		found.want(t, Error, "stream", want)
		if slices.ContainsFunc(found, func(f Finding) bool { return f.Check == "buffering" }) {
			t.Errorf("%q counts as buffering", stream)
		}
	}

	// A node that is full indeed.
	url := node(t, outcrier.Config{Open: true, Limits: &outcrier.Limits{StreamsPerAddress: 1}, Heartbeat: time.Minute})
	response, err := http.Get(url + "/events?topic=a")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	examine(t, Config{URL: url}).want(t, Error, "stream", "the node says goodbye: too_many", "--max-streams-per-address")
}
