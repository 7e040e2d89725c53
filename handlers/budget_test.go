package handlers_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/auth"
	browser "github.com/outcrier/outcrier/client"
	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/internal/badnet"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/catalogue"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// asJSON are the headers of who polls for a topic.
func asJSON(subject string, topic outbox.Pattern) []string {
	return append(bearer(mint(subject, time.Hour, topic)), "Accept", "application/json")
}

// counted counts the requests that a handler is at.
func counted(next http.Handler, open *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Add(-1)
		next.ServeHTTP(w, r)
	})
}

// An answer whose client does not read ends after the stall time, on every route:
// HTTP/2 with a window of 0 would hold it for as long as the client likes.
func TestAnswers_ThatNobodyReadsEnd(t *testing.T) {
	t.Parallel()
	var open atomic.Int64
	n := newNode(t, func(n *node) {
		n.streamer.Stall, n.admin = 3*time.Second, admin.New(n.pool)
		n.metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", metricsType)
			_, _ = w.Write(make([]byte, 1000))
		})
		n.start = func(server *httptest.Server) {
			server.Config.Protocols = new(http.Protocols)
			server.Config.Protocols.SetUnencryptedHTTP2(true)
			server.Config.Handler = counted(server.Config.Handler, &open)
			server.Start()
		}
	})
	if _, err := n.pool.Exec(t.Context(), `INSERT INTO outbox (topic, type, payload) SELECT 'a', 't', to_json(repeat('x', 100000)) FROM generate_series(1, 10)`); err != nil {
		t.Fatal(err)
	}
	var id int64
	if err := n.pool.QueryRow(t.Context(), `SELECT max(id) FROM outcrier.event`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	paths := []string{
		"/events?topic=a&from=earliest", "/nothing", "/admin/static/app.js", "/admin/api/export?format=json", "/admin/api/export?format=csv",
		"/admin/api/people/why?subject=a&event=1", "/admin/api/history?limit=200", "/client/" + slices.Sorted(maps.Keys(browser.Parts()))[0],
	}
	for _, path := range n.getPaths(t) {
		paths = append(paths, strings.NewReplacer(":id", fmt.Sprint(id), ":part", "x").Replace(path))
	}
	d, err := badnet.DialDeaf(t.Context(), strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close() //nolint:errcheck // the server may have closed it
	for _, path := range paths {
		if err := d.Get(path, "accept", "application/json"); err != nil {
			t.Fatal(err)
		}
	}
	asked := int64(len(paths))
	eventually(t, func() bool { return d.Answered() == asked })
	eventually(t, func() bool { return d.Reset() == asked })
	eventually(t, func() bool { return open.Load() == 0 })
}

const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// getPaths are the paths of all routes that are read, by the routes themselves.
func (n *node) getPaths(t *testing.T) (paths []string) {
	t.Helper()
	config := handlers.Config{
		Streamer: n.streamer, TailStatus: n.tail.Status, Access: n.access, Admin: n.admin, Metrics: n.metrics, Log: n.log,
		Catalogue: catalogue.Catalogue{Pool: n.pool}.List,
	}
	for _, route := range handlers.New(config).(*echo.Echo).Routes() {
		if path := strings.ReplaceAll(route.Path, "*", ""); route.Method == http.MethodGet && path != "/admin/static/" && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	if len(paths) < 25 {
		t.Fatalf("there are only %q", paths)
	}
	return paths
}

// unread opens connections whose clients read nothing of an answer, by protocol.
var unread = map[string]func(t *testing.T, n *node, path string) (leave func()){
	"HTTP/2 with a window of 0": func(t *testing.T, n *node, path string) func() {
		t.Helper()
		d := must(badnet.DialDeaf(t.Context(), strings.TrimPrefix(n.url, "http://")))
		if err := d.Get(path); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return d.Answered() == 1 })
		return func() { _ = d.Close() }
	},
	"HTTP/1.1": func(t *testing.T, n *node, path string) func() {
		t.Helper()
		conn := must(new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(n.url, "http://")))
		_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10) // the kernel holds less than an answer of the tests
		_ = must(fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path))
		_ = conn.SetReadDeadline(time.Now().Add(testkit.Deadline))
		_ = must(conn.Read(make([]byte, 1))) // it is answered
		return func() { _ = conn.Close() }
	},
}

// forUnread has a node serve both protocols, with little room for what is not read.
func forUnread(n *node) {
	n.access.Limits.BufferedPerPrincipal = 1 // room for one body: 256 KiB
	n.streamer.Stall = 2 * testkit.Deadline  // longer than any test waits
	n.start = func(server *httptest.Server) {
		server.Config.Protocols = new(http.Protocols)
		server.Config.Protocols.SetHTTP1(true)
		server.Config.Protocols.SetUnencryptedHTTP2(true)
		server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
			_ = c.(*net.TCPConn).SetWriteBuffer(4 << 10)
			return ctx
		}
		server.Start()
	}
}

// An answer that another package writes holds its share until it is read, like our own.
func TestBuffered_MetricsThatNobodyReadsHoldTheirShare(t *testing.T) {
	t.Parallel()
	for protocol, open := range unread {
		t.Run(protocol, func(t *testing.T) {
			n := newNode(t, func(n *node) {
				forUnread(n)
				n.metrics = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", metricsType)
					w.Header().Set("Content-Encoding", "x-test")
					_, _ = w.Write(bytes.Repeat([]byte("x"), 120_000))
				})
			})
			leave := open(t, n, "/metrics")
			defer leave()
			eventually(t, func() bool { return do(t, "GET", n.url+"/metrics", "").status != 200 })
			refused := do(t, "GET", n.url+"/metrics", "")
			refused.wantProblem(t, 429, "--max-buffered-per-principal")
			if refused.header.Get("Content-Encoding") != "" {
				t.Errorf("the problem has the header of the answer that was not given: %v", refused.header)
			}
			leave()
			eventually(t, func() bool { return do(t, "GET", n.url+"/metrics", "").status == 200 })
			if a := do(t, "GET", n.url+"/metrics", ""); len(a.body) != 120_000 || a.header.Get("Content-Encoding") != "x-test" {
				t.Errorf("%d bytes, %v", len(a.body), a.header)
			}
		})
	}
}

// The catalogue is in memory once for all that read it. One that changes again and again
// while nobody reads its old answers has no more room than anybody.
func TestBuffered_TheCatalogueCountsOnce(t *testing.T) {
	t.Parallel()
	for protocol, open := range unread {
		t.Run(protocol, func(t *testing.T) {
			n := newNode(t, forUnread)
			describe := func(letter string) {
				t.Helper()
				const describeSQL = `INSERT INTO outcrier.event_type (type, title, description) SELECT 'large.' || n, 'Large', repeat($1, 3000) FROM generate_series(1, 50) AS n ON CONFLICT (type) DO UPDATE SET description = excluded.description`
				if _, err := n.pool.Exec(t.Context(), describeSQL, letter); err != nil {
					t.Fatal(err)
				}
			}
			describe("a")
			var leave []func()
			defer func() {
				for _, one := range leave {
					one()
				}
			}()
			for range 20 {
				leave = append(leave, open(t, n, "/catalogue"))
			}
			if a := do(t, "GET", n.url+"/catalogue", ""); a.status != 200 || !strings.Contains(a.body, "aaa") {
				t.Fatalf("beside 20 that do not read: %d %.100s", a.status, a.body)
			}
			describe("b")
			eventually(t, func() bool { return do(t, "GET", n.url+"/catalogue", "").status != 200 })
			do(t, "GET", n.url+"/catalogue", "").wantProblem(t, 503, "--max-buffered")
			for _, one := range leave {
				one()
			}
			eventually(t, func() bool {
				a := do(t, "GET", n.url+"/catalogue", "")
				return a.status == 200 && strings.Contains(a.body, "bbb")
			})
		})
	}
}

// A long request is in memory until its answer is read, and so it counts: over HTTP/2 many
// of them come on one connection, and need no token.
func TestBuffered_LongRequestsCount(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node) {
		forUnread(n)
		n.access.Limits.URLBytes = 32 << 10
	})
	d := must(badnet.DialDeaf(t.Context(), strings.TrimPrefix(n.url, "http://")))
	defer d.Close() //nolint:errcheck // it is closed below
	long := strings.Repeat("x", 50_000)
	const asked = 20
	for i := range asked {
		path := "/nothing"
		if i%2 == 0 {
			path = "/" + strings.Repeat("x", 40_000) // refused for its length, and in memory like the others
		}
		if err := d.Get(path, "x-long", long); err != nil {
			t.Fatal(err)
		}
	}
	// 8 KiB of each are free; one with a long path takes 82 kB, another 42.
	const least, most = 256 << 10 / 90_000, 256 << 10 / 41_000
	eventually(t, func() bool { return d.Answered()+d.Reset() == asked })
	if d.Answered() < least || d.Answered() > most {
		t.Errorf("%d of %d were answered, want %d to %d", d.Answered(), asked, least, most)
	}
	do(t, "GET", n.url+"/healthz", "", "X-Long", long).wantProblem(t, 429, "--max-buffered-per-principal")
	// Any other answer would end an EventSource for good.
	stream := must(http.NewRequestWithContext(t.Context(), "GET", n.events("topic=a"), http.NoBody))
	stream.Header.Set("X-Long", long)
	turned, err := client.Do(stream)
	if err != nil {
		t.Fatal(err)
	}
	defer turned.Body.Close()
	text := string(must(io.ReadAll(turned.Body)))
	if turned.StatusCode != 200 || !strings.Contains(text, "retry:") || !strings.Contains(text, "too_many") {
		t.Errorf("a stream that is long: %d %s", turned.StatusCode, text)
	}
	if turned.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("it has the header %v", turned.Header)
	}
	if a := do(t, "GET", n.url+"/healthz", ""); a.status != 200 {
		t.Errorf("a short one: %d %s", a.status, a.body)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return do(t, "GET", n.url+"/healthz", "", "X-Long", long).status == 200 })
}

// A problem repeats no more of a request than it takes to know it.
func TestProblem_IsShortWhateverTheRequestIs(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	markup := strings.Repeat("%3C", 10_000)
	for _, path := range []string{"/" + markup, "/events?topic=a&" + markup + "=1", "/events?wait=0&topic=" + markup, "/catalogue?" + markup} {
		if a := do(t, "GET", n.url+path, ""); a.status < 400 || len(a.body) > 20_000 {
			t.Errorf("%.20s: %d with %d bytes", path, a.status, len(a.body))
		}
	}
}

// A connection of HTTP/2 ends with an answer that its reader does not take, if the reader takes no
// other: a browser would hold up the page's other streams. A proxy's carries other clients' streams.
func TestAnswers_ThatNobodyReadsEndTheirConnection(t *testing.T) {
	t.Parallel()
	for path, accept := range map[string]string{"/events?topic=a": "text/event-stream", "/client.all.js": "*/*"} {
		for _, proxy := range []bool{false, true} {
			n := newNode(t, func(n *node) {
				n.streamer.Stall = 200 * time.Millisecond
				if proxy {
					n.access.Proxies.Networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
				}
				n.start = func(server *httptest.Server) {
					server.Config.ConnContext = handlers.WithConn
					server.Config.Protocols = new(http.Protocols)
					server.Config.Protocols.SetUnencryptedHTTP2(true)
					server.Start()
				}
			})
			d, err := badnet.DialDeaf(t.Context(), strings.TrimPrefix(n.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close() //nolint:errcheck // the server may have closed it
			if err := d.Get(path, "accept", accept); err != nil {
				t.Fatal(err)
			}
			if proxy {
				eventually(t, func() bool { return d.Reset() == 1 })
				// The connection still serves.
				if err := d.Get(path, "accept", accept); err != nil {
					t.Fatal(err)
				}
				eventually(t, func() bool { return d.Reset() == 2 })
			} else {
				eventually(t, d.Ended)
			}
			if d.Ended() == proxy {
				t.Errorf("%s, by a proxy %v: the connection has ended: %v", path, proxy, d.Ended())
			}
		}
	}
}

// A reader that takes nothing ends its stream as stalled over HTTP/2 too.
func TestStream_OverHTTP2EndsAsStalled(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node) {
		n.streamer.Stall = 200 * time.Millisecond
		n.start = func(server *httptest.Server) {
			server.Config.Protocols = new(http.Protocols)
			server.Config.Protocols.SetUnencryptedHTTP2(true)
			server.Start()
		}
	})
	d, err := badnet.DialDeaf(t.Context(), strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close() //nolint:errcheck // the server may have closed it
	if err := d.Get("/events?topic=a", "accept", "text/event-stream"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return len(n.streamer.Stats().Ended) > 0 })
	if ended := n.streamer.Stats().Ended; ended["stalled"] != 1 {
		t.Errorf("it ended as %v", ended)
	}
}

// The connection stays while its reader takes other answers: a program that reads for many people
// has one.
func TestAnswers_ThatNobodyReadsLeaveAConnectionThatIsRead(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node) {
		n.streamer.Stall = 500 * time.Millisecond
		n.start = func(server *httptest.Server) {
			server.Config.ConnContext = handlers.WithConn
			server.EnableHTTP2 = true
			server.StartTLS()
		}
	})
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true,
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10},
	}
	defer transport.CloseIdleConnections()
	open := func(topic string) io.ReadCloser {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.events("topic="+topic), nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", "text/event-stream")
		response, err := transport.RoundTrip(request) //nolint:bodyclose // the callers do
		if err != nil {
			t.Fatal(err)
		}
		return response.Body
	}
	unread, read := open("large"), open("small")
	defer unread.Close()
	defer read.Close()
	if _, err := n.pool.Exec(t.Context(), `INSERT INTO outbox (topic, type, payload) SELECT 'large', 't', to_json(repeat('x', 50000)) FROM generate_series(1, 10)`); err != nil {
		t.Fatal(err)
	}
	events := ssetest.NewParser(read)
	for after := 0; after < 3; {
		if n.streamer.Stats().Ended["stalled"] > 0 {
			after++
		}
		id := n.add(t, "small")
		for {
			e, err := events.Next()
			if err != nil {
				t.Fatalf("%d events after the other stream has ended: %v", after, err)
			}
			if strings.HasPrefix(e.ID, id+".") {
				break
			}
		}
	}
}

// A stream without pending data does not count as unread: over HTTP/2 too it lasts,
// however rare its heartbeats are.
func TestStream_OverHTTP2LastsBetweenHeartbeats(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node) {
		n.streamer.Stall, n.streamer.Heartbeat = 100*time.Millisecond, time.Hour
		n.start = func(server *httptest.Server) {
			server.EnableHTTP2 = true
			server.StartTLS()
		}
	})
	c := ssetest.Open(t, n.events("topic=a"))
	c.Until("outcrier.live")
	other := ssetest.Open(t, n.events("topic=b"))
	other.Until("outcrier.live")
	began := time.Now()
	for time.Since(began) < 3*n.streamer.Stall { // what the stall time would have ended by now
		n.add(t, "b")
		other.Next()
	}
	id := n.add(t, "a")
	if e := c.Next(); !strings.HasPrefix(e.ID, id+".") {
		t.Errorf("%+v, want id %s", e, id)
	}
}

// The memory of one principal's polls is bounded: they get fewer events at a time, or
// an answer to try again, and lose none.
func TestBuffered_PollsOfOnePrincipalGetSmallerAnswers(t *testing.T) {
	t.Parallel()
	n := closed(t, func(access *handlers.Access) { access.Limits.BufferedPerPrincipal = 1 }) // room for one body: 256 KiB
	if _, err := n.pool.Exec(t.Context(), `INSERT INTO outbox (topic, type, payload) SELECT 'a', 't', to_json(repeat('x', 50000)) FROM generate_series(1, 10)`); err != nil {
		t.Fatal(err)
	}
	n.seen(t, 10)
	as := asJSON("ann", "a")
	after, got := "earliest", 0
	for got < 10 {
		var p struct {
			Events   []json.RawMessage
			Position string
		}
		if a := do(t, "GET", n.events("topic=a&wait=0&from="+after), "", as...); json.Unmarshal([]byte(a.body), &p) != nil {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if len(p.Events) == 0 || len(p.Events) > 3 {
			t.Fatalf("an answer of %d events of 50 kB", len(p.Events))
		}
		got, after = got+len(p.Events), p.Position
	}
	if got != 10 {
		t.Errorf("%d events in all, want 10", got)
	}
	n.add1MB(t)
	do(t, "GET", n.events("topic=b&wait=0&from=earliest"), "", asJSON("bob", "b")...).
		wantProblem(t, 429, "--max-buffered-per-principal")
}

// add1MB appends an event on b that is too large for the node.
func (n *node) add1MB(t *testing.T) {
	t.Helper()
	if _, err := n.pool.Exec(t.Context(), `INSERT INTO outbox (topic, type, payload) SELECT 'b', 't', to_json(repeat('x', 900000))`); err != nil {
		t.Fatal(err)
	}
	n.seen(t, 11)
}

// The rate of openings is each principal's own. A stream too many comes back by itself.
func TestLimits_OpeningsOfOnePrincipal(t *testing.T) {
	t.Parallel()
	n := closed(t, func(access *handlers.Access) { access.Limits.OpenRate = 0.001 })
	ann, bob := asJSON("ann", "a"), asJSON("bob", "a")
	const atOnce = 200
	for i := range atOnce {
		address := n.events("topic=a&wait=0")
		if i%2 == 1 {
			address = n.url + "/events/1"
		}
		if a := do(t, "GET", address, "", ann...); a.status != 200 && a.status != 404 {
			t.Fatalf("opening %d: %d %s", i, a.status, a.body)
		}
	}
	a := do(t, "GET", n.events("topic=a&wait=0"), "", ann...)
	a.wantProblem(t, 429, "--open-rate")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	do(t, "GET", n.url+"/events/1", "", ann...).wantProblem(t, 429, "--open-rate")
	events := ssetest.Open(t, n.events("topic=a"), bearer(mint("ann", time.Minute, "a"))...).End()
	if len(events) != 1 || events[0].Type != "outcrier.goodbye" || events[0].Data != `{"reason":"too_fast"}` {
		t.Errorf("a stream too many is told %+v", events)
	}
	if a := do(t, "GET", n.events("topic=a&wait=0"), "", bob...); a.status != 200 {
		t.Errorf("another is told %d %s", a.status, a.body)
	}
}

// Bytes count, whatever the number of events they are.
func TestLimits_BytesPublished(t *testing.T) {
	t.Parallel()
	n := closed(t, func(access *handlers.Access) { access.Limits.PublishBytes = 1 }) // and one body at once, of 64 KiB
	body := fmt.Sprintf(`{"topic":"a","type":"t","payload":%q}`, strings.Repeat("x", 40_000))
	ann, bob := bearer(mint("ann", time.Hour, "a")), bearer(mint("bob", time.Hour, "a"))
	n.post(t, body, ann...).ids(t)
	n.post(t, body, ann...).wantProblem(t, 429, "--publish-bytes")
	n.post(t, body, bob...).ids(t)
	if n.count(t) != 2 {
		t.Errorf("%d events are stored, want 2", n.count(t))
	}
}

func TestLimits_HowFarAheadEventsAreScheduled(t *testing.T) {
	t.Parallel()
	n := closed(t, func(access *handlers.Access) { access.Limits.ScheduleAhead = time.Hour })
	at := func(ahead time.Duration) string {
		return fmt.Sprintf(`{"topic":"a","type":"t","deliver_at":%q}`, time.Now().Add(ahead).Format(time.RFC3339))
	}
	ann := bearer(mint("ann", time.Hour, "a"))
	n.post(t, at(59*time.Minute), ann...).ids(t)
	n.post(t, at(61*time.Minute), ann...).wantProblem(t, 422, "--schedule-ahead")
	n.post(t, "["+at(time.Minute)+","+at(100*365*24*time.Hour)+"]", ann...).wantProblem(t, 422, "--schedule-ahead")
	if n.count(t) != 1 {
		t.Errorf("%d events are stored, want 1", n.count(t))
	}
}

// What needs no body is decided before one is read: a token that may publish nothing is
// refused before the first byte of it came.
func TestAppend_NobodyIsReadWhoMayNotPublish(t *testing.T) {
	t.Parallel()
	n := closed(t, func(access *handlers.Access) { access.Limits.BodyTime = time.Second })
	reader := must(auth.Mint(tokenKey, auth.Claims{Subject: "ann", Subscribe: []outbox.Pattern{"a"}}, time.Hour))
	for _, length := range []string{"Content-Length: 60000", "Transfer-Encoding: chunked"} {
		a, _ := n.send(t, n.ask("POST /events", "Authorization: Bearer "+reader, jsonBody, length))
		a.wantProblem(t, 403, "publishing is not granted")
	}
	a, _ := n.send(t, n.ask("POST /events", "Authorization: Bearer "+mint("ann", time.Hour, "a"), jsonBody, "Content-Length: 1000000000"))
	a.wantProblem(t, 413, "at most")
}

// JSON is bounded before it is parsed: by how deep it nests, and by how many events, members
// and headers there are.
func TestAppend_BoundsJSONWhileItIsParsed(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	nested := func(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }
	event := func(payload string) string { return `{"topic":"a","type":"t","payload":` + payload + `}` }
	var members, headers strings.Builder
	for i := range 129 {
		fmt.Fprintf(&members, `,"x%d":"y"`, i)
		fmt.Fprintf(&headers, `"x%d":"y",`, i)
	}
	n.post(t, event(nested(64))).ids(t)
	n.post(t, "["+event(nested(64))+"]").ids(t)
	n.post(t, event(`"`+nested(500)+`\"[["`)).ids(t) // text nests nothing
	for body, says := range map[string]string{
		event(nested(65)):               "64 levels",
		"[" + event(nested(65)) + "]":   "64",
		event(nested(9_998)):            "64",
		strings.Repeat("[", 30_000):     "64",
		strings.Repeat(`{"a":`, 10_000): "64",
	} {
		n.post(t, body).wantProblem(t, 422, says)
	}
	for body, says := range map[string]string{
		"[" + strings.Repeat("0,", 30_000) + "0]":                                           "30001 events",
		"[" + strings.Repeat("0,", 999) + "0]":                                              "event 0",
		"[" + event("1") + strings.Repeat(",[]", 998) + "]":                                 "event 1",
		`{"specversion":"1.0","topic":"a","type":"t","source":"/"` + members.String() + `}`: "members",
		`{"topic":"a","type":"t","headers":{` + headers.String() + `"z":"z"}}`:              "130 headers",
	} {
		n.post(t, body).wantProblem(t, 400, says)
	}
	if n.count(t) != 3 {
		t.Errorf("%d events are stored, want 3", n.count(t))
	}
}
