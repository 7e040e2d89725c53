package handlers_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse"
	"github.com/outcrier/outcrier/sse/hub"
	"github.com/outcrier/outcrier/sse/ssetest"
)

const (
	stream  = "text/event-stream"
	jsonAll = "application/json"
	// streamMedia is what a stream says that it is.
	streamMedia = stream + "; charset=utf-8"
)

func TestEvents_BadRequestSaysWhatIsWrongAndWhatIsAllowed(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	topics := func(k int) string { return strings.Repeat("topic=a&", k) }
	for name, test := range map[string]struct {
		accept, query string
		status        int
		says          []string
	}{
		"no topic":                      {stream, "", 400, []string{"no topic", "topic=user/42"}},
		"no topic in a poll":            {jsonAll, "wait=0", 400, []string{"no topic"}},
		"topic empty":                   {stream, "topic=", 400, []string{"topic is empty"}},
		"topic empty among others":      {stream, "topic=a&topic=", 400, []string{"topic is empty"}},
		"too many topics":               {stream, topics(257), 400, []string{"257", "at most 256"}},
		"too many types":                {stream, "topic=a" + strings.Repeat("&type=t", 257), 400, []string{"257", "at most 256"}},
		"topic too long":                {stream, "topic=" + strings.Repeat("a", 256), 400, []string{"256 bytes", "at most 255"}},
		"topic with an empty segment":   {stream, "topic=a//b", 400, []string{"empty segments", `"/"`}},
		"topic with a slash behind":     {stream, "topic=a/", 400, []string{"empty segments"}},
		"topic with LF":                 {stream, "topic=a%0Ab", 400, []string{"control characters"}},
		"topic with NUL":                {stream, "topic=a%00b", 400, []string{"control characters"}},
		"topic with C1":                 {stream, "topic=a" + q("\u0085"), 400, []string{"control characters"}},
		"topic not UTF-8":               {stream, "topic=a%ff", 400, []string{"UTF-8"}},
		"a star within a segment":       {stream, "topic=a*", 400, []string{`"*" must be a whole segment`}},
		"two stars in the middle":       {stream, "topic=**/a", 400, []string{`"**" is allowed only as the last segment`}},
		"type empty":                    {stream, "topic=a&type=", 400, []string{"type is empty"}},
		"type too long":                 {stream, "topic=a&type=" + strings.Repeat("t", 256), 400, []string{"at most 255"}},
		"type with CR":                  {stream, "topic=a&type=t%0Dx", 400, []string{"control characters"}},
		"type not UTF-8":                {stream, "topic=a&type=%ff", 400, []string{"UTF-8"}},
		"a star within a type":          {stream, "topic=a&type=a*b", 400, []string{`"*" is allowed only at the end`}},
		"a name unknown":                {stream, "topic=a&topics=b", 400, []string{`"topics"`, "topic, type, from, last, format, names, max_data"}},
		"a name in another case":        {stream, "Topic=a", 400, []string{`"Topic"`}},
		"limit of a stream":             {stream, "topic=a&limit=5", 400, []string{`"limit"`}},
		"wait of a stream":              {stream, "topic=a&wait=5s", 400, []string{`"wait"`}},
		"after of a stream":             {stream, "topic=a&after=5", 400, []string{`"after"`}},
		"a broken escape":               {stream, "topic=a&type=%zz", 400, nil},
		"a semicolon":                   {stream, "topic=a&type=b;c", 400, nil},
		"from twice":                    {stream, "topic=a&from=now&from=now", 400, []string{"from", "2 times", "once"}},
		"format twice":                  {stream, "topic=a&format=payload&format=payload", 400, []string{"format", "once"}},
		"last_event_id twice":           {stream, "topic=a&last_event_id=1&last_event_id=1", 400, []string{"last_event_id", "once"}},
		"format unknown":                {stream, "topic=a&format=xml", 400, []string{`"xml"`, "cloudevents and payload"}},
		"names unknown":                 {stream, "topic=a&names=all", 400, []string{`"all"`, "type and message"}},
		"from unknown":                  {stream, "topic=a&from=yesterday", 400, []string{"yesterday", `"now"`, `"earliest"`, "RFC 3339", "1h"}},
		"from a negative duration":      {stream, "topic=a&from=-1h", 400, []string{"positive"}},
		"from a duration of nothing":    {stream, "topic=a&from=0s", 400, []string{"positive"}},
		"from a duration out of range":  {stream, "topic=a&from=9999999999h", 400, []string{"from="}},
		"from a day that is not":        {stream, "topic=a&from=2026-02-30T00:00:00Z", 400, []string{"RFC 3339"}},
		"from a local time":             {stream, "topic=a&from=2026-02-03T00:00:00", 400, []string{"RFC 3339"}},
		"from a number":                 {stream, "topic=a&from=42", 400, []string{"from="}},
		"from something long":           {stream, "topic=a&from=" + strings.Repeat("x", 5000), 400, []string{"from="}},
		"limit 0":                       {jsonAll, "topic=a&limit=0", 400, []string{"limit", "1 to 1000"}},
		"limit negative":                {jsonAll, "topic=a&limit=-1", 400, []string{"limit", "1 to 1000"}},
		"limit too large":               {jsonAll, "topic=a&limit=1001", 400, []string{"limit", "1 to 1000", "1001"}},
		"limit huge":                    {jsonAll, "topic=a&limit=99999999999999999999", 400, []string{"limit", "1 to 1000"}},
		"limit no number":               {jsonAll, "topic=a&limit=all", 400, []string{"limit", `"all"`}},
		"limit a fraction":              {jsonAll, "topic=a&limit=1.5", 400, []string{"limit", "whole number"}},
		"limit twice":                   {jsonAll, "topic=a&limit=1&limit=2", 400, []string{"limit", "once"}},
		"wait negative":                 {jsonAll, "topic=a&wait=-1s", 400, []string{"wait", "from 0 to 1m0s"}},
		"wait too long":                 {jsonAll, "topic=a&wait=61s", 400, []string{"wait", "from 0 to 1m0s"}},
		"wait without a unit":           {jsonAll, "topic=a&wait=25", 400, []string{"wait", "25s"}},
		"wait out of range":             {jsonAll, "topic=a&wait=999999999999h", 400, []string{"wait"}},
		"Accept of something else":      {"text/html", "topic=a", 406, []string{stream, jsonAll}},
		"Accept of a type unknown":      {"application/xml, image/png", "topic=a", 406, []string{stream, jsonAll}},
		"Accept that is not media type": {"json", "topic=a", 406, []string{stream, jsonAll}},
	} {
		t.Run(name, func(t *testing.T) {
			do(t, "GET", n.events(test.query), "", "Accept", test.accept).wantProblem(t, test.status, test.says...)
		})
	}
	if open := n.streamer.Open(); open != 0 {
		t.Errorf("%d streams were opened", open)
	}
}

func TestEvents_UnknownRoutesAndMethods(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	for _, path := range []string{"/", "/event", "/events/1/2", "/Events", "/..%2fevents", "/favicon.ico"} {
		do(t, "GET", n.url+path, "").wantProblem(t, 404, "no such path")
	}
	for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS"} {
		a := do(t, method, n.events("topic=a"), "")
		if method == "OPTIONS" && a.status == http.StatusNoContent {
			continue
		}
		a.wantProblem(t, 405, method, "GET", "POST")
		if allow := a.header.Get("Allow"); !strings.Contains(allow, "GET") || !strings.Contains(allow, "POST") {
			t.Errorf("%s: Allow is %q", method, allow)
		}
	}
	do(t, "POST", n.url+"/healthz", "").wantProblem(t, 405, "GET")
}

func TestHome_HasEveryOtherPathAndNoOtherMethod(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	server := httptest.NewServer(handlers.New(handlers.Config{
		Streamer: sse.NewStreamer(hub.New(&hub.Buffer{}), log), TailStatus: new(tail.Tail).Status, Log: log, Access: handlers.Access{Open: true},
		Home: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }),
	}))
	defer server.Close()
	for _, path := range []string{"/", "/p/ada", "/events/1/2"} {
		if a := do(t, "PUT", server.URL+path, ""); a.status != http.StatusTeapot {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	do(t, "PUT", server.URL+"/events", "").wantProblem(t, 405, "PUT", "GET", "POST")
	do(t, "PUT", server.URL+"/events/1", "").wantProblem(t, 405, "PUT", "GET")
	do(t, "DELETE", server.URL+"/readyz", "").wantProblem(t, 405, "DELETE", "GET")
	if a := do(t, "GET", server.URL+"/healthz", ""); a.status != http.StatusOK {
		t.Errorf("healthz: %d", a.status)
	}
}

func TestEvents_AcceptDecides(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	for _, accept := range []string{"", stream, "*/*", "text/*", "text/html, */*;q=0.8", "application/json, text/event-stream", "TEXT/Event-Stream; charset=utf-8"} {
		ssetest.Open(t, n.events("topic=a"), "Accept", accept).Close()
	}
	for _, accept := range []string{jsonAll, "application/json, text/plain, */*", "Application/JSON;q=0.9"} {
		a := do(t, "GET", n.events("topic=a&wait=0"), "", "Accept", accept)
		if a.status != 200 || a.header.Get("Content-Type") != jsonAll {
			t.Errorf("%s: %d, %s", accept, a.status, a.header.Get("Content-Type"))
		}
	}
}

func hello(t *testing.T, e ssetest.Event) (h struct {
	Resumed                  any
	Position, Reason, Action string
	Since                    *time.Time
}) {
	t.Helper()
	if err := json.Unmarshal([]byte(e.Data), &h); err != nil || e.Type != "outcrier.hello" || h.Position != e.ID {
		t.Fatalf("%+v: %v", e, err)
	}
	return h
}

func TestStream_HeadersKeepProxiesOut(t *testing.T) {
	t.Parallel()
	c := ssetest.Open(t, newNode(t, nil).events("topic=a"))
	for name, want := range map[string]string{
		"Content-Type": streamMedia, "Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff", "Vary": "*",
	} {
		if got := c.Response.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestStream_GivesWhatIsCommittedAndResumes(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	n.add(t, "a")
	n.seen(t, 1)
	c := ssetest.Open(t, n.events("topic=a&topic=b/*"))
	if h := hello(t, c.Next()); h.Resumed != false {
		t.Errorf("%+v", h)
	}
	c.Until("outcrier.live")
	want := []string{n.add(t, "a"), n.add(t, "b/1"), n.add(t, "a")}
	n.add(t, "b")
	var last ssetest.Event
	for i, id := range want {
		last = c.Next()
		var e struct{ ID string }
		if err := json.Unmarshal([]byte(last.Data), &e); err != nil || e.ID != id || last.Type != "test.added" || !strings.HasPrefix(last.ID, id+".") {
			t.Errorf("event %d is %+v, want id %s", i, last, id)
		}
	}
	c.Close()
	missed := []string{n.add(t, "b/2"), n.add(t, "a")}
	n.seen(t, 7)
	for _, resume := range []struct{ query, header string }{
		{"topic=a&topic=b/*", last.ID}, {"topic=a&topic=b/*&from=earliest", last.ID},
		{"topic=a&topic=b/*&last_event_id=" + q("0.x"), last.ID},
		{"topic=a&topic=b/*&last_event_id=" + last.ID, ""}, {"topic=a&topic=b/*&lastEventId=" + last.ID, ""},
		{"topic=a&topic=b/*&Last-Event-ID=" + last.ID, ""}, {"topic=a&topic=b/*&from=" + last.ID, ""},
	} {
		var headers []string
		if resume.header != "" {
			headers = []string{"Last-Event-ID", resume.header}
		}
		c := ssetest.Open(t, n.events(resume.query), headers...)
		if h := hello(t, c.Next()); h.Resumed != true || h.Position != last.ID {
			t.Errorf("%s: %+v", resume.query, h)
		}
		for _, id := range missed {
			if e := c.Next(); !strings.HasPrefix(e.ID, id+".") {
				t.Errorf("%s: %+v, want %s", resume.query, e, id)
			}
		}
		if e := c.Next(); e.Type != "outcrier.live" {
			t.Errorf("%s: then %+v", resume.query, e)
		}
		c.Close()
	}
	eventually(t, func() bool { return n.streamer.Open() == 0 && n.streamer.Hub.Subscriptions() == 0 })
}

// badPositions are what clients may send for one, with the reason of the gap.
func badPositions(t *testing.T, n *node) map[string]struct{ position, reason string } {
	n.add(t, "a")
	now := n.position(t)
	id, opaque, _ := strings.Cut(now, ".")
	raw, err := base64.RawURLEncoding.DecodeString(opaque)
	if err != nil {
		t.Fatal(err)
	}
	p, err := n.streamer.Hub.Keys.Open(now)
	if err != nil {
		t.Fatal(err)
	}
	future, other := p, p
	future.Given.Max += 1 << 40
	future.Anchor.XID = future.Given.Max
	other.History++
	damaged := slices.Clone(raw)
	damaged[0] = 0xff
	return map[string]struct{ position, reason string }{
		"no position":   {"garbage", "malformed"},
		"an id":         {"42", "malformed"},
		"empty behind":  {"42.", "malformed"},
		"negative":      {"-" + now, "malformed"},
		"cut":           {now[:len(now)-2], "malformed"},
		"reversed":      {opaque + "." + id, "malformed"},
		"doubled":       {now + now, "malformed"},
		"huge":          {"1." + strings.Repeat("A", 6000), "malformed"},
		"another id":    {id + "0." + opaque, "malformed"},
		"of no key":     {id + ".MAA", "malformed"},
		"of others":     {position.NewKeys().Seal(p), "malformed"},
		"of a version":  {id + "." + base64.RawURLEncoding.EncodeToString(damaged), "malformed"},
		"not UTF-8":     {"1.\xff", "malformed"},
		"future":        {n.streamer.Hub.Keys.Seal(future), "ahead"},
		"other history": {n.streamer.Hub.Keys.Seal(other), "other_history"},
	}
}

func TestStream_BadPositionIsToldAsAGap(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	for name, test := range badPositions(t, n) {
		t.Run(name, func(t *testing.T) {
			for _, c := range []*ssetest.Client{
				ssetest.Open(t, n.events("topic=a"), "Last-Event-ID", test.position),
				ssetest.Open(t, n.events("topic=a&last_event_id="+q(test.position))),
			} {
				h := hello(t, c.Next())
				if h.Resumed != "gap" || h.Reason != test.reason || h.Action != "refetch" || h.Since == nil {
					t.Errorf("%+v, want reason %s", h, test.reason)
				}
				// The browser's own retry does not loop.
				c.Close()
				c = ssetest.Open(t, n.events("topic=a"), "Last-Event-ID", h.Position)
				if again := hello(t, c.Next()); again.Resumed != true {
					t.Errorf("resumed from %s: %+v", h.Position, again)
				}
				c.Close()
			}
		})
	}
}

func TestPoll_BadPositionIsToldAsAGap(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	for name, test := range badPositions(t, n) {
		t.Run(name, func(t *testing.T) {
			p := n.poll(t, "topic=a&after="+q(test.position))
			if p.Gap == nil || p.Gap.Reason != test.reason || p.Gap.Action != "refetch" || p.Gap.Since == nil {
				t.Errorf("%+v, want reason %s", p.Gap, test.reason)
			}
			if p := n.poll(t, "topic=a&wait=0&after="+q(p.Position)); p.Gap != nil {
				t.Errorf("then %+v", p.Gap)
			}
		})
	}
}

func TestPoll_PositionsChain(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	at := n.poll(t, "topic=a&wait=0").Position
	var want []string
	for range 7 {
		want = append(want, n.add(t, "a"))
	}
	n.seen(t, 7)
	var got []string
	for range 4 {
		p := n.poll(t, "topic=a&limit=2&wait=20s&after="+q(at))
		if len(p.Events) > 2 || p.Gap != nil {
			t.Errorf("%+v", p)
		}
		got, at = append(got, p.ids()...), p.Position
	}
	if !slices.Equal(got, want) {
		t.Errorf("polled are %v, want %v", got, want)
	}
	began := time.Now()
	late := make(chan error, 1)
	go func() {
		for n.streamer.Hub.Subscriptions() == 0 {
			time.Sleep(time.Millisecond)
		}
		_, err := n.pool.Exec(context.Background(), `INSERT INTO outbox (topic, type) VALUES ('a', 'test.late')`)
		late <- err
	}()
	p := n.poll(t, "topic=a&wait=30s&after="+q(at))
	if err := <-late; err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); len(p.Events) != 1 || p.Events[0].Type != "test.late" || took > 15*time.Second {
		t.Errorf("%+v after %v", p, took)
	}
	if p := n.poll(t, "topic=a&wait=30ms&after="+q(p.Position)); len(p.Events) != 0 {
		t.Errorf("behind the last: %+v", p)
	}
	if p := n.poll(t, "topic=a&wait=0&from=1h"); len(p.Events) != 8 {
		t.Errorf("an hour back: %+v", p)
	}
	if p := n.poll(t, "topic=a&wait=0&from=earliest&type=test.late"); len(p.Events) != 1 {
		t.Errorf("%+v", p)
	}
}

func TestPoll_PayloadsAreByteForByte(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	payload := "{ \"n\" : 1.0,\t\"n\":\"\\u003c\u2028<é\" ,\r\n \"big\": 12345678901234567890 }"
	if _, err := n.pool.Exec(t.Context(), `INSERT INTO outbox (topic, type, payload) VALUES ('a', 't', $1::text::json)`, payload); err != nil {
		t.Fatal(err)
	}
	p := n.poll(t, "topic=a&from=earliest")
	if len(p.Events) != 1 || string(p.Events[0].Data) != payload {
		t.Errorf("got %q, want %q", p.Events[0].Data, payload)
	}
	a := do(t, "GET", n.events("topic=a&from=earliest&format=payload"), "", "Accept", jsonAll)
	if !strings.Contains(a.body, `{"events":[`+payload+`],"position"`) || a.header.Get("Cache-Control") != "no-store, no-transform" {
		t.Errorf("%q, %v", a.body, a.header)
	}
}

func TestHealth_TellsWhetherTheNodeIsReady(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	for _, path := range []string{"/healthz", "/readyz"} {
		if a := do(t, "GET", n.url+path, ""); a.status != 200 {
			t.Errorf("%s: %d: %s", path, a.status, a.body)
		}
	}
	unreachable(t, n)
	eventually(t, func() bool {
		a := do(t, "GET", n.url+"/readyz", "")
		return a.status == 503 && strings.Contains(a.body, "the database takes no connections")
	})
	if a := do(t, "GET", n.url+"/healthz", ""); a.status != 200 {
		t.Errorf("healthz without a database: %d", a.status)
	}
	reachable(t, n)
	eventually(t, func() bool { return do(t, "GET", n.url+"/readyz", "").status == 200 })
	n.streamer.Drain()
	if a := do(t, "GET", n.url+"/readyz", ""); a.status != 503 || !strings.Contains(a.body, "drains") {
		t.Errorf("readyz in a drain: %d: %s", a.status, a.body)
	}
}

// fromElsewhere runs a statement from another database of the same server.
func fromElsewhere(t *testing.T, n *node, statement string, args ...any) {
	t.Helper()
	config, err := pgx.ParseConfig(n.database)
	if err != nil {
		t.Fatal(err)
	}
	config.Database = "postgres"
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// unreachable ends all connections to the database and refuses new ones.
func unreachable(t *testing.T, n *node) {
	t.Helper()
	name := n.pool.Config().ConnConfig.Database
	fromElsewhere(t, n, `ALTER DATABASE `+name+` ALLOW_CONNECTIONS false`)
	fromElsewhere(t, n, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1`, name)
}

func reachable(t *testing.T, n *node) {
	t.Helper()
	fromElsewhere(t, n, `ALTER DATABASE `+n.pool.Config().ConnConfig.Database+` ALLOW_CONNECTIONS true`)
}

func TestStream_OutlivesTheDatabase(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node) { n.streamer.Heartbeat = 100 * time.Millisecond })
	at := n.position(t)
	want := n.add(t, "a")
	n.seen(t, 1)
	live := ssetest.Open(t, n.events("topic=a"))
	live.Until("outcrier.live")
	unreachable(t, n)
	eventually(t, func() bool { return !n.tail.Status().Following })
	waiting := ssetest.Open(t, n.events("topic=a"), "Last-Event-ID", at)
	for _, c := range []*ssetest.Client{live, waiting} {
		sent := len(c.Raw())
		eventually(t, func() bool { return strings.Count(string(c.Raw()[sent:]), ":\n") > 2 })
	}
	do(t, "GET", n.events("topic=a&from=earliest"), "", "Accept", jsonAll).wantProblem(t, 503, "database is not available")
	do(t, "POST", n.url+"/events", `{"topic":"a","type":"t"}`, "Content-Type", jsonAll).wantProblem(t, 503, "not appended")
	reachable(t, n)
	next := n.add(t, "a")
	for _, id := range []string{want, next} {
		if e := waiting.Until("test.added"); !strings.HasPrefix(e.ID, id+".") {
			t.Errorf("%+v, want %s", e, id)
		}
	}
	if e := live.Until("test.added"); !strings.HasPrefix(e.ID, next+".") {
		t.Errorf("%+v, want %s", e, next)
	}
}

func TestDrain_SaysGoodbyeAndTurnsOthersAway(t *testing.T) {
	t.Parallel()
	var log testkit.Log
	n := newNode(t, func(n *node) {
		n.streamer.DrainTime = 100 * time.Millisecond
		n.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	open := ssetest.Open(t, n.events("topic=a"))
	open.Until("outcrier.live")
	n.streamer.Drain()
	for _, c := range []*ssetest.Client{open, ssetest.Open(t, n.events("topic=a"))} {
		events := c.End()
		if len(events) != 1 || events[0].Type != "outcrier.goodbye" || events[0].Data != `{"reason":"drain"}` || !strings.Contains(string(c.Raw()), "retry: ") {
			t.Errorf("it ends with %+v", events)
		}
	}
	do(t, "GET", n.events("topic=a"), "", "Accept", jsonAll).wantProblem(t, 503, sse.ErrDraining.Error())
	do(t, "POST", n.url+"/events", `{"topic":"a","type":"t"}`, "Content-Type", jsonAll).wantProblem(t, 503, "drains")
	if n.count(t) != 0 {
		t.Error("something was stored")
	}
	if text := log.String(); text != "" {
		t.Errorf("a deploy alarms those who watch the log: %s", text)
	}
}

func TestStream_FullIsToldInBand(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node) { n.streamer.MaxStreams = 1 })
	ssetest.Open(t, n.events("topic=a")).Until("outcrier.live")
	events := ssetest.Open(t, n.events("topic=a")).End()
	if len(events) != 1 || events[0].Type != "outcrier.goodbye" || events[0].Data != `{"reason":"full"}` {
		t.Errorf("%+v", events)
	}
	do(t, "GET", n.events("topic=a"), "", "Accept", jsonAll).wantProblem(t, 503, sse.ErrFull.Error())
}

// A reader who leaves frees everything at once.
func TestStream_ThatIsLeftIsGone(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	for i := range 5 {
		c := ssetest.Open(t, n.events(fmt.Sprintf("topic=a/%d", i)))
		c.Until("outcrier.live")
		c.Close()
	}
	eventually(t, func() bool { return n.streamer.Open() == 0 && n.streamer.Hub.Subscriptions() == 0 })
}
