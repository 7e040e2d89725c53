package handlers_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// socket is a WebSocket as a client sees it.
type socket struct {
	*testing.T
	conn net.Conn
	in   *bufio.Reader
	// protocol is the one that was answered.
	protocol string
	// position is that of the last message which had one.
	position string
}

// closedBy is the close frame that a socket has ended with.
type closedBy struct {
	code   ws.StatusCode
	reason string
}

func (c closedBy) Error() string { return fmt.Sprintf("closed: %d %q", c.code, c.reason) }

// message is one of the server's.
type message struct {
	Position *string
	Event    struct {
		Type, ID, Topic, SpecVersion, DataRef string
		Data                                  json.RawMessage
	}
	// text is all of it as it came, raw the event.
	text []byte
	raw  json.RawMessage
}

// dial tries to open a socket, and returns the status of the answer; headers are pairs of
// name and value.
func (n *node) dial(t *testing.T, query string, protocols []string, headers ...string) (*socket, int) {
	t.Helper()
	header := http.Header{}
	for i := 0; i+1 < len(headers); i += 2 {
		header.Add(headers[i], headers[i+1])
	}
	dialer := ws.Dialer{Header: ws.HandshakeHeaderHTTP(header), Protocols: protocols, Timeout: 20 * time.Second, TLSConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // servers of tests sign for themselves
	conn, in, handshake, err := dialer.Dial(t.Context(), "ws"+strings.TrimPrefix(n.events(query), "http"))
	var status ws.StatusError
	if errors.As(err, &status) {
		return nil, int(status)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if in == nil {
		in = bufio.NewReader(conn)
	}
	return &socket{T: t, conn: conn, in: in, protocol: handshake.Protocol}, http.StatusSwitchingProtocols
}

func (n *node) socket(t *testing.T, query string, headers ...string) *socket {
	t.Helper()
	s, status := n.dial(t, query, nil, headers...)
	if s == nil {
		t.Fatalf("status %d", status)
	}
	return s
}

// read returns the next message, and answers pings.
func (s *socket) read() (m message, err error) {
	_ = s.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		h, err := ws.ReadHeader(s.in)
		if err == nil {
			err = ws.CheckHeader(h, ws.StateClientSide)
		}
		if err != nil {
			return m, err
		}
		text := make([]byte, h.Length)
		if _, err := io.ReadFull(s.in, text); err != nil {
			return m, err
		}
		switch h.OpCode {
		case ws.OpPing:
			_ = s.send(ws.OpPong, string(text)) // a closed one reads no more
			continue
		case ws.OpPong:
			m.Event.Type = "pong"
			m.raw = text
			return m, nil
		case ws.OpClose:
			code, reason := ws.ParseCloseFrameData(text)
			return m, closedBy{code, reason}
		}
		var raw struct{ Event json.RawMessage }
		if err := errors.Join(json.Unmarshal(text, &m), json.Unmarshal(text, &raw)); err != nil || h.OpCode != ws.OpText {
			s.Fatalf("%v message %s: %v", h.OpCode, text, err)
		}
		m.text = text
		if m.raw = raw.Event; m.Position != nil {
			s.position = *m.Position
		}
		return m, nil
	}
}

func (s *socket) next() message {
	s.Helper()
	m, err := s.read()
	if err != nil {
		s.Fatal(err)
	}
	return m
}

// until reads up to the first message of a type, and returns it and the ids of the events
// before it.
func (s *socket) until(kind string) (m message, ids []string) {
	s.Helper()
	late := time.AfterFunc(testkit.Deadline, func() { _ = s.conn.Close() }) // heartbeats come for ever
	defer late.Stop()
	for {
		if m = s.next(); m.Event.Type == kind {
			return m, ids
		}
		if m.Event.ID != "" {
			ids = append(ids, m.Event.ID)
		}
	}
}

// say sends a message.
func (s *socket) say(text string) {
	s.Helper()
	if err := s.send(ws.OpText, text); err != nil {
		s.Fatal(err)
	}
}

// send sends a frame.
func (s *socket) send(kind ws.OpCode, payload string) error {
	return ws.WriteFrame(s.conn, ws.MaskFrameInPlace(ws.NewFrame(kind, true, []byte(payload))))
}

// close closes in order.
func (s *socket) close() {
	s.Helper()
	if err := s.send(ws.OpClose, string(ws.NewCloseFrameBody(ws.StatusNormalClosure, "done"))); err != nil {
		s.Error(err)
	}
}

// wantClose reads to the end, and checks how it is.
func (s *socket) wantClose(code ws.StatusCode, reason string) (last message) {
	s.Helper()
	late := time.AfterFunc(testkit.Deadline, func() { _ = s.conn.Close() }) // heartbeats come for ever
	defer late.Stop()
	for {
		m, err := s.read()
		if err == nil {
			last = m
			continue
		}
		if want := (closedBy{code, reason}); !errors.Is(err, want) {
			s.Errorf("it ends with %v, want %d %q", err, code, reason)
		}
		return last
	}
}

// topics are those that an answer names.
func (m message) topics(t *testing.T) []string {
	t.Helper()
	var data struct{ Topics []string }
	if err := json.Unmarshal(m.Event.Data, &data); err != nil || m.Event.Type != "outcrier.topics" || m.Position == nil {
		t.Errorf("%+v, %s: %v", m, m.raw, err)
	}
	return data.Topics
}

func (m message) wantError(t *testing.T, status int, topic string, says ...string) {
	t.Helper()
	var data handlers.Problem
	if err := json.Unmarshal(m.Event.Data, &data); err != nil || m.Event.Type != "outcrier.error" || m.Position != nil || data.Status != status || data.Topic != topic || data.Title != http.StatusText(status) {
		t.Errorf("%s: %v; want status %d about %q", m.raw, err, status, topic)
	}
	for _, text := range says {
		if !strings.Contains(data.Detail, text) {
			t.Errorf("the detail %q does not say %q", data.Detail, text)
		}
	}
}

// The same query gives the same events at the same positions, on both wires. It runs alone: a
// position has the transactions that were in flight, and those of other databases are among them.
func TestWebSocket_IsTheSameStream(t *testing.T) {
	for name, start := range map[string]func(*httptest.Server){"plain": (*httptest.Server).Start, "over TLS": (*httptest.Server).StartTLS} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, func(n *node) { n.start = start })
			for _, topic := range []string{"a", "b", "a/b"} {
				n.add(t, topic)
			}
			if _, err := n.pool.Exec(t.Context(), `SELECT outcrier.append('b', 'test.large', to_json(repeat('x', 5000)))`); err != nil {
				t.Fatal(err)
			}
			n.seen(t, 4)
			for query, want := range map[string]int{
				"topic=a&topic=a/**&from=earliest": 2 + 2, "topic=**&type=test.*&from=1h": 4 + 4, "topic=a&last=1": 1 + 1,
				"topic=b&from=earliest&max_data=1024": 2 + 2, "topic=b&from=earliest&format=payload": 2 + 2, "topic=*": 3,
			} {
				t.Run(query, func(t *testing.T) {
					seen := n.tail.Status().Events
					events, s := ssetest.Open(t, n.events(query)), n.socket(t, query)
					var bySSE, byWebSocket []string
					sse := func() {
						e := events.Next()
						if e.Type == "outcrier.position" {
							return
						}
						if strings.HasPrefix(e.Type, "outcrier.") { // each stream has its own
							e.ID, e.Data = "", ""
						}
						bySSE = append(bySSE, e.Type+" "+e.ID+" "+e.Data)
					}
					webSocket := func() {
						m := s.next()
						data, position := m.raw, *m.Position
						switch {
						case m.Event.Type == "outcrier.position":
							return
						case strings.HasPrefix(m.Event.Type, "outcrier."):
							data, position = nil, ""
						case m.Event.SpecVersion == "":
							data = m.Event.Data
						}
						byWebSocket = append(byWebSocket, m.Event.Type+" "+position+" "+string(data))
					}
					for len(bySSE) == 0 || !strings.HasPrefix(bySSE[len(bySSE)-1], "outcrier.live") {
						sse()
					}
					for len(byWebSocket) < len(bySSE) {
						webSocket()
					}
					for _, topic := range []string{"a", "a/b", "b"} {
						n.add(t, topic)
					}
					if _, err := n.pool.Exec(t.Context(), `SELECT outcrier.append('b', 'test.large', to_json(repeat('x', 5000)))`); err != nil {
						t.Fatal(err)
					}
					n.seen(t, seen+4)
					for len(bySSE) < want+2 { // hello and live
						sse()
					}
					for len(byWebSocket) < want+2 {
						webSocket()
					}
					if !slices.Equal(bySSE, byWebSocket) {
						t.Errorf("by SSE\n%s\nby WebSocket\n%s", strings.Join(bySSE, "\n"), strings.Join(byWebSocket, "\n"))
					}
				})
			}
		})
	}
}

// A position of the one wire is good on the other.
func TestWebSocket_ResumesWhereTheOtherWireStood(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	events := ssetest.Open(t, n.events("topic=a"))
	events.Until("outcrier.live")
	first := n.add(t, "a")
	position := events.Next().ID
	events.Close()
	second := n.add(t, "a")
	n.seen(t, 2)
	s := n.socket(t, "topic=a&last_event_id="+q(position))
	if hello := s.next(); !strings.Contains(string(hello.Event.Data), `"resumed":true`) || !strings.Contains(string(hello.Event.Data), `"retry":`) {
		t.Errorf("hello is %s", hello.raw)
	}
	if _, ids := s.until("outcrier.live"); !slices.Equal(ids, []string{second}) {
		t.Errorf("after %s come %v, want %s", first, ids, second)
	}
	third := n.add(t, "a")
	if m := s.next(); m.Event.ID != third {
		t.Errorf("live comes %s, want %s", m.raw, third)
	}
	events = ssetest.Open(t, n.events("topic=a"), "Last-Event-ID", s.position)
	if hello, live := events.Next(), events.Next(); !strings.Contains(hello.Data, `"resumed":true`) || live.Type != "outcrier.live" {
		t.Errorf("behind %s comes %+v, and %+v", third, hello, live)
	}
	s = n.socket(t, "topic=a&last_event_id=nonsense")
	if hello := s.next(); !strings.Contains(string(hello.Event.Data), `"resumed":"gap"`) || !strings.Contains(string(hello.Event.Data), `"reason":"malformed"`) {
		t.Errorf("hello is %s", hello.raw)
	}
}

// Topics come and go without a new connection: from the answer on, and exactly then.
func TestWebSocket_TopicsChangeInPlace(t *testing.T) {
	t.Parallel()
	n := closed(t, func(access *handlers.Access) { access.Limits.Topics = 3 })
	token := mint("ann", time.Hour, "a/**", "b", "c", "d", "e")
	s := n.socket(t, "topic=a&from=earliest", bearer(token)...)
	s.until("outcrier.live")
	n.add(t, "b") // before it is added
	n.seen(t, 1)
	s.say(`{"add":["b"]}`)
	answer, ids := s.until("outcrier.topics")
	if got := answer.topics(t); !slices.Equal(got, []string{"a", "b"}) || len(ids) > 0 {
		t.Errorf("the topics are %v, after %v", got, ids)
	}
	want := []string{n.add(t, "b"), n.add(t, "a")}
	n.seen(t, 3)
	s.say(`{"drop":["a","nonsense"],"add":["c","b"]}`)
	answer, ids = s.until("outcrier.topics")
	if got := answer.topics(t); !slices.Equal(got, []string{"b", "c"}) || !slices.Equal(ids, want) {
		t.Errorf("the topics are %v, after %v", got, ids)
	}
	n.add(t, "a")
	want = []string{n.add(t, "c"), n.add(t, "b")}
	n.seen(t, 6)
	s.say(`{"add":["secret/1","a//b","d","e",""]}`)
	var errs []message
	ids = nil
	for {
		m := s.next()
		switch m.Event.Type {
		case "test.added":
			ids = append(ids, m.Event.ID)
			continue
		case "outcrier.error":
			errs = append(errs, m)
			continue
		}
		if got := m.topics(t); !slices.Equal(got, []string{"b", "c", "d"}) {
			t.Errorf("the topics are %v", got)
		}
		break
	}
	if !slices.Equal(ids, want) || len(errs) != 4 {
		t.Fatalf("%v and %d refusals, want %v and 4", ids, len(errs), want)
	}
	errs[0].wantError(t, 403, "secret/1", `"secret/1"`, "not granted")
	errs[1].wantError(t, 400, "a//b", "empty segments")
	errs[2].wantError(t, 400, "e", "at most 3")
	errs[3].wantError(t, 400, "", "empty")
	// All may go, and one come back.
	s.say(`{"drop":["b","c","d"]}`)
	if answer, _ = s.until("outcrier.topics"); len(answer.topics(t)) != 0 {
		t.Errorf("left are %s", answer.raw)
	}
	n.add(t, "b")
	n.seen(t, 7)
	s.say(`{"add":["b"]}`)
	answer, ids = s.until("outcrier.topics")
	if got := answer.topics(t); !slices.Equal(got, []string{"b"}) || len(ids) > 0 {
		t.Errorf("the topics are %v, after %v", got, ids)
	}
	// The events from before can be read by a poll, up to the answer's position.
	p := n.poll(t, "topic=b&from=earliest&until="+q(*answer.Position), bearer(token)...)
	if len(p.Events) != 4 {
		t.Errorf("before the answer are %v", p.ids())
	}
}

func TestWebSocket_TakesANewTokenOfTheSameSubject(t *testing.T) {
	t.Parallel()
	n := closed(t, nil)
	first := mint("ann", 4*time.Second, "a", "b")
	s := n.socket(t, "topic=a&topic=b", bearer(first)...)
	s.until("outcrier.live")
	tell := func(token string) { s.say(fmt.Sprintf(`{"token":%q}`, token)) }
	tell("nonsense")
	s.next().wantError(t, 401, "")
	s.next().topics(t)
	tell(mint("bo", time.Hour, "a", "b"))
	s.next().wantError(t, 403, "", "another subject")
	s.next().topics(t)
	tell(mint("ann", 12*time.Second, "b", "c"))
	s.next().wantError(t, 403, "a")
	if got := s.next().topics(t); !slices.Equal(got, []string{"b"}) {
		t.Errorf("the topics are %v", got)
	}
	s.say(`{"add":["c"]}`)
	if got := s.next().topics(t); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("the topics are %v", got)
	}
	// Beyond the end of the first.
	eventually(t, func() bool {
		return do(t, "GET", n.events("topic=a&wait=0"), "", append(bearer(first), "Accept", jsonAll)...).status == 401
	})
	if n.streamer.Open() != 1 {
		t.Error("it ended with the first token")
	}
	id := n.add(t, "c")
	if m := s.next(); m.Event.ID != id {
		t.Errorf("it is %s, want %s", m.raw, id)
	}
	last := s.wantClose(ws.StatusPolicyViolation, "token_expired")
	if last.Event.Type != "outcrier.goodbye" || !strings.Contains(string(last.Event.Data), `"reason":"token_expired"`) || last.Position == nil {
		t.Errorf("the last word is %s", last.raw)
	}
}

func TestWebSocket_TokenInASubprotocol(t *testing.T) {
	t.Parallel()
	var log testkit.Log
	n := newNode(t, func(n *node) {
		n.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		n.access = closedAccess()
	})
	s, status := n.dial(t, "topic=a", []string{"outcrier", "bearer." + ann})
	if status != http.StatusSwitchingProtocols || s.protocol != "outcrier" {
		t.Fatalf("status %d, %+v", status, s)
	}
	s.until("outcrier.live")
	for name, test := range map[string]struct {
		protocols []string
		headers   []string
		status    int
	}{
		"none":                    {nil, nil, 401},
		"no token":                {[]string{"outcrier"}, nil, 401},
		"a bad one":               {[]string{"outcrier", "bearer.nonsense"}, nil, 401},
		"one that does not grant": {[]string{"outcrier", "bearer." + mint("bo", time.Hour, "b")}, nil, 403},
		"not its own":             {[]string{"outcrier", "bearer." + ann}, bearer("nonsense"), 401},
	} {
		t.Run(name, func(t *testing.T) {
			if _, status := n.dial(t, "topic=a", test.protocols, test.headers...); status != test.status {
				t.Errorf("status %d", status)
			}
		})
	}
	if text := log.String(); strings.Contains(text, ann) || strings.Contains(text, "bearer.") {
		t.Errorf("the log has a token:\n%s", text)
	}
}

// A browser sends its user's cookie with a WebSocket of whatever page, and CORS does not keep
// the page from reading it.
func TestWebSocket_OfAnotherSiteIsRefused(t *testing.T) {
	t.Parallel()
	const friend = "https://friend.example"
	grants := map[string]func(*node) []string{
		"by cookie": func(*node) []string { return []string{"Cookie", auth.Cookie + "=" + ann} },
		"by header": func(*node) []string { return bearer(ann) },
		"open":      func(n *node) []string { n.access = handlers.Access{Open: true}; return nil },
	}
	for name, grant := range grants {
		t.Run(name, func(t *testing.T) {
			var headers []string
			n := newNode(t, func(n *node) {
				n.access = closedAccess()
				headers = grant(n)
				n.access.Origins = []string{friend}
			})
			for from, status := range map[string]int{"": 101, friend: 101, n.url: 101, "https://evil.example": 403, "null": 403, "https://friend.example.evil.example": 403, "http://friend.example": 403} {
				with := slices.Clone(headers)
				if from != "" {
					with = append(with, "Origin", from)
				}
				if _, got := n.dial(t, "topic=a", nil, with...); got != status {
					t.Errorf("from %q: status %d, want %d", from, got, status)
				}
			}
			if _, status := n.dial(t, "topic=a", nil, append(headers, "Origin", n.url, "Sec-Fetch-Site", "cross-site")...); status != 403 {
				t.Errorf("what the browser calls another site: status %d", status)
			}
		})
	}
}

func TestWebSocket_BadHandshakesAreRefused(t *testing.T) {
	t.Parallel()
	n := closed(t, nil)
	good := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Authorization", "Bearer " + ann}
	with := func(name, value string) []string {
		headers := slices.Clone(good)
		for i := 0; i < len(headers); i += 2 {
			if headers[i] == name {
				headers[i+1] = value
			}
		}
		return headers
	}
	for name, test := range map[string]struct {
		query   string
		headers []string
		status  int
		says    []string
	}{
		"another version": {"topic=a", with("Sec-WebSocket-Version", "8"), 426, []string{"13"}},
		"no key":          {"topic=a", with("Sec-WebSocket-Key", ""), 400, []string{"Sec-WebSocket-Key"}},
		"a short key":     {"topic=a", with("Sec-WebSocket-Key", "AAAA"), 400, []string{"16 bytes"}},
		"no token":        {"topic=a", good[:len(good)-2], 401, nil},
		"not granted":     {"topic=b", good, 403, []string{`"b"`}},
		"no topic":        {"", good, 400, []string{"no topic"}},
		"batches":         {"topic=a&batch=1s", good, 400, []string{`"batch"`, "text/event-stream"}},
		"names":           {"topic=a&names=message", good, 400, []string{`"names"`}},
		"until":           {"topic=a&until=1.x", good, 400, []string{`"until"`}},
		"wait":            {"topic=a&wait=1s", good, 400, []string{`"wait"`}},
		"unknown":         {"topic=a&topics=b", good, 400, []string{`"topics"`, "max_data"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := do(t, "GET", n.events(test.query), "", test.headers...)
			a.wantProblem(t, test.status, test.says...)
			if test.status == 426 && a.header.Get("Sec-WebSocket-Version") != "13" {
				t.Errorf("headers %v", a.header)
			}
		})
	}
	// Another upgrade is none of ours, nor one of another hop: it is a stream.
	if a := do(t, "GET", n.events("topic=a"), "", with("Connection", "close")...); a.status != 200 {
		t.Errorf("an upgrade that Connection does not name: %+v", a)
	}
	if a := do(t, "GET", n.events("topic=a"), "", append(bearer(ann), "Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c")...); a.status != 200 {
		t.Errorf("an upgrade to h2c: %+v", a)
	}
}

func TestWebSocket_WhatIsNotUnderstoodEndsIt(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	for name, test := range map[string]struct {
		kind   ws.OpCode
		text   string
		code   ws.StatusCode
		status int
		says   string
	}{
		"binary":           {ws.OpBinary, `{"add":["b"]}`, ws.StatusUnsupportedData, 415, "binary messages are not understood: send text"},
		"no JSON":          {ws.OpText, `add b`, ws.StatusPolicyViolation, 400, `a message must be a JSON object, like {"add":["user/42"]}`},
		"empty":            {ws.OpText, ``, ws.StatusPolicyViolation, 400, `a message must be a JSON object, like {"add":["user/42"]}`},
		"no object":        {ws.OpText, `["b"]`, ws.StatusPolicyViolation, 400, `a message must be a JSON object, like {"add":["user/42"]}`},
		"null":             {ws.OpText, `null`, ws.StatusPolicyViolation, 400, `a message must be a JSON object, like {"add":["user/42"]}`},
		"nothing":          {ws.OpText, `{}`, ws.StatusPolicyViolation, 400, "the message asks for nothing; allowed are add, drop and token"},
		"unknown":          {ws.OpText, `{"subscribe":["b"]}`, ws.StatusPolicyViolation, 400, `unknown member "subscribe"; allowed are add, drop and token`},
		"known and more":   {ws.OpText, `{"add":["b"],"from":"1.x"}`, ws.StatusPolicyViolation, 400, `unknown member "from"; allowed are add, drop and token`},
		"no list":          {ws.OpText, `{"add":"b"}`, ws.StatusPolicyViolation, 400, `add must be an array of topics, like ["user/42"]`},
		"no topics":        {ws.OpText, `{"drop":[1]}`, ws.StatusPolicyViolation, 400, `drop must be an array of topics, like ["user/42"]`},
		"a token of null":  {ws.OpText, `{"token":null}`, ws.StatusPolicyViolation, 400, "token must be a string"},
		"not UTF-8":        {ws.OpText, "{\"add\":[\"\xff\"]}", ws.StatusInvalidFramePayloadData, 400, "the message is not UTF-8"},
		"too long":         {ws.OpText, `{"add":["` + strings.Repeat("b", 64<<10) + `"]}`, ws.StatusMessageTooBig, 413, "a message may have at most 65536 bytes"},
		"a string too big": {ws.OpText, `{"` + strings.Repeat("b", 5000) + `":1}`, ws.StatusPolicyViolation, 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := n.socket(t, "topic=a")
			s.until("outcrier.live")
			if err := s.send(test.kind, test.text); err != nil {
				t.Fatal(err)
			}
			m := s.next()
			m.wantError(t, test.status, "", test.says)
			var closed closedBy
			if _, err := s.read(); !errors.As(err, &closed) || closed.code != test.code {
				t.Errorf("it ends with %v, want %d", err, test.code)
			}
		})
	}
	eventually(t, func() bool { return n.streamer.Open() == 0 })
	if got := n.streamer.Stats().Ended["refused"]; got != 14 {
		t.Errorf("%d are counted", got)
	}
}

// A client that sends messages without end is cut off, and no other client waits.
func TestWebSocket_AFloodOfMessagesEndsIt(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	s := n.socket(t, "topic=a")
	s.until("outcrier.live")
	go func() {
		for s.send(ws.OpText, `{"drop":["b"]}`) == nil { //nolint:revive // until it is closed
		}
	}()
	for {
		m, err := s.read()
		if err != nil {
			t.Fatalf("no word of why: %v", err)
		}
		if m.Event.Type == "outcrier.error" {
			m.wantError(t, 429, "", "too many messages")
			break
		}
	}
	var closed closedBy
	if _, err := s.read(); !errors.As(err, &closed) || closed.code != ws.StatusPolicyViolation {
		t.Errorf("it ends with %v", err)
	}
}

// It runs alone: transactions of other databases would move the position.
func TestWebSocket_AnswersPingsAndTheClose(t *testing.T) {
	n := newNode(t, func(n *node) { n.streamer.Heartbeat = 200 * time.Millisecond })
	s := n.socket(t, "topic=a")
	s.until("outcrier.live")
	position, beats, pongs := s.position, 0, 0
	if err := s.send(ws.OpPing, "are you there"); err != nil {
		t.Fatal(err)
	}
	for beats < 3 || pongs < 1 { // though nothing happens
		switch m := s.next(); {
		case m.Event.Type == "pong" && string(m.raw) == "are you there":
			pongs++
		case m.Event.Type == "outcrier.position" && *m.Position == position && string(m.Event.Data) == "{}":
			beats++
		default:
			t.Fatalf("%+v, %s", m, m.raw)
		}
	}
	s.close()
	s.wantClose(ws.StatusNormalClosure, "")
	eventually(t, func() bool { return n.streamer.Open() == 0 && n.streamer.Stats().Ended["left"] == 1 })
}

func TestWebSocket_DrainIsAGoodbyeAndGoingAway(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node) { n.streamer.DrainTime = 0 })
	s := n.socket(t, "topic=a")
	s.until("outcrier.live")
	n.streamer.Drain()
	last := s.wantClose(ws.StatusGoingAway, "drain")
	var data struct {
		Reason string
		Retry  int
	}
	if err := json.Unmarshal(last.Event.Data, &data); err != nil || last.Event.Type != "outcrier.goodbye" || data.Reason != "drain" || data.Retry < 1 || *last.Position == "" {
		t.Errorf("%s: %v", last.raw, err)
	}
	// And so it is for who comes then.
	s = n.socket(t, "topic=a")
	if last := s.wantClose(ws.StatusGoingAway, "drain"); last.Event.Type != "outcrier.goodbye" || last.Position != nil {
		t.Errorf("who comes later is told %s", last.raw)
	}
	select {
	case <-n.streamer.Drained():
	case <-time.After(20 * time.Second):
		t.Error("it is not drained")
	}
}

func TestWebSocket_CountsAmongTheStreams(t *testing.T) {
	t.Parallel()
	n := closed(t, func(access *handlers.Access) { access.Limits.StreamsPerPrincipal = 2 })
	ssetest.Open(t, n.events("topic=a"), bearer(ann)...).Until("outcrier.live")
	first := n.socket(t, "topic=a", bearer(ann)...)
	first.until("outcrier.live")
	n.wantFull(t, bearer(ann)...)
	s := n.socket(t, "topic=a", bearer(ann)...)
	last := s.wantClose(1013, "too_many")
	var data struct{ Retry int }
	if err := json.Unmarshal(last.Event.Data, &data); err != nil || data.Retry < 15_000 || data.Retry > 45_000 || last.Position != nil {
		t.Errorf("%s: %v", last.raw, err)
	}
	first.close()
	// Its place is free a moment after it has ended.
	eventually(t, func() bool {
		s := n.socket(t, "topic=a", bearer(ann)...)
		for {
			m, err := s.read()
			if err != nil || m.Event.Type == "outcrier.live" {
				return err == nil
			}
		}
	})
}

// One who takes nothing is ended, as on the other wire, and others are served meanwhile.
func TestWebSocket_AStalledReaderIsEnded(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node) { n.streamer.Stall = 200 * time.Millisecond })
	stalled, other := n.socket(t, "topic=a"), n.socket(t, "topic=a")
	stalled.until("outcrier.live")
	other.until("outcrier.live")
	large := bytes.Repeat([]byte("x"), 500_000)
	payload, _ := json.Marshal(string(large))
	eventually(t, func() bool {
		if _, err := n.pool.Exec(t.Context(), `SELECT outcrier.append('a', 'test.added', $1::json)`, string(payload)); err != nil {
			t.Fatal(err)
		}
		other.until("test.added")
		return n.streamer.Stats().Ended["stalled"] == 1
	})
}

// The record says which topics were followed when.
func TestWebSocket_AuditFollowsTheTopics(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node) { n.audit = &audit.Recorder{Pool: n.pool, Node: "n1"} })
	stopped := n.runAudit(t)
	s := n.socket(t, "topic=a")
	s.until("outcrier.live")
	n.add(t, "a")
	s.until("test.added")
	s.say(`{"drop":["a"],"add":["b"]}`)
	s.until("outcrier.topics")
	n.add(t, "a")
	n.add(t, "b")
	s.until("test.added")
	s.close()
	eventually(t, func() bool { return n.streamer.Open() == 0 })
	stopped()
	rows, err := n.pool.Query(t.Context(), `SELECT array_to_string(topics, ' ') || ' ' || events || ' ' || end_reason FROM outcrier.stream ORDER BY opened_at`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if want := []string{"a 1 topics", "b 1 left"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("on record are %q, want %q; %v", got, want, err)
	}
	if got, want := n.receipts(t), []receipt{{"a", "topics"}, {"b", "left"}}; !slices.Equal(got, want) {
		t.Errorf("receipts are %v, want %v", got, want)
	}
}
