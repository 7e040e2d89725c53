package migrations_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// A retry is a new transaction with the same key, and gets the first one's id by
// whatever way it appends.
func TestDedup_ARetryGetsTheFirstID(t *testing.T) {
	t.Parallel()
	conn := connect(t, outboxtest.URL(t))
	first := ask[int64](t, conn, `INSERT INTO outbox (topic, type, payload, dedup_key) VALUES ('a', 't', '1', 'k') RETURNING id`)
	for _, retry := range []string{
		`INSERT INTO outbox (topic, type, payload, dedup_key) VALUES ('a', 't', '1', 'k') RETURNING id`,
		`INSERT INTO outbox (topic, type, payload, dedup_key) VALUES ('a', 't', '2', 'k') RETURNING id`,
		`INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', 't', 'k') ON CONFLICT DO NOTHING RETURNING id`,
		`INSERT INTO outbox (topic, type, dedup_key, deliver_at) VALUES ('a', 't', 'k', now() + interval '1 hour') RETURNING id`,
		`SELECT outcrier.append('a', 't', dedup_key => 'k')`,
		`SELECT outcrier.append_all(ARRAY['a'], ARRAY['t'], NULL::json[], dedup_keys => ARRAY['k'])`,
	} {
		if id := ask[int64](t, conn, retry); id != first {
			t.Errorf("%s returns %d, the first is %d", retry, id, first)
		}
	}
	if created := ask[bool](t, conn, `WITH r AS (INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', 't', 'k') RETURNING created_at)
		SELECT created_at = (SELECT created_at FROM outcrier.event) FROM r`); !created {
		t.Error("created_at is not the first one's")
	}
	for _, other := range []string{
		`INSERT INTO outbox (topic, type, dedup_key) VALUES ('b', 't', 'k')`,
		`INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', 'u', 'k')`,
		`SELECT outcrier.append('b', 't', dedup_key => 'k')`,
		`SELECT outcrier.append_all(ARRAY['b'], ARRAY['t'], NULL::json[], dedup_keys => ARRAY['k'])`,
		`SELECT outcrier.append_all(ARRAY['a', 'b'], ARRAY['t', 't'], NULL::json[], dedup_keys => ARRAY['n', 'n'])`,
	} {
		if _, err := conn.Exec(t.Context(), other); code(err) != "23505" {
			t.Errorf("%s: %v", other, err)
		}
	}
	if n := ask[int](t, conn, `SELECT count(*) FROM outcrier.event`); n != 1 {
		t.Errorf("%d events", n)
	}
}

// Some ORMs read the row back after an INSERT, or ask for lastval().
func TestDedup_ARetryCanBeReadBack(t *testing.T) {
	t.Parallel()
	g := guard(t)
	writer := connect(t, g.writer)
	first := ask[int64](t, writer, `INSERT INTO outbox (topic, type, payload, dedup_key) VALUES ('a', 't', '1', 'k') RETURNING id`)
	exec(t, writer, `INSERT INTO outbox (topic, type) VALUES ('other', 't')`)
	exec(t, writer, `BEGIN`)
	exec(t, writer, `INSERT INTO outbox (topic, type, payload, dedup_key) VALUES ('a', 't', '1', 'k')`)
	if id := ask[int64](t, writer, `SELECT lastval()`); id != first {
		t.Errorf("lastval() is %d, the id %d", id, first)
	}
	exec(t, writer, `INSERT INTO outbox (topic, type) VALUES ('b', 't')`)
	exec(t, writer, `INSERT INTO outbox (topic, type, payload, dedup_key) VALUES ('a', 't', '1', 'k')`)
	if got := list[string](t, writer, `SELECT concat_ws(' ', topic, payload, dedup_key, created_at IS NOT NULL) FROM outbox WHERE id = $1`, first); !slices.Equal(got, []string{"a 1 k t"}) {
		t.Errorf("read back is %q", got)
	}
	if got := list[string](t, writer, `SELECT topic FROM outbox`); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the transaction sees %v", got)
	}
	exec(t, writer, `COMMIT`)
	if got := list[string](t, writer, `SELECT topic FROM outbox`); len(got) != 0 {
		t.Errorf("after the transaction it sees %v", got)
	}
}

// A key counts as long as its event exists, whatever removed the event.
func TestDedup_AKeyIsFreeWhenItsEventIsGone(t *testing.T) {
	t.Parallel()
	conn := connect(t, outboxtest.URL(t))
	for _, removal := range []string{
		`DELETE FROM outcrier.event`,
		`TRUNCATE outcrier.event`,
		`SELECT outcrier.erase(id, 'a test') FROM outcrier.event WHERE dedup_key = 'k'`,
		`SELECT outcrier.erase('a', 'a test')`,
		`SELECT outcrier.reset()`,
		`TRUNCATE outcrier.event, outcrier.dedup`,
	} {
		exec(t, conn, `TRUNCATE outcrier.event, outcrier.dedup, outcrier.scheduled`)
		first := ask[int64](t, conn, `SELECT outcrier.append('a', 't', dedup_key => 'k')`)
		exec(t, conn, removal)
		for range 2 {
			id := ask[int64](t, conn, `INSERT INTO outbox (topic, type, dedup_key) VALUES ('b', 'u', 'k') RETURNING id`)
			if id == first || ask[int](t, conn, `SELECT count(*) FROM outcrier.event WHERE topic = 'b'`) != 1 {
				t.Errorf("after %s the append returns %d, the first was %d", removal, id, first)
			}
		}
	}
}

func TestDedup_AScheduledEventHoldsItsKey(t *testing.T) {
	t.Parallel()
	conn := connect(t, outboxtest.URL(t))
	const schedule = `INSERT INTO outbox (topic, type, dedup_key, deliver_at) VALUES ('a', 't', 'k', now() + interval '1 hour') RETURNING id`
	first := ask[int64](t, conn, schedule)
	if id := ask[int64](t, conn, `INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', 't', 'k') RETURNING id`); id != first {
		t.Errorf("while it is scheduled a retry returns %d, want %d", id, first)
	}
	due(t, conn, "a")
	testkit.Eventually(t, "it is delivered", func() bool { return ask[int](t, conn, `SELECT outcrier.deliver_scheduled()`) == 1 })
	delivered := ask[int64](t, conn, `SELECT id FROM outcrier.event`)
	if id := ask[int64](t, conn, schedule); id != delivered {
		t.Errorf("when it is delivered a retry returns %d, want %d", id, delivered)
	}
	// Cancelled, by the function or by hand, it frees the key.
	for _, cancel := range []string{`SELECT outcrier.cancel(id) FROM outcrier.scheduled`, `DELETE FROM outcrier.scheduled`} {
		exec(t, conn, `TRUNCATE outcrier.event`)
		first = ask[int64](t, conn, schedule)
		exec(t, conn, cancel)
		if id := ask[int64](t, conn, `SELECT outcrier.append('b', 't', dedup_key => 'k')`); id == first {
			t.Errorf("after %s the append returns the cancelled id", cancel)
		}
	}
}

// The snapshot of a REPEATABLE READ transaction can't see who took the key after it.
func TestDedup_ASnapshotOfBeforeIsToRetry(t *testing.T) {
	t.Parallel()
	address := outboxtest.URL(t)
	conn, other := connect(t, address), connect(t, address)
	exec(t, conn, `BEGIN ISOLATION LEVEL REPEATABLE READ`)
	exec(t, conn, `SELECT 1 FROM outcrier.event`)
	exec(t, other, `INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', 't', 'k')`)
	if _, err := conn.Exec(t.Context(), `INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', 't', 'k')`); code(err) != "40001" {
		t.Errorf("the append: %v", err)
	}
	exec(t, conn, `ROLLBACK`)
}

// append_all claims keys in their order, not in the caller's.
func TestDedup_ManyKeysDoNotDeadlock(t *testing.T) {
	t.Parallel()
	address := outboxtest.URL(t)
	var group sync.WaitGroup
	for i := range 4 {
		order := "ASC"
		if i%2 == 1 {
			order = "DESC"
		}
		conn := connect(t, address)
		group.Go(func() {
			for range 20 {
				_, err := conn.Exec(t.Context(), `SELECT outcrier.append_all(array_agg('a/' || n ORDER BY n `+order+`), array_agg('t'::text), NULL::json[],
					dedup_keys => array_agg('k' || n ORDER BY n `+order+`)) FROM generate_series(1, 50) AS n`)
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	conn := connect(t, address)
	if n := ask[int](t, conn, `SELECT count(*) FROM outcrier.event`); n != 50 {
		t.Errorf("%d events of 50 keys", n)
	}
}
