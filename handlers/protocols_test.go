package handlers_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/sse/ssetest"
)

// A stream is the same over every protocol, whether its connection was taken over
// from net/http or not, compressed or not: it is given what commits, and ends when
// its reader leaves.
func TestStream_IsTheSameOverEveryProtocol(t *testing.T) {
	for name, test := range map[string]struct {
		tls, h2, gzip bool
		protocol      string
		takenOver     bool
	}{
		"HTTP/1.1":                    {false, false, false, "HTTP/1.1", true},
		"HTTP/1.1, compressed":        {false, false, true, "HTTP/1.1", true},
		"HTTP/1.1 over TLS":           {true, false, false, "HTTP/1.1", false},
		"HTTP/2 over TLS":             {true, true, false, "HTTP/2.0", false},
		"HTTP/2 over TLS, compressed": {true, true, true, "HTTP/2.0", false},
		"h2c":                         {false, true, false, "HTTP/2.0", false},
	} {
		t.Run(name, func(t *testing.T) {
			var protocols http.Protocols
			protocols.SetHTTP1(!test.h2)
			protocols.SetHTTP2(test.h2 && test.tls)
			protocols.SetUnencryptedHTTP2(test.h2 && !test.tls)
			n := newNode(t, func(n *node) {
				n.gzip = test.gzip
				n.start = func(server *httptest.Server) {
					server.Config.Protocols = new(http.Protocols)
					*server.Config.Protocols = protocols
					server.EnableHTTP2 = test.h2 && test.tls
					if test.tls {
						server.StartTLS()
					} else {
						server.Start()
					}
				}
			})
			transport := &http.Transport{Protocols: &protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // the server is the test's own
			defer transport.CloseIdleConnections()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.events("topic=a"), nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := transport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.Proto != test.protocol || response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != stream {
				t.Errorf("it is %s, %s, %v", response.Proto, response.Status, response.Header)
			}
			if response.Close != test.takenOver || response.Header.Get("Date") == "" {
				t.Errorf("taken over: %v, want %v", response.Close, test.takenOver)
			}
			// The transport asks for gzip itself, and undoes it.
			if response.Uncompressed != test.gzip {
				t.Errorf("compressed: %v, want %v", response.Uncompressed, test.gzip)
			}
			events := ssetest.NewParser(response.Body)
			next := func() ssetest.Event {
				e, err := events.Next()
				if err != nil {
					t.Fatal(err)
				}
				return e
			}
			for e := next(); e.Type != "outcrier.live"; e = next() {
			}
			for range 20 {
				id := n.add(t, "a")
				if e := next(); !strings.HasPrefix(e.ID, id+".") {
					t.Fatalf("%+v, want id %s", e, id)
				}
			}
			cancel()
			_ = response.Body.Close() // what it says is that ctx ended
			eventually(t, func() bool { return n.streamer.Open() == 0 })
		})
	}
}
