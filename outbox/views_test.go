package outbox_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

func TestHistory_HasWhatJSONBCannotHold(t *testing.T) {
	pool := outboxtest.New(t)
	exec(t, pool, `INSERT INTO outbox (topic, type, payload) VALUES
		('a', 'trade.executed', '{"b": 1, "a": [1.50]}'), ('a', 'other', '{"a": "\u0000"}'), ('a', 'other', '["\ud800"]'), ('a', 'other', '1e999999')`)
	got := ask[string](t, pool, `SELECT concat_ws(' ', jsonb_typeof(payload), payload #>> '{}', code, title) FROM outbox_history ORDER BY id`)
	want := []string{`object {"a": [1.50], "b": 1} TRADE-1 Trade executed`, `string {"a": "\u0000"}`, `string ["\ud800"]`, `string 1e999999`}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// truth is what outbox_topic_stats should say, when no topic is summed up.
const truth = `SELECT coalesce(string_agg(concat_ws(' ', topic, events, last_id), ', ' ORDER BY topic), '') FROM `

func counts(t *testing.T, db database) (view, table string) {
	t.Helper()
	return ask1[string](t, db, truth+`outbox_topic_stats`),
		ask1[string](t, db, truth+`(SELECT topic, count(*) AS events, max(id) AS last_id FROM outbox GROUP BY topic) AS o`)
}

func TestStats_CountEachEventOnceHoweverLateItIsCommitted(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	stats := outbox.Stats{Pool: pool, Log: slog.New(slog.DiscardHandler)}
	turn := func() {
		t.Helper()
		if err := stats.Turn(t.Context()); err != nil {
			t.Fatal(err)
		}
		if view, table := counts(t, pool); view != table {
			t.Errorf("counted are %q, there are %q", view, table)
		}
	}
	late, lost := begin(t, connection(t, url)), begin(t, connection(t, url))
	exec(t, late, `INSERT INTO outbox (topic, type) VALUES ('late', 't'), ('a', 't')`)
	exec(t, pool, `INSERT INTO outbox (topic, type) SELECT 'a', 't' FROM generate_series(1, 10)`)
	turn()
	exec(t, lost, `INSERT INTO outbox (topic, type) VALUES ('lost', 't')`)
	exec(t, pool, `INSERT INTO outbox (topic, type) SELECT (ARRAY['a', 'b'])[1 + n % 2], 't' FROM generate_series(1, 10) AS n`)
	exec(t, pool, `INSERT INTO outbox (topic, type, created_at) VALUES ('old', 't', '2020-01-01')`)
	turn()
	if err := late.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := lost.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	turn()
	turn()
	// Within one transaction: what it appends after it counted is not lost.
	own := begin(t, pool)
	exec(t, own, `INSERT INTO outbox (topic, type) VALUES ('own', 't')`)
	exec(t, own, `SELECT outbox_count_topics()`)
	exec(t, own, `INSERT INTO outbox (topic, type) VALUES ('own', 't')`)
	if err := own.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	turn()
	// The partition goes, and its counts with it.
	exec(t, pool, `DO $$ BEGIN EXECUTE 'DROP TABLE ' || (SELECT tableoid::regclass FROM outbox WHERE topic = 'a' LIMIT 1); END $$`)
	if view, table := counts(t, pool); view != table || view == "" {
		t.Errorf("counted are %q, there are %q", view, table)
	}
	turn()
	exec(t, pool, `TRUNCATE outbox`)
	turn()
}

func TestStats_CountAnewWhereEventsWereDeleted(t *testing.T) {
	pool := outboxtest.New(t)
	stats := outbox.Stats{Pool: pool, Log: slog.New(slog.DiscardHandler)}
	exec(t, pool, `INSERT INTO outbox (topic, type) SELECT 'a', 't' FROM generate_series(1, 10)`)
	if err := stats.Turn(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec(t, pool, `DELETE FROM outbox WHERE id % 2 = 0`)
	exec(t, pool, `UPDATE outbox_counted_partition SET counted_at = counted_at - interval '11 minutes'`)
	// Postgres tells of deletes after a while.
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err := stats.Turn(t.Context()); err != nil {
			t.Fatal(err)
		}
		view, table := counts(t, pool)
		if view == table {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("counted are %q, there are %q", view, table)
		}
	}
}

func TestStats_KeepTheBusiestAndSumUpTheRest(t *testing.T) {
	pool := outboxtest.New(t)
	for range 2 {
		exec(t, pool, `INSERT INTO outbox (topic, type) SELECT 'topic/' || n, 't' FROM generate_series(1, 9) AS n, generate_series(1, n)`)
		exec(t, pool, `SELECT outbox_count_topics(3) FROM generate_series(1, 6)`)
	}
	rows := ask1[string](t, pool, `SELECT string_agg(concat_ws(' ', coalesce(topic, '(others)'), events), ', ' ORDER BY topic) FROM outbox_topic_stats`)
	if want := "topic/7 14, topic/8 16, topic/9 18, (others) 42"; rows != want {
		t.Errorf("%q, want %q", rows, want)
	}
}

func TestLag_NamesTheOldestOpenTransactionThatHasAppended(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	const lag = `SELECT concat_ws(' ', lag = '0', overdue = '0', open, open_for > '0', pid, gid, state, query) FROM outbox_lag`
	if got := ask1[string](t, pool, lag); got != "t t 0 f" {
		t.Errorf("idle: %q", got)
	}
	bystander, first, second := connection(t, url), connection(t, url), connection(t, url)
	exec(t, begin(t, bystander), `CREATE TABLE elsewhere (i int)`)
	exec(t, begin(t, first), `INSERT INTO outbox (topic, type) VALUES ('a', 'first')`)
	exec(t, begin(t, second), `SELECT outbox_append('a', 'second')`)
	if got, want := ask1[string](t, pool, lag), fmt.Sprintf("t t 2 t %d idle in transaction INSERT INTO outbox (topic, type) VALUES ('a', 'first')", first.PgConn().PID()); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	exec(t, first, `PREPARE TRANSACTION 'p'`)
	exec(t, second, `ROLLBACK`)
	if got := ask1[string](t, pool, lag); got != "t t 1 t p prepared" {
		t.Errorf("prepared: %q", got)
	}
	exec(t, pool, `ROLLBACK PREPARED 'p'`)
	exec(t, pool, `INSERT INTO outbox_scheduled (topic, type, deliver_at) VALUES ('a', 't', now() - interval '1 hour')`)
	exec(t, pool, `INSERT INTO outbox_node (run, node, streams, lag) VALUES (1, 'n', 0, '3 s')`)
	if got := ask1[string](t, pool, `SELECT concat_ws(' ', lag, overdue > '1 hour', nodes, open) FROM outbox_lag`); got != "00:00:03 t 1 0" {
		t.Errorf("owing: %q", got)
	}
}

// To remove events and to move them between partitions owes nobody anything; to move
// what was scheduled does.
func TestLag_OurOwnWorkOwesNothing(t *testing.T) {
	pool := outboxtest.New(t)
	const open = `SELECT open FROM outbox_lag`
	exec(t, pool, `INSERT INTO outbox (topic, type, created_at) SELECT 'presence/a', 't', now() - n * interval '1 day' FROM generate_series(0, 9) AS n`)
	addNow(t, pool, "b", 1)
	for _, work := range []string{`outbox_ahead()`, `outbox_sweep('presence/**', '1 hour')`, `outbox_drop('2 days')`} {
		tx := begin(t, pool)
		if nothing := ask1[bool](t, tx, `SELECT coalesce(`+work+`::text, '0') = '0'`); nothing {
			t.Errorf("%s had nothing to do", work)
		}
		if n := ask1[int](t, pool, open); n != 0 {
			t.Errorf("%s: %d transactions are said to have appended", work, n)
		}
		add(t, tx, "a")
		if n := ask1[int](t, pool, open); n != 1 {
			t.Errorf("%s and an append: %d transactions are said to have appended", work, n)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, pool, `INSERT INTO outbox_scheduled (topic, type, deliver_at) VALUES ('a', 't', now())`)
	exec(t, begin(t, pool), `SELECT outbox_deliver_due()`)
	if n := ask1[int](t, pool, open); n != 1 {
		t.Errorf("a delivery: %d transactions are said to have appended", n)
	}
}

func TestViews_AreDocumented(t *testing.T) {
	pool := outboxtest.New(t)
	if list := ask[string](t, pool, `SELECT relname::text FROM pg_class WHERE relkind = 'v' AND relname LIKE 'outbox%' AND obj_description(oid) IS NULL`); len(list) > 0 {
		t.Errorf("nobody says what these are: %q", list)
	}
}

func TestAppend_ScheduledUnderAKeyIsScheduledOnce(t *testing.T) {
	pool := outboxtest.New(t)
	schedule := func(at string) int64 {
		t.Helper()
		return ask1[int64](t, pool, `SELECT outbox_append('a', 't', dedup_key => 'k', deliver_at => `+at+`)`)
	}
	first := schedule(`now() + interval '1 hour'`)
	if again := schedule(`now() + interval '2 hours'`); again != first {
		t.Errorf("scheduled as %d and as %d", first, again)
	}
	exec(t, pool, `DELETE FROM outbox_scheduled WHERE id = $1`, first)
	second := schedule(`now() + interval '1 hour'`)
	exec(t, pool, `UPDATE outbox_scheduled SET deliver_at = now() WHERE id = $1`, second)
	if n := ask1[int](t, pool, `SELECT outbox_deliver_due()`); n != 1 {
		t.Fatalf("%d delivered", n)
	}
	event := ask1[int64](t, pool, `SELECT id FROM outbox`)
	if late := schedule(`now() + interval '1 hour'`); late != event {
		t.Errorf("scheduled %d, though event %d has the key", late, event)
	}
	if n := ask1[int](t, pool, `SELECT count(*) FROM outbox_scheduled`); n != 0 {
		t.Errorf("%d wait", n)
	}
}
