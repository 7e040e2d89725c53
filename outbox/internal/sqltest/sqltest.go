// Package sqltest has the steps that the tests of outbox, and of the packages beneath it,
// share: run a statement, append events, read the present position.
package sqltest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
)

// Querier is a pool, a connection or a transaction.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Exec runs a statement.
func Exec(t testing.TB, db Querier, sql string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Ask returns the first column of all rows.
func Ask[T any](t testing.TB, db Querier, sql string, args ...any) []T {
	t.Helper()
	rows, _ := db.Query(t.Context(), sql, args...) // CollectRows has the error
	list, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return list
}

// Ask1 returns the first column of the only row.
func Ask1[T any](t testing.TB, db Querier, sql string, args ...any) T {
	t.Helper()
	list := Ask[T](t, db, sql, args...)
	if len(list) != 1 {
		t.Fatalf("%s: %d rows", sql, len(list))
	}
	return list[0]
}

// Begin opens a transaction that is rolled back with the test, unless it ends
// before.
func Begin(t testing.TB, db interface {
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

// Commit commits tx.
func Commit(t testing.TB, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Add appends one event and returns its id.
func Add(t testing.TB, tx pgx.Tx, topic string) int64 {
	t.Helper()
	return add(t, tx, topic, 1)[0]
}

// AddNow appends n events in a transaction of their own and returns their ids.
func AddNow(t testing.TB, pool *pgxpool.Pool, topic string, n int) []int64 {
	t.Helper()
	tx := Begin(t, pool)
	ids := add(t, tx, topic, n)
	Commit(t, tx)
	return ids
}

func add(t testing.TB, tx pgx.Tx, topic string, n int) []int64 {
	t.Helper()
	ids, err := outbox.Append(t.Context(), tx, slices.Repeat([]outbox.Draft{{Topic: topic, Type: "test.added"}}, n)...)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// Here is the present position, as SQL gives it.
func Here(t testing.TB, db Querier) position.Position {
	t.Helper()
	return Opened(t, db, func() string { return Ask1[string](t, db, `SELECT outcrier.position()`) })
}

// Opened is a position that SQL writes, with the database's keys, which are made if there
// are none.
func Opened(t testing.TB, db Querier, write func() string) position.Position {
	t.Helper()
	var keys position.Keys
	if err := keys.Read(t.Context(), db, outbox.DefaultSchema); err != nil {
		t.Fatal(err)
	}
	p, err := keys.Open(write())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Replay reads the events of a filter from one position to another, in pages of at most limit,
// and returns their ids.
func Replay(t testing.TB, reader replay.Reader, from, to position.Position, filter outbox.Filter, limit int) (ids []int64) {
	t.Helper()
	for _, rng := range replay.Ranges(from, to) {
		for {
			page, err := reader.Replay(t.Context(), rng, filter, limit, 0)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Events) > limit {
				t.Errorf("a page of %d events, asked for were %d", len(page.Events), limit)
			}
			for _, e := range page.Events {
				ids = append(ids, e.ID)
			}
			if page.Done {
				break
			}
			if page.After <= rng.After {
				t.Fatalf("a page goes from %d to %d", rng.After, page.After)
			}
			rng.Advance(page)
		}
	}
	return ids
}

// Earliest is the position before all events that are held.
func Earliest(t testing.TB, reader replay.Reader) position.Position {
	t.Helper()
	p, err := reader.Earliest(t.Context(), position.Position{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// All selects all events on the topics.
func All(topics ...outbox.Pattern) outbox.Filter { return outbox.Filter{Topics: topics} }

// Connection is one of the test's own, apart from the pool's.
func Connection(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// PastPartition makes the partition of a day so many days ago with n events, one
// a transaction, as retention will find it.
func PastPartition(t testing.TB, pool *pgxpool.Pool, days, n int) {
	t.Helper()
	var name, from, to string
	err := pool.QueryRow(t.Context(), `SELECT to_char(day, '"outcrier.event_"YYYY_MM_DD'), day::text, (day + 1)::text
		FROM (SELECT (now() AT TIME ZONE 'UTC')::date - $1::int AS day) AS d`, days).Scan(&name, &from, &to)
	if err != nil {
		t.Fatal(err)
	}
	Exec(t, pool, fmt.Sprintf(`CREATE TABLE %s PARTITION OF outcrier.event FOR VALUES FROM ('%s+00') TO ('%s+00')`, name, from, to))
	for range n {
		Exec(t, pool, `INSERT INTO outcrier.event (topic, type, created_at) VALUES ('past', 'test.past', $1::date + interval '12 hours')`, from)
	}
}

// Partitions makes the partitions of days, like 2020-11-20.
func Partitions(t testing.TB, pool *pgxpool.Pool, days ...string) {
	t.Helper()
	for _, day := range days {
		Exec(t, pool, fmt.Sprintf(`CREATE TABLE outcrier."event_%s" PARTITION OF outcrier.event FOR VALUES FROM ('%[1]s 00:00+00') TO ('%[1]s 24:00+00')`, day))
	}
}

// Blocks is how many of the database's blocks fn looked at.
func Blocks(t testing.TB, pool *pgxpool.Pool, fn func()) int64 {
	t.Helper()
	count := func() int64 {
		for _, conn := range pool.AcquireAllIdle(t.Context()) { // what they did is counted now
			Exec(t, conn, `SELECT pg_stat_force_next_flush()`)
			Exec(t, conn, `SELECT 1`)
			conn.Release()
		}
		return Ask1[int64](t, pool, `SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()`)
	}
	before := count()
	fn()
	return count() - before
}

// Lose takes events away as a failover does that lost their commits: nothing says so.
func Lose(t testing.TB, pool *pgxpool.Pool, where string, args ...any) {
	t.Helper()
	tx := Begin(t, pool)
	Exec(t, tx, `ALTER TABLE outcrier.event DISABLE TRIGGER mark_change`)
	Exec(t, tx, `DELETE FROM outcrier.event WHERE `+where, args...)
	Exec(t, tx, `ALTER TABLE outcrier.event ENABLE ALWAYS TRIGGER mark_change`)
	Commit(t, tx)
}

// Forge inserts events with xids of the test's choice, as were there before.
func Forge(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	tx := Begin(t, pool)
	Exec(t, tx, `ALTER TABLE outcrier.event DISABLE TRIGGER settle_foreign`)
	Exec(t, tx, sql, args...)
	Exec(t, tx, `ALTER TABLE outcrier.event ENABLE ALWAYS TRIGGER settle_foreign`)
	Commit(t, tx)
}

// Payload200 is, in SQL, a JSON object of 200 bytes.
const Payload200 = `json_build_object('p', repeat('x', 190))`
