package tail_test

import (
	"fmt"
	"testing"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/internal/table"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
)

// The rows of an open transaction, however many, cost others' events nothing: no read
// looks at them, but the first one that does not know of them yet.
func TestRead_LooksAtNoRowsOfOpenTransactions(t *testing.T) {
	url := outboxtest.URL(t)
	pool, conn := outboxtest.Pool(t, url), sqltest.Connection(t, url)
	sqltest.Exec(t, conn, `SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off`)
	sqltest.AddNow(t, pool, "a", 1)
	start := sqltest.Here(t, pool)
	open := sqltest.Begin(t, pool)
	sqltest.Exec(t, open, `INSERT INTO outbox (topic, type) SELECT 'import', 't' FROM generate_series(1, 5000)`)

	// frugal returns how many index entries a call goes through.
	frugal := func(what string, call func() error) {
		t.Helper()
		sqltest.Exec(t, conn, `BEGIN`)
		defer sqltest.Exec(t, conn, `ROLLBACK`)
		if err := call(); err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		const lookedAt = `SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid))::int FROM pg_index
			WHERE indrelid IN (SELECT relid FROM pg_partition_tree('outcrier.event'))`
		if n := sqltest.Ask1[int](t, conn, lookedAt); n > 100 {
			t.Errorf("%s: %d rows are looked at", what, n)
		}
	}
	read := func(what string, from position.Position, few, around bool, events int) (to position.Position) {
		t.Helper()
		frugal(fmt.Sprintf("%s, few %v, around %v", what, few, around), func() (err error) {
			given := 0
			to, _, err = tail.ReadOnce(t.Context(), conn, from, few, around, func(r tail.Read) { given += len(r.Events) })
			if given != events {
				t.Errorf("%d events, want %d", given, events)
			}
			return err
		})
		return to
	}
	hows := []struct{ few, around bool }{{true, false}, {true, true}, {false, true}}
	for _, how := range hows {
		read("it is the newest transaction", start, how.few, how.around, 0)
	}
	sqltest.Exec(t, pool, `SELECT pg_current_xact_id()`)
	for _, how := range hows[1:] {
		read("a newer one has ended", start, how.few, how.around, 0)
	}
	sqltest.AddNow(t, pool, "a", 3)
	var past position.Position
	for _, how := range hows[1:] {
		past = read("newer events are there", start, how.few, how.around, 3)
	}
	sqltest.AddNow(t, pool, "a", 3)
	for _, how := range hows {
		read("it is an exception of the set", past, how.few, how.around, 3)
	}
	frugal("where a tail starts", func() error {
		_, err := table.Here(t.Context(), database.DB{Querier: conn, Schema: outbox.DefaultSchema}, 1)
		return err
	})
}
