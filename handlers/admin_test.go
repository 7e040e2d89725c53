package handlers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/catalogue"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// root may do all that admins may, and nothing else.
var root = must(auth.Mint(tokenKey, auth.Claims{Subject: "root", Admin: true}, time.Hour))

// administered is a node with the admin page and an audit, for which tokens are
// needed; its other events are the change's.
func administered(t *testing.T, change func(*node)) *node {
	t.Helper()
	n := newNode(t, func(n *node) {
		n.access = closedAccess()
		n.admin = admin.New(n.pool)
		n.audit = &audit.Recorder{Pool: n.pool, Node: "n1", Every: time.Second}
		if change != nil {
			change(n)
		}
	})
	n.runAudit(t)
	return n
}

// api asks for a path of the API as root.
func (n *node) api(t *testing.T, method, path, body string) answer {
	t.Helper()
	return do(t, method, n.url+"/admin/api/"+path, body, append(bearer(root), "Content-Type", "application/json")...)
}

// answered decodes what the API answers with 200.
func answered[T any](t *testing.T, n *node, path string) (value T) {
	t.Helper()
	a := n.api(t, "GET", path, "")
	if a.status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, a.status, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &value); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return value
}

// adminPaths are those of the API's routes, by the routes themselves.
func adminPaths(t *testing.T, n *node) (paths []string) {
	t.Helper()
	config := handlers.Config{Streamer: n.streamer, TailStatus: n.tail.Status, Access: n.access, Admin: n.admin, Log: n.log}
	for _, route := range handlers.New(config).(*echo.Echo).Routes() {
		if path := strings.NewReplacer(":id", "1", ":run", "1", ":stream", "1", ":type", "user.logged_in").Replace(route.Path); strings.HasPrefix(path, "/admin/api/") && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	if len(paths) < 10 {
		t.Fatalf("there are only %q", paths)
	}
	return paths
}

// No method of any route says or does anything for who is no admin, nor for a page
// of another site that has an admin's cookie.
func TestAdmin_NobodyElseGetsAnything(t *testing.T) {
	t.Parallel()
	n := administered(t, nil)
	n.add(t, "secret")
	if _, err := n.pool.Exec(t.Context(), `SELECT outcrier.append('secret', 't', deliver_at => clock_timestamp() + interval '1 hour')`); err != nil {
		t.Fatal(err)
	}
	ssetest.Open(t, n.events("topic=a"), bearer(ann)...).Until("outcrier.live")
	eventually(t, func() bool { return n.tell(t, `SELECT count(*) FROM outcrier.stream`) == 1 })
	state := func() (state string) {
		const stateSQL = `SELECT (SELECT count(*) FROM outcrier.scheduled) || ' ' || (SELECT md5(string_agg(t::text, '' ORDER BY type)) FROM outcrier.event_type AS t) || ' ' || (SELECT count(end_requested_at) FROM outcrier.stream)`
		if err := n.pool.QueryRow(t.Context(), stateSQL).Scan(&state); err != nil {
			t.Fatal(err)
		}
		return state
	}
	before := state()
	cookie := "outcrier_token=" + root
	callers := map[string]struct {
		status  int
		headers []string
	}{
		"nobody":               {401, nil},
		"who is no admin":      {403, bearer(ann)},
		"a bad token":          {401, bearer(root + "x")},
		"another site":         {403, []string{"Cookie", cookie, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}},
		"another site, old":    {403, []string{"Cookie", cookie, "Origin", "https://evil.example"}},
		"a site of the domain": {403, []string{"Cookie", cookie, "Sec-Fetch-Site", "same-site"}},
	}
	const entry = `{"type":"x","title":"x"}`
	for _, path := range adminPaths(t, n) {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			for name, caller := range callers {
				a := do(t, method, n.url+path, entry, append(caller.headers, "Content-Type", "application/json")...)
				if a.status != caller.status {
					t.Errorf("%s %s by %s: %d, want %d", method, path, name, a.status, caller.status)
				}
				if strings.Contains(a.body, "secret") {
					t.Errorf("%s %s tells %s %s", method, path, name, a.body)
				}
			}
		}
	}
	if after := state(); after != before {
		t.Errorf("something was changed: %s, before %s", after, before)
	}
	// An admin's own page may, by cookie.
	if a := do(t, "GET", n.url+"/admin/api/overview", "", "Cookie", cookie, "Sec-Fetch-Site", "same-origin"); a.status != 200 || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s", a.status, a.body)
	}
	for _, path := range adminPaths(t, n) {
		n.api(t, "PATCH", strings.TrimPrefix(path, "/admin/api/"), entry).wantProblem(t, 405, "PATCH is not allowed here; allowed are: ")
	}
}

// Without --audit, tokens or the page itself nothing is open by mistake.
func TestAdmin_IsOpenOnlyWhereAllIs(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(n *node) { n.admin = admin.New(n.pool) })
	if a := do(t, "GET", n.url+"/admin/api/overview", ""); a.status != 200 || !strings.Contains(a.body, `"expires":null`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	do(t, "DELETE", n.url+"/admin/api/scheduled/1", "", "Sec-Fetch-Site", "cross-site").wantProblem(t, 403, "another site")
	do(t, "GET", n.url+"/admin/api/overview", "", "Host", "evil.example") // Go sends its own Host; the attack is in attacks_test
	without := newNode(t, nil)
	do(t, "GET", without.url+"/admin", "").wantProblem(t, 404)
	do(t, "GET", without.url+"/admin/api/history/1", "").wantProblem(t, 404)
}

// The page is served whole, with its policy, and says nothing by itself.
func TestAdmin_PageNeedsNoToken(t *testing.T) {
	t.Parallel()
	n := administered(t, nil)
	for path, kind := range map[string]string{"/admin": "text/html", "/admin/static/app.js": "text/javascript", "/admin/static/style.css": "text/css", "/admin/static/icon.svg": "image/svg+xml"} {
		a := do(t, "GET", n.url+path, "")
		if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), kind) || strings.Contains(a.header.Get("Content-Security-Policy"), "unsafe") || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
		if strings.Contains(a.body, "<style") || strings.Contains(a.body, " onclick=") || strings.Contains(a.body, "innerHTML") {
			t.Errorf("%s has what the policy refuses", path)
		}
	}
	do(t, "GET", n.url+"/admin/static/none.js", "")
	if a := do(t, "GET", n.url+"/admin/static/..%2f..%2fadmin.go", ""); a.status == 200 {
		t.Errorf("%s", a.body)
	}
}

// Whatever is typed into a field of the search is looked for, or refused in words.
func TestAdmin_SearchTakesAnythingForText(t *testing.T) {
	t.Parallel()
	n := administered(t, nil)
	n.add(t, "a")
	for _, text := range []string{"'", "';DROP TABLE outbox;--", "a\x00b", "\xff", "%", "$1", "1.1:1:1,1'", strings.Repeat("x", 300), "NaN", "-1", "1e3", "9999999999999999999999", "2026-13-01T00:00:00Z"} {
		for _, path := range []string{"history?topic=%s", "history?type=%s", "history?text=%s", "history?from=%s", "history?until=%s", "history?cursor=%s", "history?limit=%s", "history/%s", "history/%s/receipts", "history/1/receipts?run=%s", "history/1/receipts?stream=%s",
			"streams?subject=%s", "streams?node=%s", "streams?state=%s", "streams?cursor=%s", "scheduled?id=%s", "scheduled?deliver_at=%s", "overview?%s=1"} {
			a := n.api(t, "GET", fmt.Sprintf(path, url.QueryEscape(text)), "")
			if a.status != 200 && a.status != 400 && a.status != 404 {
				t.Errorf("%s with %q: %d %s", path, text, a.status, a.body)
			}
		}
	}
	if n.count(t) != 1 {
		t.Error("the outbox is another")
	}
}

// A stream is ended with goodbye, also when another node is asked to.
func TestAdmin_EndsAStreamOfAnyNode(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*httptest.Server){"taken over": (*httptest.Server).Start, "over TLS": (*httptest.Server).StartTLS} {
		t.Run(name, func(t *testing.T) {
			n := administered(t, func(n *node) { n.start = start; n.access = handlers.Access{Open: true} })
			ended := ssetest.Open(t, n.events("topic=a"))
			ended.Until("outcrier.live")
			other := ssetest.Open(t, n.events("topic=b"))
			other.Until("outcrier.live")
			// Another node: an Admin of its own on the same database.
			elsewhere := admin.New(n.pool)
			var found admin.StreamsFound
			eventually(t, func() bool {
				var err error
				found, err = elsewhere.Streams(t.Context(), admin.StreamSearch{})
				return err == nil && len(found.Streams) == 2
			})
			target := found.Streams[slices.IndexFunc(found.Streams, func(s admin.StreamRow) bool { return s.Topics[0] == "a" })]
			if open, err := elsewhere.EndStream(t.Context(), target.Run, target.Stream, "root"); !open || err != nil {
				t.Fatalf("%v %v", open, err)
			}
			if e := ended.Until("outcrier.goodbye"); e.Data != `{"reason":"ended"}` {
				t.Errorf("it is told %s", e.Data)
			}
			ended.End()
			eventually(t, func() bool {
				return n.tell(t, `SELECT count(*) FROM outcrier.stream WHERE end_reason = 'ended' AND end_requested_by = 'root' AND topics = '{a}'`) == 1
			})
			n.add(t, "b")
			other.Next() // goes on
			if open, err := elsewhere.EndStream(t.Context(), target.Run, target.Stream, "root"); open || err != nil {
				t.Errorf("it can be ended again: %v %v", open, err)
			}
		})
	}
}

// tell is a number of the database.
func (n *node) tell(t *testing.T, query string) (number int) {
	t.Helper()
	if err := n.pool.QueryRow(t.Context(), query).Scan(&number); err != nil {
		t.Fatal(err)
	}
	return number
}

// What the API says of streams, receipts, transactions and the schedule is what
// there is, and each is paged whole.
func TestAdmin_TellsWhatThereIs(t *testing.T) {
	t.Parallel()
	n := administered(t, nil)
	id := n.add(t, "a/1")
	n.seen(t, 1)
	stream := ssetest.Open(t, n.events("topic=a/**&from=earliest"), bearer(ann)...)
	stream.Until("outcrier.live")
	stream.Close()
	type receipts struct {
		Receipts []admin.Receipt
		More     bool
	}
	eventually(t, func() bool { return len(answered[receipts](t, n, "history/"+id+"/receipts").Receipts) == 1 })
	if r := answered[receipts](t, n, "history/"+id+"/receipts").Receipts[0]; r.Subject != "ann" || r.Node != "n1" || *r.EndReason != "left" {
		t.Errorf("%+v", r)
	}
	n.api(t, "GET", "history/999", "").wantProblem(t, 404, "no event 999 is held")

	// So many streams, of two nodes, that they fill pages; some at the same time.
	const streamsSQL = `
INSERT INTO outcrier.stream (run, stream, node, subject, client_address, topics, types, history, from_position, from_set, position, position_set, position_at, events, opened_at, closed_at, end_reason)
SELECT 1 + n % 2, n, 'm' || n % 2, 'bob', 'r', '{a}', '{}', 1, 'p', ROW('1'::xid8, '{}'::xid8[], NULL::xid8, NULL::xid8[], NULL::bigint)::outcrier.position_set, 'p', ROW('1'::xid8, '{}'::xid8[], NULL::xid8, NULL::xid8[], NULL::bigint)::outcrier.position_set, now(), n, now() - n / 3 * interval '1 second',
	CASE WHEN n % 2 = 0 THEN now() - n / 5 * interval '1 second' END, CASE WHEN n % 2 = 0 THEN 'left' END
FROM generate_series(1, 260) AS n`
	if _, err := n.pool.Exec(t.Context(), streamsSQL); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]int{"state=open&subject=bob": 130, "state=ended&subject=bob": 130, "subject=bob&node=m1": 130, "subject=bob&node=m0": 0, "state=ended": 131} {
		seen, cursor := map[string]bool{}, ""
		for {
			found := answered[admin.StreamsFound](t, n, "streams?"+query+"&cursor="+cursor)
			for _, s := range found.Streams {
				key := fmt.Sprint(s.Run, ".", s.Stream)
				if seen[key] {
					t.Errorf("%s: %s is on two pages", query, key)
				}
				seen[key] = true
			}
			if cursor = found.Next; cursor == "" {
				break
			}
		}
		if len(seen) != want {
			t.Errorf("%s: %d streams, want %d", query, len(seen), want)
		}
	}

	// More scheduled events than a page holds, many for one time.
	const planSQL = `SELECT count(outcrier.append('a', 't', deliver_at => date_trunc('hour', now()) + interval '3 hours' + n / 50 * interval '1 second')) FROM generate_series(1, 230) AS n`
	if n.tell(t, planSQL) != 230 {
		t.Fatal("not scheduled")
	}
	type planned struct {
		Scheduled []admin.Planned
		More      bool
	}
	var all []int64
	for page := answered[planned](t, n, "scheduled"); ; {
		for _, p := range page.Scheduled {
			all = append(all, p.ID)
		}
		if !page.More {
			break
		}
		last := page.Scheduled[len(page.Scheduled)-1]
		page = answered[planned](t, n, "scheduled?deliver_at="+url.QueryEscape(last.DeliverAt.Format(time.RFC3339Nano))+"&id="+fmt.Sprint(last.ID))
	}
	if len(all) != 230 || !slices.IsSorted(all) {
		t.Errorf("%d are scheduled: %v", len(all), all)
	}
	if a := n.api(t, "DELETE", fmt.Sprintf("scheduled/%d", all[7]), ""); a.status != 204 {
		t.Errorf("%d %s", a.status, a.body)
	}
	n.api(t, "DELETE", fmt.Sprintf("scheduled/%d", all[7]), "").wantProblem(t, 404, "delivered or cancelled before")
	if got := n.tell(t, `SELECT count(*) FROM outcrier.scheduled`); got != 229 {
		t.Errorf("%d are left", got)
	}

	// An open transaction that owes an event.
	tx, err := n.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), `INSERT INTO outbox (topic, type) VALUES ('a', 't') /* owes */`); err != nil {
		t.Fatal(err)
	}
	o := answered[handlers.Overview](t, n, "overview")
	if len(o.Open) != 1 || *o.Open[0].PID != int(tx.Conn().PgConn().PID()) || !strings.Contains(*o.Open[0].Query, "/* owes */") || *o.Open[0].Age < 0 || o.Lag.Open != 1 {
		t.Errorf("%+v", o)
	}
	if len(o.Nodes) != 1 || o.Nodes[0].Name != "n1" || o.Scheduled != 229 || o.Subject != "root" || !o.Audit || !o.Following || o.LastID == 0 {
		t.Errorf("%+v", o)
	}
}

// The catalogue is changed as it was read, or not at all.
func TestAdmin_EditsTheCatalogue(t *testing.T) {
	t.Parallel()
	n := administered(t, nil)
	const name = `odd/type %2F?'"`
	path := "catalogue/" + url.PathEscape(name)
	entry := func(more string) string {
		return `{"type":` + string(must(json.Marshal(name))) + `,"title":"Odd"` + more + `}`
	}
	a := n.api(t, "POST", "catalogue", entry(`,"code":"ODD-1","payload_schema":{"type":"object"}`))
	var made catalogue.EventType
	if err := json.Unmarshal([]byte(a.body), &made); err != nil || a.status != 201 || made.Type != name || made.Severity != "info" || made.Action != "none" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	n.api(t, "POST", "catalogue", entry("")).wantProblem(t, 409, "already")
	n.api(t, "POST", "catalogue", `{"type":"other","title":"Other","code":"ODD-1"}`).wantProblem(t, 409, "already")
	for body, says := range map[string]string{
		``: "empty", `[`: "cut short", `nope`: "not JSON", `{"type":"a","title":"t","x":1}`: "unknown field", `{"type":1}`: "must be a string", `{"type":"a","title":"t"}{}`: "more than one",
		`{"type":"a","title":"t"}}`: "not JSON", `{"type":"a","title":"t"}]`: "not JSON", `{"type":"a","title":"t"} x`: "not JSON", "{\"type\":\"a\",\"title\":\"\xff\"}": "not UTF-8",
	} {
		n.api(t, "POST", "catalogue", body).wantProblem(t, 400, says)
	}
	for body, says := range map[string]string{
		`{"type":"a","title":""}`: "1 to 200", `{"type":"outcrier.a","title":"t"}`: "reserved", `{"type":"a","title":"t","severity":"bad"}`: "info, warning and error",
		`{"type":"a","title":"t","payload_schema":{"type":7}}`: "does not compile", `{"type":"a","title":"t","payload_schema":"x"}`: "", `{"type":"a","title":"t","code":"a b"}`: "letters",
	} {
		n.api(t, "POST", "catalogue", body).wantProblem(t, 422, says)
	}
	do(t, "POST", n.url+"/admin/api/catalogue", entry(""), append(bearer(root), "Content-Type", "text/plain")...).wantProblem(t, 415, "application/json")
	// The body does not follow: a client that writes on may not see the answer.
	large, _ := n.send(t, n.ask("POST /admin/api/catalogue", "Authorization: Bearer "+root, "Content-Type: application/json", fmt.Sprint("Content-Length: ", 200<<10)))
	large.wantProblem(t, 413, "bytes")

	at := func(e catalogue.EventType) string { return e.UpdatedAt.Format(time.RFC3339Nano) }
	a = n.api(t, "PUT", path, entry(`,"updated_at":"`+at(made)+`","severity":"error"`))
	var changed catalogue.EventType
	if err := json.Unmarshal([]byte(a.body), &changed); err != nil || a.status != 200 || !changed.UpdatedAt.After(made.UpdatedAt) {
		t.Fatalf("%d %s", a.status, a.body)
	}
	n.api(t, "PUT", path, entry(`,"updated_at":"`+at(made)+`"`)).wantProblem(t, 409, "meanwhile")
	n.api(t, "PUT", path, entry("")).wantProblem(t, 400, "updated_at")
	n.api(t, "PUT", "catalogue/another", entry(`,"updated_at":"`+at(made)+`"`)).wantProblem(t, 400, "can't be renamed")
	n.api(t, "DELETE", path+"?updated_at="+url.QueryEscape(at(made)), "").wantProblem(t, 409, "meanwhile")
	n.api(t, "DELETE", path, "").wantProblem(t, 400, "updated_at")
	listed := answered[handlers.Types](t, n, "catalogue")
	if i := slices.IndexFunc(listed.Types, func(e catalogue.EventType) bool { return e.Type == name }); i < 0 || listed.Types[i].Severity != "error" || listed.Types[i].PayloadSchema != nil && string(listed.Types[i].PayloadSchema) != "null" {
		t.Errorf("%+v", listed)
	}
	if a := n.api(t, "DELETE", path+"?updated_at="+url.QueryEscape(at(changed)), ""); a.status != 204 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if got := len(answered[handlers.Types](t, n, "catalogue").Types); got != 8 {
		t.Errorf("%d types are left", got)
	}
}
