package outbox_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

func TestHistory_HasWhatJSONBCannotHold(t *testing.T) {
	pool := outboxtest.New(t)
	exec(t, pool, `INSERT INTO outbox (topic, type, payload) VALUES
		('a', 'trade.executed', '{"b": 1, "a": [1.50]}'), ('a', 'other', '{"a": "\u0000"}'), ('a', 'other', '["\ud800"]'), ('a', 'other', '1e999999')`)
	got := ask[string](t, pool, `SELECT concat_ws(' ', jsonb_typeof(payload), payload #>> '{}', code, title) FROM outcrier.history ORDER BY id`)
	want := []string{`object {"a": [1.50], "b": 1} TRADE-1 Trade executed`, `string {"a": "\u0000"}`, `string ["\ud800"]`, `string 1e999999`}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTopics_CountTheLastHour(t *testing.T) {
	pool := outboxtest.New(t)
	exec(t, pool, `INSERT INTO outcrier.event (topic, type, created_at) VALUES ('old', 't', now() - interval '2 hours'), ('a', 't', now() - interval '61 minutes')`)
	addNow(t, pool, "a", 2)
	last := addNow(t, pool, "b", 1)[0]
	exec(t, pool, `SELECT outcrier.erase($1::bigint, 'test')`, addNow(t, pool, "b", 1)[0])
	got := ask[string](t, pool, `SELECT concat_ws(' ', topic, events, bytes, last_id = $1) FROM outcrier.topics ORDER BY topic`, last)
	if want := []string{"a 2 6 f", "b 1 3 t"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLag_NamesTheOldestOpenTransactionThatHasAppended(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	const lag = `SELECT concat_ws(' ', lag = '0', overdue = '0', open, open_for > '0', pid, gid, state, query) FROM outcrier.lag`
	if got := ask1[string](t, pool, lag); got != "t 0 f" { // no node says how far it lags
		t.Errorf("idle: %q", got)
	}
	bystander, first, second := connection(t, url), connection(t, url), connection(t, url)
	exec(t, begin(t, bystander), `CREATE TABLE elsewhere (i int)`)
	exec(t, begin(t, first), `INSERT INTO outbox (topic, type) VALUES ('a', 'first')`)
	exec(t, begin(t, second), `SELECT outcrier.append('a', 'second')`)
	if got, want := ask1[string](t, pool, lag), fmt.Sprintf("t 2 t %d idle in transaction INSERT INTO outbox (topic, type) VALUES ('a', 'first')", first.PgConn().PID()); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	exec(t, first, `PREPARE TRANSACTION 'p'`)
	exec(t, second, `ROLLBACK`)
	if got := ask1[string](t, pool, lag); got != "t 1 t p prepared" {
		t.Errorf("prepared: %q", got)
	}
	exec(t, pool, `ROLLBACK PREPARED 'p'`)
	exec(t, pool, `INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at) VALUES ('a', 't', '{}', '/', now() - interval '1 hour')`)
	exec(t, pool, `INSERT INTO outcrier.node (run, node, streams, lag) VALUES (1, 'n', 0, '3 s')`)
	if got := ask1[string](t, pool, `SELECT concat_ws(' ', lag, overdue > '1 hour', nodes, open) FROM outcrier.lag`); got != "00:00:03 t 1 0" {
		t.Errorf("with something to wait for: %q", got)
	}
}

// Removing events, or moving them between partitions, is no append; delivering a
// scheduled event is.
func TestLag_OurOwnWorkIsNoAppend(t *testing.T) {
	pool := outboxtest.New(t)
	const open = `SELECT open FROM outcrier.lag`
	exec(t, pool, `INSERT INTO outcrier.event (topic, type, created_at) SELECT 'presence/a', 't', now() - n * interval '1 day' FROM generate_series(9, 0, -1) AS n`)
	addNow(t, pool, "b", 1)
	for _, work := range []string{`outcrier.add_partition()`, `outcrier.delete_expired('presence/**', '1 hour')`, `outcrier.drop_partition('2 days')`} {
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
	exec(t, pool, `INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at) VALUES ('a', 't', '{}', '/', now())`)
	exec(t, begin(t, pool), `SELECT outcrier.deliver_scheduled()`)
	if n := ask1[int](t, pool, open); n != 1 {
		t.Errorf("a delivery: %d transactions are said to have appended", n)
	}
}

func TestViews_AreDocumented(t *testing.T) {
	pool := outboxtest.New(t)
	if list := ask[string](t, pool, `SELECT relname::text FROM pg_class WHERE relkind = 'v' AND (relnamespace = 'outcrier'::regnamespace OR oid = 'public.outbox'::regclass) AND obj_description(oid) IS NULL`); len(list) > 0 {
		t.Errorf("nobody says what these are: %q", list)
	}
}

func TestAppend_ScheduledUnderAKeyIsScheduledOnce(t *testing.T) {
	pool := outboxtest.New(t)
	schedule := func(at string) int64 {
		t.Helper()
		return ask1[int64](t, pool, `SELECT outcrier.append('a', 't', dedup_key => 'k', deliver_at => `+at+`)`)
	}
	first := schedule(`now() + interval '1 hour'`)
	if again := schedule(`now() + interval '2 hours'`); again != first {
		t.Errorf("scheduled as %d and as %d", first, again)
	}
	if !ask1[bool](t, pool, `SELECT outcrier.cancel($1)`, first) {
		t.Error("it was not scheduled")
	}
	second := schedule(`now() + interval '1 hour'`)
	exec(t, pool, `UPDATE outcrier.scheduled SET deliver_at = now() WHERE id = $1`, second)
	if n := ask1[int](t, pool, `SELECT outcrier.deliver_scheduled()`); n != 1 {
		t.Fatalf("%d delivered", n)
	}
	event := ask1[int64](t, pool, `SELECT id FROM outcrier.event`)
	if late := schedule(`now() + interval '1 hour'`); late != event {
		t.Errorf("scheduled %d, though event %d has the key", late, event)
	}
	if n := ask1[int](t, pool, `SELECT count(*) FROM outcrier.scheduled`); n != 0 {
		t.Errorf("%d wait", n)
	}
}
