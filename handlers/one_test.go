package handlers_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// One event is there by its id as soon as it is appended, for who may read its topic; for
// all others it is as if there were none.
func TestEvent_IsReadByItsID(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node) {
		n.access = closedAccess()
		n.audit = &audit.Recorder{Pool: n.pool, Node: "n1"}
	})
	stopped := n.runAudit(t)
	publisher := bearer(mint("pub", time.Hour, "a/**", "b/**"))
	var ids []int64
	for _, topic := range []string{"a", "b/secret", "a/2"} {
		ids = append(ids, n.post(t, `{"topic":"`+topic+`","type":"test.added","payload":{ "n": 1.0 }}`, publisher...).ids(t)...)
	}
	at := func(id any) string { return fmt.Sprintf("%s/events/%v", n.url, id) }
	a := do(t, "GET", at(ids[2]), "", bearer(ann)...)
	var event struct {
		ID, Topic string
		Data      json.RawMessage
	}
	if err := json.Unmarshal([]byte(a.body), &event); err != nil || a.status != 200 || event.ID != strconv.FormatInt(ids[2], 10) || event.Topic != "a/2" || string(event.Data) != `{ "n": 1.0 }` {
		t.Errorf("%d %s", a.status, a.body)
	}
	if kind, cached := a.header.Get("Content-Type"), a.header.Get("Cache-Control"); kind != "application/cloudevents+json" || cached != "no-store, no-transform" {
		t.Errorf("it is %s, %s", kind, cached)
	}
	if a := do(t, "GET", at(ids[0])+"?format=payload", "", bearer(ann)...); a.body != `{ "n": 1.0 }` || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s, %s", a.status, a.body, a.header.Get("Content-Type"))
	}
	hidden, none := do(t, "GET", at(ids[1]), "", bearer(ann)...), do(t, "GET", at(999), "", bearer(ann)...)
	if hidden.wantProblem(t, 404, "no event"); strings.ReplaceAll(hidden.body, fmt.Sprint(ids[1]), "999") != none.body {
		t.Errorf("one that is not granted is answered %s, one that there is not %s", hidden.body, none.body)
	}
	if a := do(t, "GET", at(ids[1]), "", bearer(mint("bob", time.Hour, "b/**"))...); a.status != 200 {
		t.Errorf("who may read it gets %d %s", a.status, a.body)
	}
	do(t, "GET", at(ids[0]), "").wantProblem(t, 401)
	for _, bad := range []string{"0", "-1", "x", "1.5", "99999999999999999999", "%00"} {
		do(t, "GET", at(bad), "", bearer(ann)...).wantProblem(t, 400, "whole number")
	}
	do(t, "GET", at(ids[0])+"?topic=a", "", bearer(ann)...).wantProblem(t, 400, "topic", "format")
	do(t, "GET", at(ids[0])+"?format=xml", "", bearer(ann)...).wantProblem(t, 400, "format")
	do(t, "POST", at(ids[0]), "{}", bearer(ann)...).wantProblem(t, 405, "GET")
	if _, err := n.pool.Exec(t.Context(), `SELECT outcrier.erase($1::bigint, 'asked')`, ids[0]); err != nil {
		t.Fatal(err)
	}
	do(t, "GET", at(ids[0]), "", bearer(ann)...).wantProblem(t, 404, "no event")
	stopped()
	// Exactly the events that were read are on record; the first of the topic is
	// erased, and so has no receipt any more.
	if got, want := n.receipts(t), []receipt{{"b/secret", "polled"}, {"a/2", "polled"}}; !slices.Equal(got, want) {
		t.Errorf("on record are %v, want %v", got, want)
	}
}

// A HEAD is answered like a GET, without a body, and opens no stream and waits for none.
func TestHead_IsAnsweredLikeGet(t *testing.T) {
	t.Parallel()
	n := administered(t, nil)
	n.add(t, "a")
	for path, headers := range map[string][]string{
		"/events?topic=a": bearer(ann), "/events?topic=a&wait=20s": append(bearer(ann), "Accept", jsonAll), "/events/1": bearer(ann), "/catalogue": bearer(ann),
		"/healthz": nil, "/readyz": nil, "/client.js": nil, "/openapi.yaml": nil, "/admin": nil, "/admin/api/overview": bearer(root),
		"/events?topic=b": bearer(ann), "/events": bearer(ann), "/events?topic=a&accept": {"Accept", "image/png"}, "/nothing": nil,
	} {
		began := time.Now()
		head := do(t, "HEAD", n.url+path, "", headers...)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s: it took %v", path, took)
		}
		get := do(t, "GET", n.url+strings.Replace(path, "wait=20s", "wait=0", 1), "", headers...)
		for _, name := range []string{"Content-Type", "Cache-Control", "Vary", "WWW-Authenticate"} {
			if a, b := head.header.Get(name), get.header.Get(name); a != b {
				t.Errorf("%s: %s is %q, and of a GET %q", path, name, a, b)
			}
		}
		if head.status != get.status || head.body != "" && !strings.Contains(head.body, "does not end") {
			t.Errorf("%s: %d %q, and of a GET %d", path, head.status, head.body, get.status)
		}
	}
	eventually(t, func() bool { return n.streamer.Open() == 0 }) // those of the GETs
	a, rest := n.send(t, n.ask("HEAD /events?topic=a", bearer(ann)[0]+": "+bearer(ann)[1]))
	if a.status != 200 || rest != "" || n.streamer.Open() != 0 {
		t.Errorf("%d, %q behind it, %d streams", a.status, rest, n.streamer.Open())
	}
	if a := do(t, "PUT", n.url+"/admin/api/overview", "", bearer(root)...); !strings.Contains(a.header.Get("Allow"), "HEAD") {
		t.Errorf("Allow is %s", a.header.Get("Allow"))
	}
}

// The newest events of a topic, to fill a list, and all that comes after them, each once.
func TestLast_GivesTheNewestAndThenAll(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	var want, rare []string
	if _, err := n.pool.Exec(t.Context(), `INSERT INTO outbox (topic, type) SELECT CASE WHEN i % 500 = 0 THEN 'rare' ELSE 'user/' || i % 3 END, 'test.added' FROM generate_series(1, 3000) AS i`); err != nil {
		t.Fatal(err)
	}
	n.seen(t, 3000)
	for i := 1; i <= 3000; i++ {
		if i%500 == 0 {
			rare = append(rare, strconv.Itoa(i))
		} else if i%3 == 1 {
			want = append(want, strconv.Itoa(i))
		}
	}
	for query, want := range map[string][]string{
		"topic=user/1&last=50":                        want[len(want)-50:],
		"topic=user/1&last=1":                         want[len(want)-1:],
		"topic=user/1&from=last:7":                    want[len(want)-7:],
		"topic=rare&last=3":                           rare[3:],
		"topic=rare&last=6":                           rare,
		"topic=rare&last=50":                          rare,
		"topic=rare&topic=nothing&last=2&type=test.*": rare[4:],
		"topic=nothing&last=5":                        nil,
		"topic=**&last=2":                             {"2999", "3000"},
		"topic=*&last=2":                              rare[4:],
		"topic=user/1&last=50&type=other":             nil,
	} {
		p := n.poll(t, query+"&wait=0")
		if !slices.Equal(p.ids(), want) || p.Gap != nil {
			t.Errorf("%s: %v, want %v", query, p.ids(), want)
		}
		if p := n.poll(t, strings.Replace(strings.Replace(query, "last=", "x=", 1), "from=last:", "x=", 1)[:strings.Index(query, "&")]+"&wait=0&after="+q(p.Position)); len(p.Events) != 0 {
			t.Errorf("%s: behind it come %v", query, p.ids())
		}
		c := ssetest.Open(t, n.events(query))
		var got []string
		for e := c.Next(); e.Type != "outcrier.live"; e = c.Next() {
			if id, _, _ := strings.Cut(e.ID, "."); e.Type == "test.added" {
				got = append(got, id)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: on a stream come %v, want %v", query, got, want)
		}
		c.Close()
	}
	// A stream that is cut off within them goes on where it was.
	c := ssetest.Open(t, n.events("topic=user/1&last=50"))
	hello := c.Until("outcrier.hello")
	third := c.Next()
	for range 2 {
		third = c.Next()
	}
	c.Close()
	end := n.poll(t, "topic=user/1&last=1&wait=0").Position
	next := n.add(t, "user/1")
	if p := n.poll(t, "topic=user/1&wait=20s&after="+q(end)); !slices.Equal(p.ids(), []string{next}) { // the node has read it by then
		t.Fatalf("behind %s comes %v, want %s", end, p.ids(), next)
	}
	for from, want := range map[string][]string{hello.ID: append(slices.Clone(want[len(want)-50:]), next), third.ID: append(slices.Clone(want[len(want)-47:]), next)} {
		if p := n.poll(t, "topic=user/1&wait=0&after="+q(from)); !slices.Equal(p.ids(), want) || p.Gap != nil {
			t.Errorf("from %s: %v, want %v", from, p.ids(), want)
		}
	}
	for query, says := range map[string]string{"last=0": "from 1 to 1000", "last=1001": "from 1 to 1000", "last=x": "from 1 to 1000", "from=last:": "last:50", "from=last:-1": "from 1 to 1000", "last=5&from=1h": "not both"} {
		do(t, "GET", n.events("topic=a&"+query), "", "Accept", jsonAll).wantProblem(t, http.StatusBadRequest, says)
	}
}

// An event that is too large for a client is found at its reference, relative to the
// stream.
func TestMaxData_IsReadByItsReference(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	payload := `"` + strings.Repeat("x", 5000) + `"`
	n.post(t, `{"topic":"a","type":"test.added","payload":`+payload+`}`).ids(t)
	stream := ssetest.Open(t, n.events("topic=a&from=earliest&max_data=2KiB"))
	var event struct{ ID, Dataref string }
	if e := stream.Until("test.added"); json.Unmarshal([]byte(e.Data), &event) != nil || len(e.Data) > 2<<10 {
		t.Fatalf("%+v", e)
	}
	base, err := url.Parse(n.events("topic=a"))
	if err != nil {
		t.Fatal(err)
	}
	at, err := base.Parse(event.Dataref)
	if err != nil {
		t.Fatal(err)
	}
	if a := do(t, "GET", at.String()+"?format=payload", ""); a.body != payload {
		t.Errorf("%s: %d %.200s", at, a.status, a.body)
	}
	if p := n.poll(t, "topic=a&from=earliest&max_data=1MiB"); len(p.Events) != 1 || string(p.Events[0].Data) != payload {
		t.Errorf("%+v", p)
	}
	for _, bad := range []string{"max_data=1023", "max_data=0", "max_data=-5KiB", "max_data=64kb", "max_data=KiB", "max_data=99999999999", "max_data=64KiB&format=payload"} {
		do(t, "GET", n.events("topic=a&"+bad), "", "Accept", jsonAll).wantProblem(t, http.StatusBadRequest, "max_data", "64KiB")
	}
}
