package handlers_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// wantFull checks that a reader gets neither stream nor poll, in a way that an
// EventSource survives.
func (n *node) wantFull(t *testing.T, headers ...string) {
	t.Helper()
	c := ssetest.Open(t, n.events("topic=a"), headers...)
	if events := c.End(); len(events) != 1 || events[0].Type != "outcrier.goodbye" || events[0].Data != `{"reason":"too_many"}` {
		t.Errorf("it is told %+v", events)
	}
	_, retry, _ := strings.Cut(string(c.Raw()), "retry: ")
	retry, _, _ = strings.Cut(retry, "\n")
	if ms, err := strconv.Atoi(retry); err != nil || ms < 15_000 || ms > 45_000 {
		t.Errorf("it is to come back after %q ms", retry)
	}
	a := do(t, "GET", n.events("topic=a&wait=0"), "", append(headers, "Accept", jsonAll)...)
	a.wantProblem(t, 429, "too many streams")
	if a.header.Get("Retry-After") != "30" {
		t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
	}
}

func TestLimits_StreamsOfOnePrincipal(t *testing.T) {
	t.Parallel()
	n := closed(t, func(access *handlers.Access) { access.Limits.StreamsPerPrincipal = 2 })
	first := ssetest.Open(t, n.events("topic=a"), bearer(ann)...)
	first.Until("outcrier.live")
	// Another token is no other principal.
	ssetest.Open(t, n.events("topic=a"), bearer(mint("ann", 2*time.Hour, "a"))...).Until("outcrier.live")
	n.wantFull(t, bearer(ann)...)
	// Other principals are not limited by it.
	ssetest.Open(t, n.events("topic=a"), bearer(mint("bo", time.Hour, "a"))...).Until("outcrier.live")
	// Who has no name is counted by token.
	for i := range 2 {
		nameless := mint("", time.Duration(i+1)*time.Hour, "a")
		for range 2 {
			ssetest.Open(t, n.events("topic=a"), bearer(nameless)...).Until("outcrier.live")
		}
		n.wantFull(t, bearer(nameless)...)
	}
	if got := n.access.Refusals.TooMany.Load(); got != 6 {
		t.Errorf("%d counted", got)
	}
	// A place that is left is free.
	before := n.streamer.Open()
	first.Close()
	eventually(t, func() bool { return n.streamer.Open() == before-1 })
	eventually(t, func() bool {
		return do(t, "GET", n.events("topic=a&wait=0"), "", append(bearer(ann), "Accept", jsonAll)...).status == 200
	})
}

func TestLimits_StreamsOfOneAddress(t *testing.T) {
	t.Parallel()
	n := closed(t, func(access *handlers.Access) { access.Limits.StreamsPerAddress = 1 })
	ssetest.Open(t, n.events("topic=a"), bearer(ann)...).Until("outcrier.live")
	bo := bearer(mint("bo", time.Hour, "a"))
	n.wantFull(t, bo...)
	// What a client says of itself is nothing.
	for _, name := range []string{"X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP"} {
		n.wantFull(t, append(bo, name, "192.0.2.7")...)
	}
}

func TestLimits_AddressesBehindAProxy(t *testing.T) {
	t.Parallel()
	n := closed(t, func(access *handlers.Access) {
		access.Limits.StreamsPerAddress = 1
		access.Proxies.Networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	})
	from := func(hops string) []string { return append(bearer(ann), "X-Forwarded-For", hops) }
	ssetest.Open(t, n.events("topic=a"), from("192.0.2.7")...).Until("outcrier.live")
	n.wantFull(t, from("192.0.2.7")...)
	n.wantFull(t, from("198.51.100.1, 192.0.2.7")...)       // the client's own words before
	n.wantFull(t, from("10.9.9.9, 192.0.2.7, 10.0.0.1")...) // through two proxies
	n.wantFull(t, append(from("192.0.2.7"), "Forwarded", "for=198.51.100.2")...)
	ssetest.Open(t, n.events("topic=a"), from("192.0.2.7, 192.0.2.8")...).Until("outcrier.live")
	ssetest.Open(t, n.events("topic=a"), from("2001:db8::1")...).Until("outcrier.live")
	n.wantFull(t, from("2001:db8::ffff:1")...) // the same network
	ssetest.Open(t, n.events("topic=a"), from("2001:db8:0:1::1")...).Until("outcrier.live")
}

func TestLimits_EventsPublished(t *testing.T) {
	t.Parallel()
	n := closed(t, func(access *handlers.Access) { access.Limits.PublishRate = 2 })
	many := "[" + strings.TrimSuffix(strings.Repeat(event+",", 990), ",") + "]"
	n.post(t, many, bearer(ann)...).ids(t)
	eleven := "[" + strings.TrimSuffix(strings.Repeat(event+",", 40), ",") + "]"
	a := n.post(t, eleven, bearer(ann)...)
	a.wantProblem(t, 429, "allowed are 2 per second")
	if wait, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || wait < 1 || wait > 20 {
		t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
	}
	n.post(t, many, bearer(mint("bo", time.Hour, "a"))...).ids(t)
	n.post(t, event, bearer(ann)...).ids(t) // what fits still does
	if n.count(t) != 990+990+1 {
		t.Errorf("%d are stored", n.count(t))
	}
}

// A body that does not come holds nothing up: not the answer to who may not, and no
// place for longer than its time.
func TestLimits_SlowBody(t *testing.T) {
	t.Parallel()
	n := administered(t, func(n *node) { n.access.Limits.BodyTime = 5 * time.Second })
	for name, test := range map[string]struct {
		line, status string
		lines        []string
	}{
		"without a token":      {"POST /events", "401", []string{jsonBody, "Content-Length: 100", "", "{"}},
		"to a health check":    {"GET /healthz", "200", []string{"Content-Length: 100", "", "{"}},
		"to no path":           {"POST /nowhere", "404", []string{"Content-Length: 100", "", "{"}},
		"with a token":         {"POST /events", "408", []string{asAnn, jsonBody, "Content-Length: 100", "", "{"}},
		"in chunks":            {"POST /events", "408", []string{asAnn, jsonBody, "Transfer-Encoding: chunked", "", "5\r\n{"}},
		"of a stream":          {"GET /events?topic=a", "400", []string{asAnn, "Content-Length: 100", "", "{"}},
		"of an admin":          {"POST /admin/api/catalogue", "408", []string{"Authorization: Bearer " + root, jsonBody, "Content-Length: 100", "", "{"}},
		"of an admin's change": {"PUT /admin/api/catalogue/trade.executed", "408", []string{"Authorization: Bearer " + root, jsonBody, "Content-Length: 100", "", "{"}},
		"announced, not sent":  {"POST /events", "408", []string{asAnn, jsonBody, "Expect: 100-continue", "Content-Length: 100"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			began := time.Now()
			text := strings.Replace(n.ask(test.line, test.lines...), "Connection: close\r\n", "", 1)
			if _, err := io.WriteString(conn, text); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			first := make([]byte, 1)
			_, _ = conn.Read(first)
			answered := time.Since(began)
			rest, err := io.ReadAll(conn)
			answer := append(first, rest...)
			if err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("%v after %v", err, time.Since(began))
			}
			got := strings.TrimPrefix(string(answer), "HTTP/1.1 100 Continue\r\n\r\n")
			if !strings.HasPrefix(got, "HTTP/1.1 "+test.status) {
				t.Errorf("%q, want %s", got, test.status)
			}
			took := time.Since(began)
			if refused := test.status == "401" || test.status == "404" || test.status == "400"; refused && answered > 5*time.Second || took > 20*time.Second {
				t.Errorf("it was answered after %v, and over after %v", answered, took)
			}
		})
	}
}

func TestStream_ForgesNoFields(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	c := ssetest.Open(t, n.events("topic=a&names=message"))
	c.Until("outcrier.live")
	raw := ssetest.Open(t, n.events("topic=a&format=payload"))
	raw.Until("outcrier.live")
	for _, payload := range []string{
		"{\n\n\"event\":\r\n\r\n1,\r\"data\":2}", `"\n\nevent: outcrier.goodbye\ndata: {}\n\n"`, "\"\u2028\u2029\u0085\"", "\"\ufeff: \"", `"</script><script>alert(1)</script>"`,
	} {
		n.post(t, fmt.Sprintf(`{"topic":"a","type":"t: x","source":"/</script>","payload":%s}`, payload)).ids(t)
		if e := c.Next(); e.Type != "message" || !strings.HasPrefix(e.Data, `{"specversion"`) {
			t.Errorf("%q: %+v", payload, e)
		}
		if e := raw.Next(); e.Type != "t: x" || strings.NewReplacer("\r", " ", "\n", " ", "\u2028", `\u2028`, "\u2029", `\u2029`, "\u0085", `\u0085`).Replace(payload) != e.Data {
			t.Errorf("%q: %+v", payload, e)
		}
	}
}

// A page whose name an attacker lets resolve to loopback is of the same origin as
// the server that needs no token.
func TestOpen_AnswersToNamesOfLoopbackOnly(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	port := n.url[strings.LastIndex(n.url, ":"):]
	for host, status := range map[string]int{
		"127.0.0.1" + port: 200, "localhost" + port: 200, "localhost": 200, "[::1]" + port: 200, "127.1.2.3": 200,
		"evil.example" + port: 421, "127.0.0.1.evil.example" + port: 421, "localhost.evil.example": 421, "192.168.0.7" + port: 421, "0.0.0.0" + port: 421, "": 421,
	} {
		for _, path := range []string{"/events?topic=a&wait=0", "/healthz"} {
			a, _ := n.send(t, "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\nAccept: application/json\r\nConnection: close\r\n\r\n")
			if a.status != status {
				t.Errorf("%q: %d %s, want %d", host, a.status, a.body, status)
			}
		}
	}
	n.post(t, event, "Origin", "https://evil.example").wantProblem(t, 403, "another site")
	n.post(t, event, "Sec-Fetch-Site", "cross-site").wantProblem(t, 403, "another site")
	if n.count(t) != 0 {
		t.Error("something was stored")
	}
}
