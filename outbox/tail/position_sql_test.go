package tail_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/outbox/upkeep"
)

func TestSQLPosition_IsWhatTheSnapshotSees(t *testing.T) {
	pool := outboxtest.New(t)
	if p := sqltest.Here(t, pool); p.EventID != 0 || p.Given.Max != 3 || p.Anchor.XID != 3 || p.Removal != 0 {
		t.Errorf("of the empty outbox: %+v", p)
	}
	before, after := sqltest.Begin(t, pool), sqltest.Begin(t, pool)
	low := sqltest.Add(t, before, "a")
	id := sqltest.AddNow(t, pool, "b", 1)[0]
	high := sqltest.Add(t, after, "c")
	xidOf := func(db sqltest.Querier) uint64 { return sqltest.Ask1[uint64](t, db, `SELECT pg_current_xact_id()`) }

	p := sqltest.Here(t, pool)
	if p.EventID != id || p.Within != nil || !slices.Contains(p.Given.Except, xidOf(before)) || slices.Contains(p.Given.Except, xidOf(after)) {
		t.Errorf("%+v: want it on event %d, without transaction %d", p, id, xidOf(before))
	}
	if p.Has(xidOf(before), low) || !p.Has(p.Given.Max, id) || p.Has(xidOf(after), high) {
		t.Errorf("%+v claims the wrong events", p)
	}
	// Its own events are not committed yet.
	for name, tx := range map[string]sqltest.Querier{"older": before, "newer": after} {
		own := sqltest.Here(t, tx)
		if own.Has(xidOf(tx), 1) || own.EventID != id || !own.Has(p.Given.Max, id) {
			t.Errorf("in the %s transaction: %+v", name, own)
		}
	}
	// REPEATABLE READ: the transaction's own snapshot.
	frozen := sqltest.Begin(t, pool)
	sqltest.Exec(t, frozen, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`)
	first := sqltest.Here(t, frozen)
	sqltest.Commit(t, before)
	if again := sqltest.Here(t, frozen); again.String() != first.String() {
		t.Errorf("in one snapshot: %s and then %s", first, again)
	}
	if now := sqltest.Here(t, pool); !now.Has(xidOfEvent(t, pool, low), low) {
		t.Errorf("%+v lacks event %d", now, low)
	}
	reader := replay.Reader{Pool: pool}
	if _, gap, err := reader.Verify(t.Context(), first, sqltest.All("**"), position.Position{}); gap != nil || err != nil {
		t.Errorf("%+v, %v", gap, err)
	}
	if err := after.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := frozen.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	sqltest.PastPartition(t, pool, 20, 1)
	sqltest.AddNow(t, pool, "d", 1)
	if err := (upkeep.Retention{Pool: pool, Keep: 7 * 24 * time.Hour}).Turn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := sqltest.Here(t, pool); p.Removal != 1 {
		t.Errorf("after a removal: %+v", p)
	}
}

func xidOfEvent(t *testing.T, db sqltest.Querier, id int64) uint64 {
	return sqltest.Ask1[uint64](t, db, `SELECT xid FROM outcrier.event WHERE id = $1`, id)
}

// What the tail computes and what SQL computes are the same position.
func TestSQLPosition_IsTheTails(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	open := sqltest.Begin(t, pool)
	sqltest.Add(t, open, "open")
	sqltest.AddNow(t, pool, "a", 2)
	c := follow(t, &tail.Tail{URL: url})
	if got, want := sqltest.Here(t, pool).String(), c.starts[0].String(); got != want {
		t.Errorf("SQL says %s, the tail %s", got, want)
	}
}

// With more in flight than a position has room for it claims less.
func TestSQLPosition_TooLongClaimsLess(t *testing.T) {
	for _, apart := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d xids apart", apart), func(t *testing.T) {
			pool := outboxtest.New(t)
			conn := sqltest.Connection(t, pool.Config().ConnString())
			var open []uint64
			var low []int64
			for i := range 140 {
				// A prepared transaction is in flight, and takes no connection.
				sqltest.Exec(t, conn, `BEGIN`)
				id := sqltest.Ask1[int64](t, conn, `INSERT INTO outbox (topic, type) VALUES ('open', 't') RETURNING id`)
				low, open = append(low, id), append(open, sqltest.Ask1[uint64](t, conn, `SELECT pg_current_xact_id()`))
				sqltest.Exec(t, conn, fmt.Sprintf(`PREPARE TRANSACTION '%d'`, i))
				t.Cleanup(func() { _, _ = conn.Exec(context.Background(), fmt.Sprintf(`ROLLBACK PREPARED '%d'`, i)) })
				for range apart - 1 {
					sqltest.Exec(t, conn, `SELECT pg_current_xact_id()`)
				}
			}
			id := sqltest.AddNow(t, pool, "a", 1)[0]
			p := sqltest.Here(t, pool)
			if p.EventID != id || p.Given.Max >= p.Anchor.XID || apart > 1 && len(p.Given.Except) < 100 {
				t.Errorf("%+v", p)
			}
			for i, xid := range open {
				if p.Has(xid, low[i]) {
					t.Fatalf("it claims transaction %d, which is in flight", xid)
				}
			}
			if _, gap, err := (replay.Reader{Pool: pool}).Verify(t.Context(), p, sqltest.All("**"), position.Position{}); gap != nil || err != nil {
				t.Errorf("%+v, %v", gap, err)
			}
		})
	}
}
