package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/upkeep"
)

func TestServe_RefusesASchemaOfAnotherVersion(t *testing.T) {
	url := outboxtest.URL(t)
	conn := must(pgx.Connect(t.Context(), url))
	defer conn.Close(context.Background())
	refused := func(want string) {
		t.Helper()
		var log bytes.Buffer
		args := []string{"serve", "--listen", "127.0.0.1:0", "--database-url", url, "--jwt-secret", strings.Repeat("s", 32)}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if code := run(ctx, args, nil, strings.NewReader(""), io.Discard, &log); code == exitDone || !strings.Contains(log.String(), want) {
			t.Errorf("it ends with %d, want %q:\n%s", code, want, log.String())
		}
	}
	newest := migrations.Newest()
	older := must(migrations.Migrations{}.SQL(0))
	must(conn.Exec(t.Context(), `DROP VIEW public.outbox; DROP SCHEMA outcrier CASCADE`))
	must(conn.Exec(t.Context(), older[:strings.Index(older, fmt.Sprintf("\n-- %05d_", newest))]))
	refused(fmt.Sprintf("it is at version %d, and this one needs %d: run outcrier migrate up", newest-1, newest))
	if err := (migrations.Migrations{URL: url}).Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	must(conn.Exec(t.Context(), `CREATE OR REPLACE FUNCTION outcrier.schema_version(OUT version bigint, OUT nodes_from bigint) LANGUAGE sql AS 'SELECT 4711::bigint, 4700::bigint'`))
	refused("run a newer outcrier")
}

// The schema is migrated first: an older node works with newer migrations for as long
// as they allow it, and a node that runs already goes on whatever they say.
func TestServe_WorksWithANewerSchema(t *testing.T) {
	url := outboxtest.URL(t)
	conn := must(pgx.Connect(t.Context(), url))
	defer conn.Close(context.Background())
	gives := func(s *served, kind string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		request := must(http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/events?topic=a&from=earliest", nil))
		request.Header.Set("Accept", "text/event-stream")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		for lines.Scan() {
			if lines.Text() == "event: "+kind {
				return
			}
		}
		t.Errorf("%s is not given: %v", kind, lines.Err())
	}
	running := serve(t, nil, "--database-url", url, "--dev", "--migrate=false")
	must(conn.Exec(t.Context(), `CREATE OR REPLACE FUNCTION outcrier.schema_version(OUT version bigint, OUT nodes_from bigint) LANGUAGE sql AS 'SELECT 4711::bigint, 10::bigint'; INSERT INTO outcrier.schema_migration (version_id, is_applied) VALUES (4711, true)`))
	must(conn.Exec(t.Context(), `INSERT INTO outbox (topic, type) VALUES ('a', 'newer')`))
	gives(running, "newer")
	gives(serve(t, nil, "--database-url", url, "--dev", "--migrate=false"), "newer")
	must(conn.Exec(t.Context(), `CREATE OR REPLACE FUNCTION outcrier.schema_version(OUT version bigint, OUT nodes_from bigint) LANGUAGE sql AS 'SELECT 4711::bigint, 4700::bigint'`))
	must(conn.Exec(t.Context(), `INSERT INTO outbox (topic, type) VALUES ('a', 'too_new')`))
	gives(running, "too_new")
}

func TestConfig_RetainIsByPattern(t *testing.T) {
	for name, args := range map[string]struct{ environ, args []string }{
		"flags":    {nil, []string{"--topic-retention", "presence/**=1h", "--topic-retention", "cursor/*=5m"}},
		"variable": {[]string{"OUTCRIER_TOPIC_RETENTION=presence/**=1h,cursor/*=5m"}, nil},
	} {
		c, err := loaded[serveConfig](t, args.environ, append([]string{"--database-url", dsn, "--jwt-secret", secret}, args.args...)...)
		if err != nil {
			t.Fatal(err)
		}
		want := []upkeep.Rule{{Pattern: "cursor/*", Keep: 5 * time.Minute}, {Pattern: "presence/**", Keep: time.Hour}}
		if diff := cmp.Diff(want, c.rules()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for text, want := range map[string]string{
		"a=59s": "want a minute at least", "**=1h": "begins with a wildcard", "*/a=1h": "begins with a wildcard",
		"a//b=1h": "empty segments", "a=soon": "want name=", "a": "want name=",
	} {
		_, err := loaded[serveConfig](t, nil, "--database-url", dsn, "--jwt-secret", secret, "--topic-retention", text)
		if err == nil || !strings.Contains(err.Error(), "--topic-retention (OUTCRIER_TOPIC_RETENTION)") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestMigrateStatus_IsForProgramsToo(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"migrate", "status", "--json", "--database-url", outboxtest.URL(t)}, nil, strings.NewReader(""), &out, io.Discard); code != exitDone ||
		!strings.HasPrefix(out.String(), `{"schema":"outcrier","outbox":"public.outbox","version":`) || strings.Contains(out.String(), `"applied_at":null`) {
		t.Errorf("it ends with %d: %s", code, out.String())
	}
}
