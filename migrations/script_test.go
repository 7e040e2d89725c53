package migrations_test

import (
	"fmt"
	osexec "os/exec"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// run runs one of Postgres's programs.
func run(t *testing.T, stdin, name string, args ...string) (string, error) {
	t.Helper()
	cmd := osexec.CommandContext(t.Context(), outboxtest.Program(t, name), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func mustRun(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	out, err := run(t, stdin, name, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return out
}

func script(t *testing.T, m migrations.Migrations, from int64) string {
	t.Helper()
	text, err := m.SQL(from)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// What a DBA runs with psql, as a role of the DBA's choice, makes what Up makes.
func TestSQL_MakesWhatUpMakes(t *testing.T) {
	t.Parallel()
	address, admin := empty(t)
	name, owner := login(t, admin, address, "")
	exec(t, admin, `GRANT CREATE ON DATABASE `+admin.Config().Database+` TO `+name+`; GRANT CREATE ON SCHEMA public TO `+name)
	mustRun(t, script(t, migrations.Migrations{}, 0), "psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", owner)
	exec(t, admin, `REVOKE CREATE ON SCHEMA public FROM `+name)
	reference, _ := migrated(t)
	sameSchema(t, admin)
	exec(t, connect(t, owner), `INSERT INTO outbox (topic, type) VALUES ('a', 't')`)

	// And pg_dump sees no difference.
	dump := func(url string) string {
		text := mustRun(t, "", "pg_dump", "--schema-only", "--no-owner", "-d", url)
		var lines []string
		for line := range strings.Lines(text) {
			// Tokens of the dump's own, and who granted what.
			if !strings.HasPrefix(line, `\restrict`) && !strings.HasPrefix(line, `\unrestrict`) && !strings.Contains(line, name) && !strings.HasPrefix(line, "-- Name: ") {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "")
	}
	if a, b := dump(reference), dump(address); a != b {
		t.Errorf("the dumps differ:\n%s", firstDifference(a, b))
	}

	m := migrations.Migrations{URL: owner}
	before := ask[string](t, admin, `SELECT string_agg(xmin::text, ' ' ORDER BY version_id) FROM outcrier.schema_migration`)
	up(t, m)
	status, err := m.Status(t.Context())
	if err != nil || status.Version != status.Newest || status.Problem != "" {
		t.Errorf("%+v, %v", status, err)
	}
	if after := ask[string](t, admin, `SELECT string_agg(xmin::text, ' ' ORDER BY version_id) FROM outcrier.schema_migration`); after != before {
		t.Error("Up had something to do")
	}
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d\n-%s\n+%s", i, x[i], y[i])
		}
	}
	return fmt.Sprintf("%d and %d lines", len(x), len(y))
}

// It is plain: tools that send it as one query, each statement by itself, or with settings
// of their own, have the same.
func TestSQL_RunsByAnyTool(t *testing.T) {
	t.Parallel()
	text := script(t, migrations.Migrations{}, 0)
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, `\`) || strings.Contains(line, "${") {
			t.Errorf("the script has %q", line)
		}
	}
	t.Run("as one query", func(t *testing.T) {
		_, conn := empty(t)
		exec(t, conn, text)
		sameSchema(t, conn)
	})
	t.Run("without a transaction", func(t *testing.T) {
		address, conn := empty(t)
		mustRun(t, text, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", address)
		sameSchema(t, conn)
	})
	t.Run("under other settings", func(t *testing.T) {
		address, conn := empty(t)
		hostile := with(t, address, "options", `-c client_encoding=LATIN1 -c standard_conforming_strings=off -c DateStyle=German -c TimeZone=Asia/Tokyo -c search_path=pg_temp -c default_transaction_read_only=off -c quote_all_identifiers=on`)
		mustRun(t, text, "psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", hostile)
		sameSchema(t, conn)
	})
	t.Run("with other names", func(t *testing.T) {
		address, conn := migrated(t)
		m := migrations.Migrations{Schema: `The "2nd"`, Outbox: "second", PayloadLimit: 4096}
		mustRun(t, script(t, m, 0), "psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", address)
		m.URL = address
		up(t, m)
		exec(t, conn, `INSERT INTO public.second (topic, type) VALUES ('a', 't')`)
		if n := ask[int](t, conn, `SELECT count(*) FROM "The ""2nd""".history`); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

func TestSQL_RefusesADatabaseThatItIsNotFor(t *testing.T) {
	t.Parallel()
	address, conn := migrated(t)
	made := ask[int](t, conn, objects)
	if out, err := run(t, script(t, migrations.Migrations{}, 0), "psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", address); err == nil || !strings.Contains(out, "already exists") {
		t.Errorf("a second time: %v, %s", err, out)
	}
	if out, err := run(t, script(t, migrations.Migrations{}, migrations.Newest()-1), "psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", address); err == nil || !strings.Contains(out, fmt.Sprintf("is at version %d, and this script is for version %d", migrations.Newest(), migrations.Newest()-1)) {
		t.Errorf("the last step, a second time: %v, %s", err, out)
	}
	if got := ask[int](t, conn, objects); got != made {
		t.Errorf("there were %d objects and are %d", made, got)
	}
	for _, from := range []int64{-1, migrations.Newest() + 1} {
		if _, err := (migrations.Migrations{}).SQL(from); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("want 0 to %d", migrations.Newest())) {
			t.Errorf("from %d: %v", from, err)
		}
	}
	nothing := script(t, migrations.Migrations{}, migrations.Newest())
	if out := mustRun(t, nothing, "psql", "-X", "-1", "-v", "ON_ERROR_STOP=1", "-d", address); out != "" || !strings.Contains(nothing, "Nothing to do") {
		t.Errorf("from the newest on: %q, %s", nothing, out)
	}
	if _, err := (migrations.Migrations{Schema: "public"}).SQL(0); err == nil {
		t.Error("into public it prints something")
	}
}

// The steps one after the other are the whole.
func TestSQL_FromAVersionOn(t *testing.T) {
	t.Parallel()
	address, conn := empty(t)
	whole := script(t, migrations.Migrations{}, 0)
	for from := range migrations.Newest() {
		step := script(t, migrations.Migrations{}, from)
		// All of the step except the migration after it belongs to the next one.
		if next := from + 1; next < migrations.Newest() {
			cut := strings.Index(step, fmt.Sprintf("\n-- %05d_", next+1))
			step = step[:cut]
		}
		mustRun(t, step, "psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", address)
	}
	sameSchema(t, conn)
	if len(whole) < 50_000 {
		t.Errorf("the whole script has %d bytes", len(whole))
	}
}
