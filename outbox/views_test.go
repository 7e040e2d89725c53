package outbox_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

func TestHistory_HasWhatJSONBCannotHold(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.Exec(t, pool, `INSERT INTO outbox (topic, type, payload) VALUES
		('a', 'trade.executed', '{"b": 1, "a": [1.50]}'), ('a', 'other', '{"a": "\u0000"}'), ('a', 'other', '["\ud800"]'), ('a', 'other', '1e999999')`)
	got := sqltest.Ask[string](t, pool, `SELECT concat_ws(' ', jsonb_typeof(payload), payload #>> '{}', code, title) FROM outcrier.history ORDER BY id`)
	want := []string{`object {"a": [1.50], "b": 1} TRADE-1 Trade executed`, `string {"a": "\u0000"}`, `string ["\ud800"]`, `string 1e999999`}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTopics_CountTheLastHour(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type, created_at) VALUES ('old', 't', now() - interval '2 hours'), ('a', 't', now() - interval '61 minutes')`)
	sqltest.AddNow(t, pool, "a", 2)
	last := sqltest.AddNow(t, pool, "b", 1)[0]
	sqltest.Exec(t, pool, `SELECT outcrier.erase($1::bigint, 'test')`, sqltest.AddNow(t, pool, "b", 1)[0])
	got := sqltest.Ask[string](t, pool, `SELECT concat_ws(' ', topic, events, bytes, last_id = $1) FROM outcrier.topics ORDER BY topic`, last)
	if want := []string{"a 2 6 f", "b 1 3 t"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLag_NamesTheOldestOpenTransactionThatHasAppended(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	const lag = `SELECT concat_ws(' ', lag = '0', overdue = '0', open, open_for > '0', pid, gid, state, query) FROM outcrier.lag`
	if got := sqltest.Ask1[string](t, pool, lag); got != "t 0 f" { // no node says how far it lags
		t.Errorf("idle: %q", got)
	}
	bystander, first, second := sqltest.Connection(t, url), sqltest.Connection(t, url), sqltest.Connection(t, url)
	sqltest.Exec(t, sqltest.Begin(t, bystander), `CREATE TABLE elsewhere (i int)`)
	sqltest.Exec(t, sqltest.Begin(t, first), `INSERT INTO outbox (topic, type) VALUES ('a', 'first')`)
	sqltest.Exec(t, sqltest.Begin(t, second), `SELECT outcrier.append('a', 'second')`)
	if got, want := sqltest.Ask1[string](t, pool, lag), fmt.Sprintf("t 2 t %d idle in transaction INSERT INTO outbox (topic, type) VALUES ('a', 'first')", first.PgConn().PID()); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	sqltest.Exec(t, first, `PREPARE TRANSACTION 'p'`)
	sqltest.Exec(t, second, `ROLLBACK`)
	if got := sqltest.Ask1[string](t, pool, lag); got != "t 1 t p prepared" {
		t.Errorf("prepared: %q", got)
	}
	sqltest.Exec(t, pool, `ROLLBACK PREPARED 'p'`)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at) VALUES ('a', 't', '{}', '/', now() - interval '1 hour')`)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.node (run, node, streams, lag) VALUES (1, 'n', 0, '3 s')`)
	if got := sqltest.Ask1[string](t, pool, `SELECT concat_ws(' ', lag, overdue > '1 hour', nodes, open) FROM outcrier.lag`); got != "00:00:03 t 1 0" {
		t.Errorf("with something to wait for: %q", got)
	}
}

// Removing events, or moving them between partitions, is no append; delivering a
// scheduled event is.
func TestLag_OurOwnWorkIsNoAppend(t *testing.T) {
	pool := outboxtest.New(t)
	const open = `SELECT open FROM outcrier.lag`
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type, created_at) SELECT 'presence/a', 't', now() - n * interval '1 day' FROM generate_series(9, 0, -1) AS n`)
	sqltest.AddNow(t, pool, "b", 1)
	for _, work := range []string{`outcrier.add_partition()`, `outcrier.delete_expired('presence/**', '1 hour')`, `outcrier.drop_partition('2 days')`} {
		tx := sqltest.Begin(t, pool)
		if nothing := sqltest.Ask1[bool](t, tx, `SELECT coalesce(`+work+`::text, '0') = '0'`); nothing {
			t.Errorf("%s had nothing to do", work)
		}
		if n := sqltest.Ask1[int](t, pool, open); n != 0 {
			t.Errorf("%s: %d transactions are said to have appended", work, n)
		}
		sqltest.Add(t, tx, "a")
		if n := sqltest.Ask1[int](t, pool, open); n != 1 {
			t.Errorf("%s and an append: %d transactions are said to have appended", work, n)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sqltest.Exec(t, pool, `INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at) VALUES ('a', 't', '{}', '/', now())`)
	sqltest.Exec(t, sqltest.Begin(t, pool), `SELECT outcrier.deliver_scheduled()`)
	if n := sqltest.Ask1[int](t, pool, open); n != 1 {
		t.Errorf("a delivery: %d transactions are said to have appended", n)
	}
}

func TestViews_AreDocumented(t *testing.T) {
	pool := outboxtest.New(t)
	if list := sqltest.Ask[string](t, pool, `SELECT relname::text FROM pg_class WHERE relkind = 'v' AND (relnamespace = 'outcrier'::regnamespace OR oid = 'public.outbox'::regclass) AND obj_description(oid) IS NULL`); len(list) > 0 {
		t.Errorf("nobody says what these are: %q", list)
	}
}

func TestAppend_ScheduledUnderAKeyIsScheduledOnce(t *testing.T) {
	pool := outboxtest.New(t)
	schedule := func(at string) int64 {
		t.Helper()
		return sqltest.Ask1[int64](t, pool, `SELECT outcrier.append('a', 't', dedup_key => 'k', deliver_at => `+at+`)`)
	}
	first := schedule(`now() + interval '1 hour'`)
	if again := schedule(`now() + interval '2 hours'`); again != first {
		t.Errorf("scheduled as %d and as %d", first, again)
	}
	if !sqltest.Ask1[bool](t, pool, `SELECT outcrier.cancel($1)`, first) {
		t.Error("it was not scheduled")
	}
	second := schedule(`now() + interval '1 hour'`)
	sqltest.Exec(t, pool, `UPDATE outcrier.scheduled SET deliver_at = now() WHERE id = $1`, second)
	if n := sqltest.Ask1[int](t, pool, `SELECT outcrier.deliver_scheduled()`); n != 1 {
		t.Fatalf("%d delivered", n)
	}
	event := sqltest.Ask1[int64](t, pool, `SELECT id FROM outcrier.event`)
	if late := schedule(`now() + interval '1 hour'`); late != event {
		t.Errorf("scheduled %d, though event %d has the key", late, event)
	}
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.scheduled`); n != 0 {
		t.Errorf("%d wait", n)
	}
}
