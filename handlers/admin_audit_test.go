package handlers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/internal/badnet"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// Requests of admins are on record: the admin, the request, its parameters and its outcome,
// and no body. Requests by somebody who is no admin, and the overview that a page asks for by
// itself, are not.
func TestAdmin_RequestsAreOnRecord(t *testing.T) {
	t.Parallel()
	n := administered(t, nil)
	id := n.add(t, "user/42")
	for range 3 { // once in a minute
		answered[json.RawMessage](t, n, "history?topic=user/42&text=sick")
	}
	answered[json.RawMessage](t, n, "history/"+id)
	answered[json.RawMessage](t, n, "history/"+id+"/receipts")
	answered[json.RawMessage](t, n, "overview")
	for range 2 { // an act, each time
		n.api(t, "DELETE", "scheduled/77", "")
	}
	n.api(t, "POST", "catalogue", `{"type": "secret.type", "title": "secret"}`)
	do(t, "GET", n.url+"/admin/api/history", "", bearer(ann)...).wantProblem(t, 403, "")
	want := []string{
		`root GET /admin/api/history/:id {"id": "` + id + `"} {"status": 200}`,
		`root GET /admin/api/history/:id/receipts {"id": "` + id + `"} {"status": 200}`,
		`root GET /admin/api/history {"text": "sick", "topic": "user/42"} {"status": 200}`,
		`root DELETE /admin/api/scheduled/:id {"id": "77"} {"why": "no such event is scheduled: it was delivered or cancelled before", "status": 404}`,
		`root DELETE /admin/api/scheduled/:id {"id": "77"} {"why": "no such event is scheduled: it was delivered or cancelled before", "status": 404}`,
		`root POST /admin/api/catalogue {} {"done": {"type": "secret.type", "what": "create a type"}, "status": 201}`,
	}
	slices.Sort(want)
	var got []string
	eventually(t, func() bool {
		rows, err := n.pool.Query(t.Context(), `SELECT concat_ws(' ', subject, request, question, outcome) FROM outcrier.admin_request WHERE client_address = '127.0.0.1' AND node = 'n1' AND outcome IS NOT NULL`)
		if err != nil {
			t.Fatal(err)
		}
		if got, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			t.Fatal(err)
		}
		return len(got) >= len(want)
	})
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("on record are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Each route of the API, those to come too, is on record.
func TestAdmin_EveryRouteIsOnRecord(t *testing.T) {
	t.Parallel()
	n := administered(t, nil)
	want := 0
	for _, path := range adminPaths(t, n) {
		switch path {
		case "/admin/api/identity", "/admin/api/overview", "/admin/api/trend": // show no event
			continue
		}
		if a := do(t, http.MethodDelete, n.url+path, "", bearer(root)...); a.status != http.StatusForbidden {
			want++
		}
	}
	if want < 12 {
		t.Fatalf("root may use %d routes", want)
	}
	eventually(t, func() bool {
		return n.tell(t, `SELECT count(DISTINCT request) FROM outcrier.admin_request WHERE starts_with(request, 'DELETE ') AND outcome ->> 'status' <> '403'`) == want
	})
}

// requested is an answer of GET /admin/api/requests.
type requested struct {
	Requests []struct {
		ID                       int64
		Subject, Request, Result string
		Status                   *int
		Why                      *string
		Done                     map[string]any
	}
	More bool
}

// The record of each act has what was done, or why it was not: ids, numbers and names,
// and nothing of a payload.
func TestAdmin_OutcomesOfActsAreOnRecord(t *testing.T) {
	t.Parallel()
	n := administered(t, nil)
	id := n.add(t, "user/42")
	stream := ssetest.Open(t, n.events("topic=a/x"), bearer(ann)...)
	stream.Until("outcrier.live")
	eventually(t, func() bool { return n.tell(t, `SELECT count(*) FROM outcrier.stream`) == 1 })
	acts := []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "history/" + id + "/again", `{}`, 201, `done 201 map[event:` + id + ` id:2 topic:user/42 what:send an event again]`},
		{"POST", "events", `{"topic": "a", "type": "t", "payload": {"of": "hidden"}}`, 201, `done 201 map[id:3 topic:a type:t what:publish an event]`},
		{"POST", "events", `{"topic": "a//hidden", "type": "t"}`, 422, `refused 422 map[]`},
		{"POST", "events", `{"topic": "a", "hidden": 1}`, 400, `refused 400 map[]`},
		{"POST", "erasures", `{"id": 3, "payload": {"of": "hidden"}, "reason": "r"}`, 201, `done 201 map[event:3 events:1 reason:r what:redact]`},
		{"POST", "erasures", `{"pattern": "user/**", "reason": "left"}`, 201, `done 201 map[events:2 pattern:user/** reason:left what:erase]`},
		{"POST", "erasures", `{"id": 99, "reason": "r"}`, 404, `refused 404 map[]`},
		{"POST", "revocations", `{"jti": "4711", "reason": "leaked"}`, 201, `done 201 map[jti:4711 reason:leaked revocation:1 what:revoke tokens]`},
		{"DELETE", "streams?subject=ann", ``, 202, `done 202 map[of:ann streams:1 what:end all streams of a subject]`},
		{"DELETE", "streams/1/99", ``, 404, `refused 404 map[]`},
		{"DELETE", "catalogue/none?updated_at=2026-11-29T00:00:00Z", ``, 409, `refused 409 map[]`},
	}
	for _, act := range acts {
		if a := n.api(t, act.method, act.path, act.body); a.status != act.status {
			t.Fatalf("%s %s: %d %s", act.method, act.path, a.status, a.body)
		}
	}
	eventually(t, func() bool {
		return n.tell(t, `SELECT count(*) FROM outcrier.admin_request WHERE outcome IS NOT NULL`) >= len(acts)
	})
	list := answered[requested](t, n, "requests?acts=true").Requests
	slices.Reverse(list) // the oldest first
	if len(list) != len(acts) {
		t.Fatalf("%d acts are on record, want %d", len(list), len(acts))
	}
	for i, act := range acts {
		r := list[i]
		if r.Status == nil {
			t.Fatalf("%s %s is on record without an outcome", act.method, act.path)
		}
		if got := fmt.Sprint(r.Result, " ", *r.Status, " ", r.Done); got != act.want || (r.Result == "refused") != (r.Why != nil) {
			t.Errorf("%s %s is on record as %s %v, want %s", act.method, act.path, got, r.Why, act.want)
		}
	}
	// Without the grant, and by somebody who is no admin.
	do(t, "POST", n.url+"/admin/api/erasures", `{"id": 1, "reason": "hidden"}`, append(granting(auth.GrantRead), "Content-Type", "application/json")...).wantProblem(t, 403, "erase")
	do(t, "POST", n.url+"/admin/api/erasures", `{"id": 1, "reason": "hidden"}`, append(bearer(ann), "Content-Type", "application/json")...).wantProblem(t, 403)
	eventually(t, func() bool {
		return n.tell(t, `SELECT count(*) FROM outcrier.admin_request WHERE outcome ->> 'status' = '403' AND subject = 'oncall'`) == 1
	})
	if others := n.tell(t, `SELECT count(*) FROM outcrier.admin_request WHERE subject NOT IN ('root', 'oncall')`); others != 0 {
		t.Errorf("%d requests of somebody who is no admin are on record", others)
	}
	if n.tell(t, `SELECT count(*) FROM outcrier.admin_request AS r WHERE r::text LIKE '%hidden%'`) != 0 {
		t.Error("something of a body is on record")
	}
}

// An act whose outcome could not be written, since the node died, is on record as perhaps
// done; one that can't be put on record is not done.
func TestAdmin_AnActIsDoneOnlyOnRecord(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node) { // without audit.Run, it is as if the node died before its next turn
		n.access, n.admin, n.audit = closedAccess(), admin.New(n.pool), &audit.Recorder{Pool: n.pool, Node: "n1"}
	})
	if a := n.api(t, "POST", "events", `{"topic": "a", "type": "t"}`); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if r := answered[requested](t, n, "requests").Requests; len(r) != 1 || r[0].Result != "perhaps" || r[0].Status != nil || r[0].Done != nil {
		t.Errorf("on record is %+v", r)
	}
	if _, err := n.pool.Exec(t.Context(), `ALTER TABLE outcrier.admin_request ADD CHECK (false) NOT VALID`); err != nil {
		t.Fatal(err)
	}
	n.api(t, "POST", "events", `{"topic": "a", "type": "t"}`).wantProblem(t, 503, "nothing was done")
	n.api(t, "GET", "export?format=csv", "").wantProblem(t, 503, "nothing was done")
	if events := n.count(t); events != 1 {
		t.Errorf("%d events are held: one was appended without a record", events)
	}
}

// The requests are found by who made them, by whom or what they were about, and without reads.
func TestAdmin_RequestsAreFound(t *testing.T) {
	t.Parallel()
	n := administered(t, nil)
	if _, err := n.pool.Exec(t.Context(), `INSERT INTO outcrier.admin_request (requested_at, node, subject, client_address, request, question, outcome) VALUES
		(now(), 'n1', 'rita', '', 'GET /admin/api/people/sent', '{"subject": "ann"}', '{"status": 200}'),
		(now(), 'n1', 'rita/2', '', 'GET /admin/api/export', '{"topic": "a"}', '{"status": 200, "done": {"events": 7}}'),
		(now(), 'n1', 'omar', '', 'POST /admin/api/revocations', '{}', '{"status": 201, "done": {"sub": "ann"}}'),
		(now(), 'n1', 'omar', '', 'POST /admin/api/events', '{}', '{"status": 503, "why": "the database is not available"}'),
		(now(), 'n1', 'omar', '', 'GET /admin/api/unsent', '{}', '{"status": 503}')`); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"subject=omar": "failed perhaps done", "subject=rita": "done", "subject=rita*": "done done", "about=ann": "done done", "about=7": "done",
		"subject=omar&acts=true": "perhaps done", "subject=rita*&acts=true": "done", "subject=omar&before=5": "perhaps done", "subject=%25": "",
	} {
		var got []string
		for _, r := range answered[requested](t, n, "requests?"+query).Requests {
			if r.Subject != "root" { // whose requests these are
				got = append(got, r.Result)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s finds %q, want %s", query, got, want)
		}
	}
	n.api(t, "GET", "requests?acts=perhaps", "").wantProblem(t, 400, "allowed are false and true")
	n.api(t, "GET", "requests?about=%00", "").wantProblem(t, 400, "NUL")
}

// What an admin asks, or tries without the grant, is bounded like what others ask: otherwise
// one token could fill the record of it.
func TestAdmin_AsksAtABoundedRate(t *testing.T) {
	t.Parallel()
	n := administered(t, func(n *node) { n.access.Limits.OpenRate = 0.001 })
	const atOnce = 200
	scraper := must(auth.Mint(tokenKey, auth.Claims{Subject: "scraper", Grants: []auth.Grant{auth.GrantMetrics}}, time.Hour))
	for subject, request := range map[string]struct {
		token, method, path string
		status              int
	}{
		"root":    {root, "GET", "people?prefix=%d", 200},
		"scraper": {scraper, "DELETE", "scheduled/%d", 403},
	} {
		statuses := map[int]int{}
		for i := range atOnce + 50 {
			a := do(t, request.method, n.url+"/admin/api/"+fmt.Sprintf(request.path, i), "", bearer(request.token)...)
			statuses[a.status]++
			if a.status == 429 {
				a.wantProblem(t, 429, "--open-rate")
			}
		}
		if statuses[request.status] != atOnce || statuses[429] != 50 {
			t.Errorf("%s is answered %v", subject, statuses)
		}
	}
	count := func() int { return n.tell(t, `SELECT count(*) FROM outcrier.admin_request`) }
	eventually(t, func() bool { return count() >= 2*atOnce })
	if got := count(); got != 2*atOnce {
		t.Errorf("%d requests are on record, want %d", got, 2*atOnce)
	}
}

// The overview shows what open transactions run, with the values of the events that they
// append: then it is on record, once a minute, and otherwise not.
func TestAdmin_AnOverviewWithQueriesIsOnRecord(t *testing.T) {
	t.Parallel()
	n := administered(t, forUnread)
	answered[json.RawMessage](t, n, "overview")
	tx, err := n.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `INSERT INTO outbox (topic, type, payload) VALUES ('a', 't', '{"of": "hidden"}')`); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if a := n.api(t, "GET", "overview", ""); a.status != 200 || !strings.Contains(a.body, "hidden") {
			t.Fatalf("%d %.300s", a.status, a.body)
		}
	}
	answered[json.RawMessage](t, n, "history") // recorded after them
	eventually(t, func() bool {
		return n.tell(t, `SELECT count(*) FROM outcrier.admin_request WHERE request = 'GET /admin/api/history' AND outcome IS NOT NULL`) == 1
	})
	if got := n.tell(t, `SELECT count(*) FROM outcrier.admin_request WHERE request = 'GET /admin/api/overview' AND outcome ->> 'status' = '200'`); got != 1 {
		t.Errorf("of three overviews, two of them with a query, %d are on record, want one for both", got)
	}

	// One that there is no memory for is on record as refused, not as perhaps shown.
	if _, err := n.pool.Exec(t.Context(), `INSERT INTO outbox (topic, type, payload) SELECT 'a', 't', to_json(repeat('x', 50000)) FROM generate_series(1, 20)`); err != nil {
		t.Fatal(err)
	}
	d := must(badnet.DialDeaf(t.Context(), strings.TrimPrefix(n.url, "http://")))
	defer d.Close() //nolint:errcheck // the test is over
	if err := d.Get("/admin/api/export?format=json", "authorization", "Bearer "+root); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return d.Answered() == 1 })
	n.api(t, "GET", "overview", "").wantProblem(t, 429, "--max-buffered-per-principal")
	eventually(t, func() bool {
		return n.tell(t, `SELECT count(*) FROM outcrier.admin_request WHERE request = 'GET /admin/api/overview' AND outcome ->> 'status' = '429'`) == 1
	})
}
