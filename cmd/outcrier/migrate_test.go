package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// From nothing to nothing, by the commands as one types them.
func TestMigrate_MakesShowsAndDropsAnOutbox(t *testing.T) {
	url := outboxtest.URL(t)
	conn := must(pgx.Connect(t.Context(), url))
	defer conn.Close(context.Background())
	name := conn.Config().Database
	environ := []string{"DATABASE_URL=" + url, "OUTCRIER_SCHEMA=tenant 7", "OUTCRIER_OUTBOX=public.Tenant 7"}
	says := func(code int, want string, args ...string) {
		t.Helper()
		if got := runWith(t, environ, args...); got.code != code || !strings.Contains(got.stdout+got.stderr, want) {
			t.Errorf("%q: %+v, want %d and %q", args, got, code, want)
		}
	}
	says(exitDone, "nothing is applied", "migrate", "status")
	says(exitFailed, fmt.Sprintf("%d migrations pending", migrations.Newest()), "migrate", "status", "--check")
	says(exitDone, fmt.Sprintf("%d migrations applied", migrations.Newest()), "migrate", "up")
	says(exitDone, "nothing to do: all migrations are applied", "migrate", "up")
	says(exitDone, `schema tenant 7, view public."Tenant 7"`, "migrate", "status")
	says(exitDone, "1\n", "append", "--topic", "a", "--type", "t", "--payload", "{}")
	says(exitDone, "account.locked", "catalogue", "list")
	says(exitDone, "up to date", "migrate", "status", "--check")
	says(exitDone, "the roles exist", "migrate", "roles")
	says(exitDone, `GRANT INSERT, SELECT ON "public"."Tenant 7" TO outcrier_writer`, "migrate", "roles", "--print")
	must(conn.Exec(t.Context(), `TRUNCATE "tenant 7".schema_migration`))
	says(exitFailed, "outcrier migrate up restores", "migrate", "status", "--check")
	says(exitDone, "what was missing is restored", "migrate", "up")
	says(exitFailed, "name the database to confirm: --database NAME", "migrate", "drop")
	says(exitFailed, "nothing is dropped", "migrate", "drop", "--database", "other")
	must(conn.Exec(t.Context(), `SELECT "tenant 7".heartbeat(1, 'web-1', 0, NULL, NULL)`))
	says(exitFailed, "nodes run on this outbox: web-1", "migrate", "drop", "--database", name)
	must(conn.Exec(t.Context(), `SELECT "tenant 7".stop_node(1)`))
	says(exitDone, "schema tenant 7 of database "+name+" is dropped", "migrate", "drop", "--database", name)
	says(exitDone, "nothing is applied", "migrate", "status")

	// The script asks no database.
	got := runWith(t, []string{"OUTCRIER_SCHEMA=tenant_8"}, "migrate", "sql", "--payload-limit", "2MiB", "--outbox", "app.events")
	for _, part := range []string{`CREATE SCHEMA "tenant_8"`, `CREATE VIEW "app"."events"`, `"tenant_8".schema_migration (version_id, is_applied) VALUES (1, true)`, "2097152"} {
		if got.code != exitDone || !strings.Contains(got.stdout, part) {
			t.Errorf("it lacks %q: %s", part, got.stderr)
		}
	}
	if step := runWith(t, nil, "migrate", "sql", "--from", fmt.Sprint(migrations.Newest()-1)); step.code != exitDone || strings.Contains(step.stdout, "CREATE TABLE outcrier.event ") || !strings.Contains(step.stdout, fmt.Sprintf("VALUES (%d, true)", migrations.Newest())) {
		t.Errorf("%+v", step)
	}
}

// bouncer is a transaction pooler before the database at url, which it gives its own
// user to.
func bouncer(t *testing.T, url string) string {
	t.Helper()
	program := ""
	for _, path := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if found, err := exec.LookPath(path); err == nil {
			program = found
		}
	}
	if program == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("CI is set, but pgbouncer is not installed")
		}
		t.Skip("pgbouncer is not installed")
	}
	config := must(pgx.ParseConfig(url))
	dir := must(os.MkdirTemp("/tmp", "outcrier-pgbouncer-"))
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(0, os.Chmod(dir, 0o755))
	address := freeAddress()
	_, port, _ := net.SplitHostPort(address)
	file := filepath.Join(dir, "pgbouncer.ini")
	must(0, os.WriteFile(file, fmt.Appendf(nil, `[databases]
%s = host=%s port=%d user=%s password=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
server_idle_timeout = 1
`, config.Database, config.Host, config.Port, config.User, config.Password, port), 0o644))
	args := []string{file}
	if os.Geteuid() == 0 { // which it refuses to run as
		args = []string{"-u", "nobody", file}
	}
	cmd := exec.Command(program, args...)
	cmd.Stderr = t.Output()
	must(0, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	eventually(t, func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return "postgres://x@" + address + "/" + config.Database + "?sslmode=disable"
}

// A transaction pooler gives each transaction another session of Postgres: nothing may
// be set, prepared or locked for longer.
func TestMigrate_WorksThroughATransactionPooler(t *testing.T) {
	direct := outboxtest.URL(t)
	conn := must(pgx.Connect(t.Context(), direct))
	defer conn.Close(context.Background())
	must(conn.Exec(t.Context(), `DROP VIEW public.outbox; DROP SCHEMA outcrier CASCADE`))
	environ := []string{"DATABASE_URL=" + bouncer(t, direct)}
	done := func(want string, args ...string) {
		t.Helper()
		if got := runWith(t, environ, args...); got.code != exitDone || !strings.Contains(got.stdout, want) {
			t.Errorf("%q: %+v, want %q", args, got, want)
		}
	}
	for range 2 {
		done("nothing is applied", "migrate", "status")
		done("migrations applied", "migrate", "up")
		for range 3 {
			done("nothing to do", "migrate", "up")
			done("up to date", "migrate", "status")
			done("", "migrate", "roles")
			done("", "append", "--topic", "a", "--type", "t", "--payload", "{}")
			done("account.locked", "catalogue", "list")
			done("", "catalogue", "set", "--type", "order.filled", "--title", "Order filled")
		}
		var events int
		if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM outcrier.history`).Scan(&events); err != nil || events != 3 {
			t.Errorf("%d events, %v", events, err)
		}
		// No lock is left behind on a session of the pooler's.
		var locks int
		if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'`).Scan(&locks); err != nil || locks != 0 {
			t.Errorf("%d advisory locks are left, %v", locks, err)
		}
		// The pooler keeps sessions of nodes, as they seem, for a second.
		eventually(t, func() bool {
			return runWith(t, environ, "migrate", "drop", "--database", conn.Config().Database).code == exitDone
		})
	}
}
