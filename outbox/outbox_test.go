package outbox_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox"
)

// database is a pool, a connection or a transaction.
type database interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func exec(t testing.TB, db database, sql string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// ask returns the first column of all rows.
func ask[T any](t testing.TB, db database, sql string, args ...any) []T {
	t.Helper()
	rows, _ := db.Query(t.Context(), sql, args...) // CollectRows has the error
	list, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return list
}

func ask1[T any](t testing.TB, db database, sql string, args ...any) T {
	t.Helper()
	list := ask[T](t, db, sql, args...)
	if len(list) != 1 {
		t.Fatalf("%s: %d rows", sql, len(list))
	}
	return list[0]
}

// begin opens a transaction that is rolled back with the test, unless it ends
// before.
func begin(t testing.TB, db interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}) pgx.Tx {
	t.Helper()
	tx, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

func commit(t testing.TB, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// add appends one event and returns its id.
func add(t testing.TB, tx pgx.Tx, topic string) int64 {
	t.Helper()
	ids, err := outbox.Append(t.Context(), tx, outbox.Draft{Topic: topic, Type: "test.added"})
	if err != nil {
		t.Fatal(err)
	}
	return ids[0]
}

// addNow appends n events in a transaction of their own and returns their ids.
func addNow(t testing.TB, pool *pgxpool.Pool, topic string, n int) []int64 {
	t.Helper()
	tx := begin(t, pool)
	var ids []int64
	for range n {
		ids = append(ids, add(t, tx, topic))
	}
	commit(t, tx)
	return ids
}

// connection is one of the test's own, beside the pool's.
func connection(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// pastPartition makes a daily partition of so many days ago with n events, one
// a transaction, as retention will find it.
func pastPartition(t testing.TB, pool *pgxpool.Pool, days, n int) {
	t.Helper()
	var name, from, to string
	err := pool.QueryRow(t.Context(), `SELECT to_char(day, '"outbox_"YYYY_MM_DD'), day::text, (day + 1)::text
		FROM (SELECT (now() AT TIME ZONE 'UTC')::date - $1::int AS day) AS d`, days).Scan(&name, &from, &to)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, pool, fmt.Sprintf(`CREATE TABLE %s PARTITION OF outbox FOR VALUES FROM ('%s+00') TO ('%s+00')`, name, from, to))
	for range n {
		exec(t, pool, `INSERT INTO outbox (topic, type, created_at) VALUES ('past', 'test.past', $1::date + interval '12 hours')`, from)
	}
}
