package outbox_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
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

// connection is one of the test's own, apart from the pool's.
func connection(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// pastPartition makes the partition of a day so many days ago with n events, one
// a transaction, as retention will find it.
func pastPartition(t testing.TB, pool *pgxpool.Pool, days, n int) {
	t.Helper()
	var name, from, to string
	err := pool.QueryRow(t.Context(), `SELECT to_char(day, '"outcrier.event_"YYYY_MM_DD'), day::text, (day + 1)::text
		FROM (SELECT (now() AT TIME ZONE 'UTC')::date - $1::int AS day) AS d`, days).Scan(&name, &from, &to)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, pool, fmt.Sprintf(`CREATE TABLE %s PARTITION OF outcrier.event FOR VALUES FROM ('%s+00') TO ('%s+00')`, name, from, to))
	for range n {
		exec(t, pool, `INSERT INTO outcrier.event (topic, type, created_at) VALUES ('past', 'test.past', $1::date + interval '12 hours')`, from)
	}
}

// lose takes events away as a failover does that lost their commits: nothing says so.
func lose(t testing.TB, pool *pgxpool.Pool, where string, args ...any) {
	t.Helper()
	tx := begin(t, pool)
	exec(t, tx, `ALTER TABLE outcrier.event DISABLE TRIGGER mark_change`)
	exec(t, tx, `DELETE FROM outcrier.event WHERE `+where, args...)
	exec(t, tx, `ALTER TABLE outcrier.event ENABLE ALWAYS TRIGGER mark_change`)
	commit(t, tx)
}

// forge inserts events with xids of the test's choice, as were there before.
func forge(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	tx := begin(t, pool)
	exec(t, tx, `ALTER TABLE outcrier.event DISABLE TRIGGER settle_foreign`)
	exec(t, tx, sql, args...)
	exec(t, tx, `ALTER TABLE outcrier.event ENABLE ALWAYS TRIGGER settle_foreign`)
	commit(t, tx)
}

// partitions makes the partitions of days, like 2020-11-20.
func partitions(t testing.TB, pool *pgxpool.Pool, days ...string) {
	t.Helper()
	for _, day := range days {
		exec(t, pool, fmt.Sprintf(`CREATE TABLE outcrier."event_%s" PARTITION OF outcrier.event FOR VALUES FROM ('%[1]s 00:00+00') TO ('%[1]s 24:00+00')`, day))
	}
}

// databaseOf is the name of the database of a URL.
func databaseOf(t testing.TB, url string) string {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return config.Database
}

// lines is a log that several goroutines may write to while a test reads it.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
