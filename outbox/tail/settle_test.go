package tail_test

import (
	"slices"
	"testing"

	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
)

// A dump may be restored on a machine with an earlier clock: the history that began
// last is the present one, whatever its time.
func TestSettle_TheNewestHistoryIsNotByTheClock(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.AddNow(t, pool, "brought", 2)
	stale := sqltest.Here(t, pool)
	sqltest.Exec(t, pool, `UPDATE outcrier.history_id SET system_identifier = 1, began_at = now() + interval '1 day'`)
	begun := sqltest.Ask1[int64](t, pool, `SELECT outcrier.settle()`)
	if begun == int64(stale.History) {
		t.Fatal("no history begins")
	}
	sqltest.AddNow(t, pool, "new", 1)
	for range 2 {
		if again := sqltest.Ask1[int64](t, pool, `SELECT outcrier.settle()`); again != begun {
			t.Errorf("history %d began, and at the next connect %d", begun, again)
		}
	}
	reader := replay.Reader{Pool: pool}
	for what, p := range map[string]position.Position{"SQL's position": sqltest.Here(t, pool), "earliest": sqltest.Earliest(t, reader)} {
		if int64(p.History) != begun {
			t.Errorf("%s is of history %d, want %d", what, p.History, begun)
		}
		if _, gap, err := reader.Verify(t.Context(), p, sqltest.All("**"), position.Position{}); gap != nil || err != nil {
			t.Errorf("%s: %+v, %v", what, gap, err)
		}
	}
	if _, gap, err := reader.Verify(t.Context(), stale, sqltest.All("**"), position.Position{}); err != nil || gap == nil || gap.Reason != position.OtherHistory {
		t.Errorf("a position of the history that was: %+v, %v", gap, err)
	}
}

// A page may ask for its position after migrate, before the first node has started, and
// resumes from there at that node.
func TestReader_ResumesFromBeforeTheFirstNode(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.AddNow(t, pool, "a", 1)
	p := sqltest.Here(t, pool)
	missed := sqltest.AddNow(t, pool, "a", 2)
	c := follow(t, &tail.Tail{URL: pool.Config().ConnString()})
	reader := replay.Reader{Pool: pool}
	verified, gap, err := reader.Verify(t.Context(), p, sqltest.All("**"), c.starts[0])
	if gap != nil || err != nil {
		t.Fatalf("%+v, %v", gap, err)
	}
	if got := sqltest.Replay(t, reader, verified, c.starts[0], sqltest.All("**"), 10); !slices.Equal(got, missed) {
		t.Errorf("%v, want %v", got, missed)
	}
}

// Where no node has been yet, after a dump of the schema alone, there is no history: a page
// may ask for its position all the same, and a reader for what there is.
func TestReader_NeedsNoHistory(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.Exec(t, pool, `DELETE FROM outcrier.history_id`)
	ids := sqltest.AddNow(t, pool, "a", 2)
	reader := replay.Reader{Pool: pool}
	p := sqltest.Here(t, pool)
	if _, gap, err := reader.Verify(t.Context(), p, sqltest.All("**"), position.Position{}); gap != nil || err != nil || p.History != 0 {
		t.Errorf("%+v, %v, history %d", gap, err, p.History)
	}
	if got := sqltest.Replay(t, reader, sqltest.Earliest(t, reader), p, sqltest.All("**"), 10); !slices.Equal(got, ids) {
		t.Errorf("%v, want %v", got, ids)
	}
	// The first node begins a history, to which earlier events do not belong.
	follower := &tail.Tail{URL: pool.Config().ConnString()}
	c := follow(t, follower)
	if _, gap, err := reader.Verify(t.Context(), p, sqltest.All("**"), c.starts[0]); err != nil || gap == nil || gap.Reason != position.OtherHistory {
		t.Errorf("%+v, %v", gap, err)
	}
	c.wantIDs(t, follower, sqltest.AddNow(t, pool, "a", 1))
}
