package handlers_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// What a person was sent, by which streams, and why not, is answered by the API.
func TestAdmin_AnswersForAPerson(t *testing.T) {
	t.Parallel()
	// What an open stream was sent is on record with its next write.
	n := administered(t, func(n *node) { n.streamer.Heartbeat = 100 * time.Millisecond })
	sent, other := n.add(t, "a/1"), n.add(t, "b")
	n.seen(t, 2)
	stream := ssetest.Open(t, n.events("topic=a/**&from=earliest"), bearer(ann)...)
	stream.Until("outcrier.live")
	type people struct {
		People []admin.Person
		More   bool
	}
	eventually(t, func() bool { return len(answered[people](t, n, "people?prefix=an").People) == 1 })
	eventually(t, func() bool { return len(answered[admin.SentFound](t, n, "people/sent?subject=ann").Events) == 1 })
	if found := answered[admin.SentFound](t, n, "people/sent?subject=ann"); fmt.Sprint(found.Events[0].ID) != sent || !strings.Contains(found.SQL, "outcrier.people") {
		t.Errorf("%+v", found)
	}
	if why := answered[admin.Why](t, n, "people/why?subject=ann&event="+sent); why.Verdict != "sent" {
		t.Errorf("%+v", why)
	}
	if why := answered[admin.Why](t, n, "people/why?subject=ann&event="+other); why.Verdict != "topic" {
		t.Errorf("%+v", why)
	}
	if found := answered[admin.Found](t, n, "unsent"); len(found.Events) != 1 || fmt.Sprint(found.Events[0].ID) != other {
		t.Errorf("%+v", found)
	}
	if trend := answered[admin.Trend](t, n, "trend?by=topic"); len(trend.Series) != 2 || !trend.Exact {
		t.Errorf("%+v", trend)
	}
	for path, says := range map[string]string{
		"people/sent": "subject must be given", "people/why?subject=ann": "subject and event must be given", "people/why?event=1": "subject and event must be given",
		"people/why?subject=ann&event=x": "whole number", "people/sent?subject=a&from=x": "RFC 3339", "unsent?text=a": "text", "unsent?cursor=x": "invalid cursor", "trend?by=payload": "type or topic",
		"streams?slow=yes": "allowed are false and true", "streams?order=up": "allowed are time and sent", "scheduled?failed=1": "allowed are false and true", "scheduled?topic=a//b": "empty segments",
		"erasures?before=x": "whole number", "export": "allowed are csv and json", "export?format=xml": "allowed are csv and json", "export?format=csv&limit=0": "limit", "export?format=csv&cursor=1": "unknown query parameter",
	} {
		n.api(t, "GET", path, "").wantProblem(t, 400, says)
	}

	n.api(t, "DELETE", "streams", "").wantProblem(t, 400, "subject must be given")
	if a := n.api(t, "DELETE", "streams?subject=ann", ""); a.status != 202 || a.body != "{\"streams\":1}\n" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if e := stream.Until("outcrier.goodbye"); e.Data != `{"reason":"ended"}` {
		t.Errorf("it is told %s", e.Data)
	}
	eventually(t, func() bool {
		return n.tell(t, `SELECT count(*) FROM outcrier.stream WHERE end_reason = 'ended' AND end_requested_by = 'root'`) == 1
	})
}

// An event is sent again as one of its own, to its topic or to another one, and once for
// each key.
func TestAdmin_SendsAgain(t *testing.T) {
	t.Parallel()
	n := administered(t, nil)
	if _, err := n.pool.Exec(t.Context(), `INSERT INTO outbox (topic, type, payload, source, headers) VALUES ('a', 'audit.approved', '{"n":  12345678901234567890}', '/desk', '{"traceparent": "x"}')`); err != nil {
		t.Fatal(err)
	}
	type made struct{ ID int64 }
	again := func(body string) int64 {
		t.Helper()
		a := n.api(t, "POST", "history/1/again", body)
		var m made
		if err := json.Unmarshal([]byte(a.body), &m); err != nil || a.status != http.StatusCreated {
			t.Fatalf("%d %s", a.status, a.body)
		}
		return m.ID
	}
	first, second := again(`{}`), again(`{"topic":"user/7","key":"k"}`)
	if repeated := again(`{"topic":"user/7","key":"k"}`); repeated != second {
		t.Errorf("with the same key it is %d, and was %d", repeated, second)
	}
	for id, topic := range map[int64]string{first: "a", second: "user/7"} {
		e := answered[admin.Detail](t, n, fmt.Sprintf("history/%d", id))
		if e.Topic != topic || e.Type != "audit.approved" || e.Payload != `{"n":  12345678901234567890}` || e.Source != "/desk" || e.Headers["resentof"] != "1" || e.Headers["traceparent"] != "x" {
			t.Errorf("%+v", e)
		}
	}
	n.api(t, "POST", "history/1/again", `{"topic":"a//b"}`).wantProblem(t, 422, "empty")
	n.api(t, "POST", "history/1/again", `{"to":"a"}`).wantProblem(t, 400, "unknown field", "allowed are topic and key")
	n.api(t, "POST", "history/1/again", ``).wantProblem(t, 400, "empty")
	n.api(t, "POST", "history/99/again", `{}`).wantProblem(t, 404, "no event 99 is held")
	n.api(t, "POST", "history/x/again", `{}`).wantProblem(t, 400, "whole number")
	do(t, "POST", n.url+"/admin/api/history/1/again", `{}`, append(bearer(root), "Content-Type", "text/plain")...).wantProblem(t, 415)
}

func TestAdmin_PublishesForATest(t *testing.T) {
	t.Parallel()
	n := administered(t, nil)
	stream := ssetest.Open(t, n.events("topic=a"), bearer(ann)...)
	stream.Until("outcrier.live")
	if a := n.api(t, "POST", "events", `{"topic":"a","type":"test.published","payload":{"n": 1.50}}`); a.status != http.StatusCreated || a.body != "{\"id\":1}\n" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if e := stream.Next(); !strings.Contains(e.Data, `"source":"/admin"`) || !strings.Contains(e.Data, `{"n": 1.50}`) {
		t.Errorf("%+v", e)
	}
	n.api(t, "POST", "events", `{"topic":"a"}`).wantProblem(t, 422, "type")
	n.api(t, "POST", "events", `{"topic":"a","type":"outcrier.hello"}`).wantProblem(t, 422, "reserved")
	n.api(t, "POST", "events", `{"topic":"a","type":"t","source":"/bank"}`).wantProblem(t, 400, "unknown field")
	n.api(t, "POST", "events", `{"topic":"a","type":"t"}{}`).wantProblem(t, 400, "more than one")
	// The body does not follow: a client that writes on may not see the answer.
	large, _ := n.send(t, n.ask("POST /admin/api/events", "Authorization: Bearer "+root, "Content-Type: application/json", fmt.Sprint("Content-Length: ", 3<<20)))
	large.wantProblem(t, 413)
	if got := n.count(t); got != 1 {
		t.Errorf("%d events are held", got)
	}
}

// An erasure or redaction needs a reason, and the record says who did it.
func TestAdmin_ErasesWithAReason(t *testing.T) {
	t.Parallel()
	n := administered(t, nil)
	for _, topic := range []string{"a", "a", "user/42", "user/42/x"} {
		n.add(t, topic)
	}
	for body, says := range map[string]string{
		`{"id":1}`: "reason must be given", `{"reason":"r"}`: "either id or pattern", `{"id":1,"pattern":"a","reason":"r"}`: "either id or pattern",
		`{"pattern":"a","payload":{},"reason":"r"}`: "redacts one event", `{"pattern":"a//b","reason":"r"}`: "empty segments", `{"event":1}`: "unknown field", `{"id":"1"}`: "id must be",
	} {
		n.api(t, "POST", "erasures", body).wantProblem(t, 400, says)
	}
	n.api(t, "POST", "erasures", `{"id":99,"reason":"r"}`).wantProblem(t, 404, "no event 99 is held")
	for body, events := range map[string]int{`{"id":1,"reason":"a mistake"}`: 1, `{"pattern":"user/42/**","reason":"account closed"}`: 2, `{"id":2,"payload":{"n":1},"reason":"request 7"}`: 1} {
		if a := n.api(t, "POST", "erasures", body); a.status != http.StatusCreated || a.body != fmt.Sprintf("{\"events\":%d}\n", events) {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	n.api(t, "GET", "history/1", "").wantProblem(t, 404, "was erased")
	if e := answered[admin.Detail](t, n, "history/2"); e.Payload != `{"n":1}` {
		t.Errorf("%+v", e)
	}
	type record struct{ Erasures []admin.Erasure }
	all := answered[record](t, n, "erasures").Erasures
	if len(all) != 3 || slices.ContainsFunc(all, func(e admin.Erasure) bool { return !strings.HasSuffix(e.ErasedBy, " for root") }) {
		t.Errorf("%+v", all)
	}
}

// An export has all that the search finds, whole, and nothing that a spreadsheet runs.
func TestAdmin_ExportsTheSearch(t *testing.T) {
	t.Parallel()
	n := administered(t, nil)
	if _, err := n.pool.Exec(t.Context(), `INSERT INTO outbox (topic, type, payload) SELECT 'a', 't', json_build_object('n', n, 'text', repeat('é"', 500)) FROM generate_series(1, 450) AS n`); err != nil {
		t.Fatal(err)
	}
	if _, err := n.pool.Exec(t.Context(), `INSERT INTO outbox (topic, type, payload, headers) VALUES ('=cmd()', '+1', '"\u0000"', '{"h": "x,\"y"}')`); err != nil {
		t.Fatal(err)
	}
	if _, err := n.pool.Exec(t.Context(), `INSERT INTO outcrier.publication (id, publisher, client_address) VALUES (451, '=shop', '192.0.2.9')`); err != nil {
		t.Fatal(err)
	}
	a := n.api(t, "GET", "export?format=csv", "")
	rows, err := csv.NewReader(strings.NewReader(a.body)).ReadAll()
	if err != nil || len(rows) != 452 || rows[1][2] != "'=cmd()" || rows[1][3] != "'+1" || rows[1][5] != `{"h":"x,\"y"}` || rows[1][6] != "'=shop" || rows[451][0] != "1" || rows[451][6] != "" || len(rows[451][7]) < 1000 {
		t.Errorf("%d rows, %v, %v", len(rows), err, rows[min(1, len(rows)-1)])
	}
	if disposition := a.header.Get("Content-Disposition"); !strings.HasPrefix(disposition, "attachment; filename=outcrier-") || !strings.HasSuffix(disposition, ".csv") {
		t.Error(disposition)
	}
	type file struct {
		Events []struct {
			ID        int64
			Publisher *string
			Payload   json.RawMessage
		}
		Complete bool
	}
	read := func(query string) (f file) {
		t.Helper()
		if err := json.Unmarshal([]byte(n.api(t, "GET", "export?format=json&"+query, "").body), &f); err != nil {
			t.Fatal(err)
		}
		return f
	}
	if f := read("topic=a"); len(f.Events) != 450 || !f.Complete || f.Events[449].ID != 1 || f.Events[449].Publisher != nil {
		t.Errorf("%d events", len(f.Events))
	}
	if f := read("limit=201"); len(f.Events) != 201 || f.Complete || f.Events[0].Publisher == nil || *f.Events[0].Publisher != "=shop" {
		t.Errorf("%d events, complete %v", len(f.Events), f.Complete)
	}
	if f := read("topic=none"); f.Events == nil || len(f.Events) != 0 || !f.Complete {
		t.Errorf("%+v", f)
	}
}

// Without an audit a node lists its own streams, and ends them.
func TestAdmin_ListsAndEndsItsOwnStreamsWithoutAnAudit(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node) {
		n.access = closedAccess()
		n.admin = admin.New(n.pool)
	})
	streams := map[string]*ssetest.Client{}
	for _, topic := range []string{"a", "a/b"} {
		streams[topic] = ssetest.Open(t, n.events("topic="+topic+"&type=t"), bearer(ann)...)
		streams[topic].Until("outcrier.live")
	}
	found := answered[admin.StreamsFound](t, n, "streams?subject=an*")
	if len(found.Streams) != 2 || found.Total != 2 || found.Streams[0].Subject != "ann" || found.Streams[0].Topics[0] != "a/b" || found.Streams[0].Types[0] != "t" || found.Streams[0].Run != 0 {
		t.Fatalf("%+v", found)
	}
	for query, want := range map[string]int{"state=ended": 0, "subject=an": 0, "subject=ann": 2, "node=elsewhere": 0, "slow=true": 0} {
		if got := answered[admin.StreamsFound](t, n, "streams?"+query); len(got.Streams) != want || got.Streams == nil {
			t.Errorf("%s: %+v", query, got)
		}
	}
	if o := answered[handlers.Overview](t, n, "overview"); o.OpenHere != 2 || o.Audit || len(o.Grants) != 5 {
		t.Errorf("%+v", o)
	}
	n.api(t, "DELETE", "streams/0/99", "").wantProblem(t, 404, "no such stream is open")
	n.api(t, "DELETE", "streams/1/1", "").wantProblem(t, 404, "no such stream is open")
	if a := n.api(t, "DELETE", fmt.Sprintf("streams/0/%d", found.Streams[0].Stream), ""); a.status != http.StatusAccepted {
		t.Errorf("%d %s", a.status, a.body)
	}
	if e := streams["a/b"].Until("outcrier.goodbye"); e.Data != `{"reason":"ended"}` {
		t.Errorf("it is told %s", e.Data)
	}
	eventually(t, func() bool { return answered[admin.StreamsFound](t, n, "streams").Total == 1 })
	if a := n.api(t, "DELETE", "streams?subject=ann", ""); a.body != "{\"streams\":1}\n" {
		t.Errorf("%d %s", a.status, a.body)
	}
	streams["a"].Until("outcrier.goodbye")
	eventually(t, func() bool { return answered[admin.StreamsFound](t, n, "streams").Total == 0 })
}

// The charts are of all nodes: each has streams of its own and reads every event, and the
// one that is furthest behind counts.
func TestAdmin_ChartsAllNodes(t *testing.T) {
	t.Parallel()
	n := administered(t, nil)
	const nodesSQL = `
INSERT INTO outcrier.node (run, node, streams, lag, about) VALUES
	(91, 'm1', 3, '0', '{"version": "v1", "settings": {"retention": "7d"}, "slow": [], "samples": [{"at": "2026-11-22T02:00:00Z", "events_per_s": 5, "streams": 3, "lag_s": 0}, {"at": "2026-11-22T02:00:05Z", "events_per_s": 1, "streams": 3, "lag_s": 0}, {"at": "2026-11-22T02:00:10Z", "events_per_s": 0, "streams": 3, "lag_s": 0}]}'),
	(92, 'm2', 4, '0', '{"version": "v2", "settings": {"retention": "1d"}, "slow": [], "samples": [{"at": "2026-11-22T02:00:00Z", "events_per_s": 4.5, "streams": 4, "lag_s": 7}, {"at": "2026-11-22T02:00:05Z", "events_per_s": 2, "streams": 0, "lag_s": 0}]}'),
	(93, 'old', 0, '0', NULL)`
	if _, err := n.pool.Exec(t.Context(), nodesSQL); err != nil {
		t.Fatal(err)
	}
	o := answered[handlers.Overview](t, n, "overview")
	if len(o.Samples) != 2 {
		t.Fatalf("%+v", o.Samples)
	}
	if first := o.Samples[0]; first.Events != 5 || first.Streams != 7 || first.Lag != 7 {
		t.Errorf("%+v", first)
	}
	if second := o.Samples[1]; second.Events != 2 || second.Streams != 3 || second.Lag != 0 {
		t.Errorf("%+v", second)
	}
}
