package handlers_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// A stream is the same over every protocol, whether its connection was taken over from
// net/http or not, compressed or not: it receives the events that commit, and ends when
// its reader leaves.
func TestStream_IsTheSameOverEveryProtocol(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		tls, h2, gzip bool
		protocol      string
	}{
		"HTTP/1.1":                    {false, false, false, "HTTP/1.1"},
		"HTTP/1.1, compressed":        {false, false, true, "HTTP/1.1"},
		"HTTP/1.1 over TLS":           {true, false, false, "HTTP/1.1"},
		"HTTP/2 over TLS":             {true, true, false, "HTTP/2.0"},
		"HTTP/2 over TLS, compressed": {true, true, true, "HTTP/2.0"},
		"h2c":                         {false, true, false, "HTTP/2.0"},
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
			if response.Proto != test.protocol || response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != streamMedia {
				t.Errorf("it is %s, %s, %v", response.Proto, response.Status, response.Header)
			}
			if response.Close || response.Header.Get("Date") == "" {
				t.Errorf("it closes: %v, of %q", response.Close, response.Header.Get("Date"))
			}
			if chunked := slices.Equal(response.TransferEncoding, []string{"chunked"}); chunked != (test.protocol == "HTTP/1.1") {
				t.Errorf("chunked: %v", chunked)
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
			_ = response.Body.Close() // its error is that ctx ended
			eventually(t, func() bool { return n.streamer.Open() == 0 })
		})
	}
}

// A stream that the server ends in order is complete, over every protocol; one that it
// drops is cut off, so that a client who fetches it comes back.
func TestStream_IsCompleteOnlyIfItEndedInOrder(t *testing.T) {
	t.Parallel()
	for name, h2 := range map[string]bool{"HTTP/1.1 over TLS": false, "HTTP/2 over TLS": true} {
		t.Run(name, func(t *testing.T) {
			for _, dropped := range []bool{false, true} {
				n := newNode(t, func(n *node) {
					n.streamer.DrainTime, n.streamer.Stall = 0, 100*time.Millisecond
					n.start = func(server *httptest.Server) {
						server.EnableHTTP2 = h2
						// A write that fails, as when the node's own time for it is over.
						server.Config.Handler = breaking(server.Config.Handler, dropped)
						server.StartTLS()
					}
				})
				c := ssetest.Open(t, n.events("topic=a"))
				c.Until("outcrier.live")
				if dropped {
					n.add(t, "a")
				} else {
					n.streamer.Drain()
				}
				c.End()
				if err := c.Err(); errors.Is(err, io.EOF) == dropped {
					t.Errorf("dropped: %v, it ends with %v", dropped, err)
				}
			}
		})
	}
}

// breaking has writes fail from the third on.
func breaking(next http.Handler, really bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if really {
			w = &brittle{ResponseWriter: w}
		}
		next.ServeHTTP(w, r)
	})
}

type brittle struct {
	http.ResponseWriter
	writes int
}

func (b *brittle) Unwrap() http.ResponseWriter { return b.ResponseWriter }

func (b *brittle) Write(p []byte) (int, error) {
	if b.writes++; b.writes > 2 {
		return 0, errors.New("broken")
	}
	return b.ResponseWriter.Write(p)
}

// HTTP/1.0 knows no chunks: the body is as it is, and its end is that of the connection.
func TestStream_OverHTTP10HasNoChunks(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node) { n.streamer.DrainTime = 0 })
	conn, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, "GET /events?topic=a HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return n.streamer.Open() == 1 })
	n.add(t, "a")
	n.seen(t, 1)
	n.streamer.Drain()
	text, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(text), "\r\n\r\n")
	if !strings.Contains(head, "\r\nConnection: close") || strings.Contains(head, "Transfer-Encoding") {
		t.Errorf("the header is %s", head)
	}
	events, p := ssetest.Parse([]byte(body))
	if len(p.Strange) > 0 || len(events) == 0 || events[len(events)-1].Type != "outcrier.goodbye" || !strings.HasPrefix(body, ": outcrier\nevent: ") {
		t.Errorf("the body is %s", body)
	}
}

// opaque is the writer of a middleware that hides what it wraps.
type opaque struct{ http.ResponseWriter }

// see is the writer of one that does not.
type see struct{ opaque }

func (s see) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// A middleware whose writer can't pass on what a stream sends is named in the log, and its client gets
// an answer; before that it saw a connection that breaks. Polls need nothing of it.
func TestStream_NeedsAWriterThatCanFlush(t *testing.T) {
	for name, test := range map[string]struct {
		wrap   func(http.ResponseWriter) http.ResponseWriter
		status int
	}{
		"opaque":             {func(w http.ResponseWriter) http.ResponseWriter { return opaque{w} }, 500},
		"opaque, in one":     {func(w http.ResponseWriter) http.ResponseWriter { return see{opaque{opaque{w}}} }, 500},
		"one that is seen":   {func(w http.ResponseWriter) http.ResponseWriter { return see{opaque{w}} }, 200},
		"one around another": {func(w http.ResponseWriter) http.ResponseWriter { return see{opaque{see{opaque{w}}}} }, 200},
	} {
		t.Run(name, func(t *testing.T) {
			var log testkit.Log
			n := newNode(t, func(n *node) {
				n.log = slog.New(slog.NewTextHandler(&log, nil))
				n.start = func(s *httptest.Server) {
					inner := s.Config.Handler
					s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { inner.ServeHTTP(test.wrap(w), r) })
					s.Start()
				}
			})
			if a := do(t, "GET", n.events("topic=a&wait=0"), "", "Accept", "application/json"); a.status != 200 {
				t.Errorf("a poll is answered %d", a.status)
			}
			if test.status == 200 {
				ssetest.Open(t, n.events("topic=a")).Until("outcrier.live")
				return
			}
			do(t, "GET", n.events("topic=a"), "", "Accept", "text/event-stream").wantProblem(t, 500)
			if !strings.Contains(log.String(), "neither Flush nor Unwrap") {
				t.Errorf("the log says\n%s", log.String())
			}
		})
	}
}
