//go:build unix

package testkit

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/pgserver"
)

// SmallQueue starts a Postgres whose notification queue is filled by half a megabyte. Before
// version 17 its size is fixed to 8 GB, which a test can't fill.
func SmallQueue(t testing.TB) *pgserver.Server {
	t.Helper()
	server, err := pgserver.Start(t.Context(), pgserver.Config{Memory: true, Settings: map[string]string{"fsync": "off"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	conn := connect(t, server.URL(""))
	if version(t, conn) >= 170000 {
		run(t, conn, `ALTER SYSTEM SET max_notify_queue_pages = 64`)
		_ = conn.Close(context.Background())
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return server
}

// FillQueue fills the notification queue of a SmallQueue to at least that share, as far as the
// database at url can see: with a session that listens and stays in a transaction. Free ends
// that. Before version 17 the function that tells how full it is says so, and nothing else is full.
func FillQueue(t testing.TB, url string, share float64) (free func()) {
	t.Helper()
	conn := connect(t, url)
	if version(t, conn) < 170000 {
		says := func(language, body string) {
			t.Helper()
			run(t, conn, `CREATE OR REPLACE FUNCTION pg_catalog.pg_notification_queue_usage() RETURNS float8 LANGUAGE `+language+` AS '`+body+`'`)
			// Sessions keep plans with a function of Postgres's own, until they make all plans anew.
			run(t, conn, `CREATE SCHEMA anew`)
			run(t, conn, `DROP SCHEMA anew`)
		}
		says("sql", fmt.Sprintf("SELECT %g::float8", share))
		return func() { t.Helper(); says("internal", "pg_notification_queue_usage") }
	}
	listener := connect(t, url)
	run(t, listener, `LISTEN noise`)
	run(t, listener, `BEGIN`)
	run(t, listener, `SELECT 1`)
	// A notification takes a page of 8 kB. The last that has no room fails.
	for used := 0.0; used < share; {
		_, err := conn.Exec(t.Context(), `SELECT pg_notify('noise', repeat('x', 7900) || random())`)
		if failed := conn.QueryRow(t.Context(), `SELECT pg_notification_queue_usage()`).Scan(&used); failed != nil || err != nil && used < 0.95 {
			t.Fatal(failed, err)
		}
		if err != nil {
			break
		}
	}
	return func() {
		t.Helper()
		run(t, listener, `ROLLBACK`)
		run(t, listener, `UNLISTEN *`)
	}
}

func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func run(t testing.TB, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%v: %s", err, statement)
	}
}

func version(t testing.TB, conn *pgx.Conn) (number int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), `SELECT current_setting('server_version_num')::int`).Scan(&number); err != nil {
		t.Fatal(err)
	}
	return number
}
