//go:build unix

package outcrier_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/internal/pgserver"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// entry is a line of the log.
type entry struct{ Level, Msg, Before, Route string }

// entries are the lines of a log from its line n on.
func entries(t *testing.T, log *testkit.Log, n int) (found []entry) {
	t.Helper()
	for _, line := range strings.SplitAfter(log.String(), "\n")[n:] {
		if line == "" {
			continue
		}
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		found = append(found, e)
	}
	return found
}

// TestNode_LogsAnOutageOnceForEachKindOfWork: while the database is away all that needs it is
// tried again and again. The log has one line for each kind when the outage begins, and one
// when it is over.
func TestNode_LogsAnOutageOnceForEachKindOfWork(t *testing.T) {
	postgres, err := pgserver.Start(t.Context(), pgserver.Config{Settings: map[string]string{"fsync": "off"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := postgres.Stop(); err != nil {
			t.Error(err)
		}
	})
	database := postgres.URL("postgres")
	if err := (migrations.Migrations{URL: database}).Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	var log testkit.Log
	node := newNode(t, outcrier.Config{
		DatabaseURL: database, Audit: true, DrainTime: -1, Logger: slog.New(slog.NewJSONHandler(&log, nil)),
		Authenticate: func(*http.Request) (outcrier.Identity, error) {
			all := []outbox.Pattern{"**"}
			return outcrier.Identity{Subject: "ann", Subscribe: all, Publish: all, Admin: true, Explicit: true}, nil
		},
	})
	// The tail's attempts: each failure is an error of its own.
	failures := make(map[error]bool)
	tried := func() int {
		if s := node.Status(); !s.Following && s.Err != nil {
			failures[s.Err] = true
		}
		return len(failures)
	}
	// once fails if something is logged twice, and returns the lines of the log from one on.
	once := func(from int) map[entry]bool {
		t.Helper()
		logged := make(map[entry]bool)
		for _, e := range entries(t, &log, from) {
			if said := logged[e]; said && (e.Level != "INFO" || e.Before != "") {
				t.Errorf("more than once: %+v", e)
			}
			logged[e] = true
		}
		return logged
	}
	lines := func() int { return strings.Count(log.String(), "\n") }
	warned := func(message string) entry { return entry{Level: "WARN", Msg: message} }
	over := func(message string) entry { return entry{Level: "INFO", Msg: message} }

	// It is away when the node starts, and while each worker tries several times.
	if err := postgres.Kill(); err != nil {
		t.Fatal(err)
	}
	url, _ := serveAnyway(t, node)
	eventually(t, func() bool { return tried() > 8 })
	begins := map[entry]entry{
		warned("tail has no connection yet"):      over("tail follows again"),
		warned("scheduled events can't be moved"): over("scheduled events are moved again"),
		warned("partitions not maintained"):       over("partitions are maintained again"),
		warned("revoked tokens can't be read"):    over("revoked tokens are read again"),
		warned("streams are not recorded"):        over("streams are recorded again"),
	}
	for begin, end := range begins {
		if logged := once(0); !logged[begin] || logged[end] {
			t.Errorf("while the database is away %+v is not in the log, or its end is:\n%s", begin, log.String())
		}
	}
	if err := postgres.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, end := range begins {
		eventually(t, func() bool { return once(0)[end] })
	}

	// It goes away while streams are open and requests come.
	for range 5 {
		ssetest.Open(t, url+"/events?topic=a").Until("outcrier.live")
	}
	before := lines()
	if err := postgres.Kill(); err != nil {
		t.Fatal(err)
	}
	clear(failures)
	ask := func(method, path, body string) int {
		request, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", "application/json")
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		_, _ = io.Copy(io.Discard, response.Body)
		return response.StatusCode
	}
	requests := []struct{ method, path, body, failed, route string }{
		{http.MethodGet, "/events?topic=a&from=earliest&wait=0", "", "poll failed", ""},
		{http.MethodGet, "/events/1", "", "event not read", ""},
		{http.MethodGet, "/catalogue", "", "catalogue not read", ""},
		{http.MethodPost, "/events", `{"topic":"a","type":"test.added","payload":{}}`, "append failed", ""},
		{http.MethodGet, "/admin/api/scheduled", "", "admin's question not answered", "/admin/api/scheduled"},
	}
	var streams []*ssetest.Client
	for range 5 {
		streams = append(streams, ssetest.Open(t, url+"/events?topic=a&from=earliest"))
		for _, r := range requests {
			if status := ask(r.method, r.path, r.body); status != http.StatusServiceUnavailable {
				t.Errorf("%s %s is answered %d while the database is away", r.method, r.path, status)
			}
		}
	}
	eventually(t, func() bool { return tried() > 8 })
	// What is scheduled is looked at every few seconds, and may be spared this outage.
	for _, message := range []string{"tail lost its connection", "streams are not recorded", "streams wait for the database"} {
		if !once(before)[warned(message)] {
			t.Errorf("%q is not in the log:\n%s", message, log.String())
		}
	}
	if err := postgres.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, message := range []string{"tail follows again", "streams are recorded again", "no stream waits for the database any more"} {
		eventually(t, func() bool { return once(before)[over(message)] })
	}
	for _, r := range requests {
		if logged := once(before); !logged[entry{"WARN", r.failed, "", r.route}] {
			t.Errorf("%q is not in the log:\n%s", r.failed, log.String())
		}
		eventually(t, func() bool {
			ask(r.method, r.path, r.body)
			return once(before)[entry{"INFO", "requests are answered again", r.failed, r.route}]
		})
	}
	for _, c := range streams {
		c.Until("outcrier.live")
	}
	for _, e := range entries(t, &log, 0) {
		if e.Level != "INFO" && e.Level != "WARN" {
			t.Errorf("an outage has %+v", e)
		}
	}
	if t.Failed() {
		t.Log(log.String())
	}
}
