package tail_test

import (
	"slices"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
)

// forgets counts the reads that have memory forgotten.
func (c *collector) forgets() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.reads {
		if r.Forget {
			n++
		}
	}
	return n
}

// Each node knows of an erasure or a change, by the functions for that or by hand, with
// its next read: a sleeping node too, and one that was not running. No reader receives
// the marker, and positions go on past it.
func TestTail_ForgetsWhatIsChanged(t *testing.T) {
	for name, change := range map[string]string{
		"erase":           `SELECT outcrier.erase($1::bigint, 'a request of the customer')`,
		"erase by topic":  `SELECT outcrier.erase('a/*', 'event ' || $1::bigint)`,
		"redact":          `SELECT outcrier.redact($1::bigint, '{}', 'a request of the customer')`,
		"UPDATE by hand":  `UPDATE outcrier.event SET payload = '{}' WHERE id = $1`,
		"DELETE by hand":  `DELETE FROM outcrier.event WHERE id = $1`,
		"DELETE the last": `DELETE FROM outcrier.event WHERE id >= $1`,
		"TRUNCATE":        `WITH one AS (SELECT $1::bigint) SELECT 1`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := outboxtest.URL(t)
			pool := outboxtest.Pool(t, url)
			tails := []*tail.Tail{{URL: url, IdleTurn: time.Hour}, {URL: url, IdleTurn: time.Hour}}
			var collectors []*collector
			for _, follower := range tails {
				collectors = append(collectors, follow(t, follower))
			}
			before := sqltest.Here(t, pool)
			ids := append(sqltest.AddNow(t, pool, "a/1", 1), sqltest.AddNow(t, pool, "b", 1)...)
			for _, c := range collectors {
				eventually(t, func() bool { return slices.Equal(c.ids(), ids) })
			}
			asleep(t, pool, 2)
			if name == "TRUNCATE" {
				sqltest.Exec(t, pool, `TRUNCATE outcrier.event`)
			} else {
				sqltest.Exec(t, pool, change, ids[0])
			}
			for _, c := range collectors {
				eventually(t, func() bool { return c.forgets() == 1 })
			}
			// A position from before is validated at once, at each tail, without any
			// append.
			reader := replay.Reader{Pool: pool}
			for _, c := range collectors {
				c.mu.Lock()
				w := c.reads[len(c.reads)-1].To
				c.mu.Unlock()
				if _, gap, err := reader.Verify(t.Context(), before, sqltest.All("**"), w); err != nil || gap != nil {
					t.Errorf("a position from before: %+v, %v", gap, err)
				}
				if _, err := reader.Before(t.Context(), time.Now().Add(-time.Hour), w); err != nil {
					t.Errorf("a time: %v", err)
				}
				for _, id := range sqltest.Replay(t, reader, before, w, sqltest.All("**"), 10) {
					if id == ids[0] && name != "redact" && name != "UPDATE by hand" {
						t.Error("what is gone is replayed")
					}
				}
			}
			more := sqltest.AddNow(t, pool, "b", 1)
			for i, c := range collectors {
				c.wantIDs(t, tails[i], append(slices.Clone(ids), more...))
				if n := c.forgets(); n != 1 || c.started() != 1 {
					t.Errorf("tail %d has forgotten %d times, and started %d times", i, n, c.started())
				}
			}
			for _, filter := range []outbox.Filter{sqltest.All("**"), sqltest.All("*", "**"), sqltest.All("*"), {Topics: []outbox.Pattern{"**"}, Types: []string{"*"}}} {
				page, err := reader.Replay(t.Context(), replay.Ranges(sqltest.Earliest(t, reader), sqltest.Here(t, pool))[0], filter, 100, 0)
				if err != nil || slices.ContainsFunc(page.Events, func(e outbox.Event) bool { return e.Topic == "" }) {
					t.Errorf("%v: %+v, %v", filter.Topics, page.Events, err)
				}
			}
			found, err := admin.New(pool).Search(t.Context(), admin.Search{Limit: 100})
			if err != nil || slices.ContainsFunc(found.Events, func(e admin.Hit) bool { return e.Topic == "" }) {
				t.Errorf("%+v, %v", found.Events, err)
			}
		})
	}
}

// An erasure that commits late is not missed, nor one in the midst of many events.
func TestTail_ForgetsLateAndAmongMany(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	follower := &tail.Tail{URL: url}
	c := follow(t, follower)
	ids := sqltest.AddNow(t, pool, "a", 1)
	late := sqltest.Begin(t, pool)
	sqltest.Exec(t, late, `SELECT outcrier.erase($1::bigint, 'late')`, ids[0])
	ids = append(ids, sqltest.AddNow(t, pool, "b", 2)...)
	eventually(t, func() bool { return len(c.ids()) == len(ids) })
	if n := c.forgets(); n != 0 {
		t.Errorf("%d were told of what has not happened yet", n)
	}
	sqltest.Commit(t, late)
	eventually(t, func() bool { return c.forgets() == 1 })
	tx := sqltest.Begin(t, pool)
	const many = 1300
	ids = append(ids, sqltest.Ask[int64](t, tx, `INSERT INTO outbox (topic, type) SELECT 'many', n::text FROM generate_series(1, $1::int / 2) AS n RETURNING id`, many)...)
	sqltest.Exec(t, tx, `SELECT outcrier.erase($1::bigint, 'among many')`, ids[1])
	ids = append(ids, sqltest.Ask[int64](t, tx, `INSERT INTO outbox (topic, type) SELECT 'many', n::text FROM generate_series(1, $1::int / 2) AS n RETURNING id`, many)...)
	sqltest.Commit(t, tx)
	c.wantIDs(t, follower, ids)
	if n := c.forgets(); n != 2 {
		t.Errorf("it has forgotten %d times", n)
	}
}

// After a reset there is another history, and the tail starts again at once.
func TestTail_StartsAnewWithAReset(t *testing.T) {
	t.Parallel()
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	follower := &tail.Tail{URL: url, IdleTurn: time.Hour}
	c := follow(t, follower)
	for n := 1; n <= 3; n++ {
		before := sqltest.Here(t, pool)
		ids := sqltest.AddNow(t, pool, "a", n*300) // few, and many
		asleep(t, pool, 1)
		sqltest.Exec(t, pool, `SELECT outcrier.reset()`)
		eventually(t, func() bool { return c.started() == n+1 })
		c.mu.Lock()
		start := c.starts[n]
		c.mu.Unlock()
		if start.History == before.History || start.History != sqltest.Here(t, pool).History {
			t.Errorf("it starts in history %d, before it was %d", start.History, before.History)
		}
		reader := replay.Reader{Pool: pool}
		if _, gap, err := reader.Verify(t.Context(), before, sqltest.All("**"), start); err != nil || gap == nil || gap.Reason != position.OtherHistory {
			t.Errorf("a position of before: %+v, %v", gap, err)
		}
		more := sqltest.AddNow(t, pool, "b", 1)
		eventually(t, func() bool { return slices.Contains(c.ids(), more[0]) })
		if got := sqltest.Replay(t, reader, sqltest.Earliest(t, reader), sqltest.Here(t, pool), sqltest.All("**"), 10); !slices.Equal(got, more) {
			t.Errorf("after %d events and a reset there are %v, want %v", len(ids), got, more)
		}
		sqltest.Exec(t, pool, `SELECT outcrier.erase('**', 'between')`)
	}
	if err := follower.Status().Err; err != nil {
		t.Error(err)
	}
}

// Rows that come into the table by another way than the view are history: kept,
// replayed from the earliest on, and never streamed as new; in an empty outbox too.
func TestTail_LoadedRowsAreNotNew(t *testing.T) {
	for name, load := range map[string]string{
		"COPY of a dump": `INSERT INTO outcrier.event (xid, id, topic, type, created_at) SELECT '999'::xid8, n, 'old', 't', now() - interval '1 day' FROM generate_series(100, 102) AS n`,
		"of the future":  `INSERT INTO outcrier.event (xid, id, topic, type, created_at) SELECT '99999999'::xid8, n, 'old', 't', now() FROM generate_series(100, 102) AS n`,
		"as a replica": `SET session_replication_role = replica;
			INSERT INTO outcrier.event (xid, id, topic, type, created_at) SELECT '999'::xid8, n, 'old', 't', now() FROM generate_series(100, 102) AS n`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := outboxtest.URL(t)
			pool := outboxtest.Pool(t, url)
			follower := &tail.Tail{URL: url, IdleTurn: 50 * time.Millisecond}
			c := follow(t, follower)
			empty := c.starts[0]
			if empty.Given.Max != 3 || sqltest.Here(t, pool).Given.Max != 3 {
				t.Errorf("of an empty outbox the position is %+v", empty)
			}
			sqltest.Exec(t, sqltest.Connection(t, url), load)
			readAgain(t, follower)
			if got := c.ids(); len(got) > 0 {
				t.Errorf("streamed as new are %v", got)
			}
			reader := replay.Reader{Pool: pool}
			old := []int64{100, 101, 102}
			for _, w := range []position.Position{c.starts[0], sqltest.Here(t, pool)} {
				from, err := reader.Earliest(t.Context(), w)
				if err != nil {
					t.Fatal(err)
				}
				if got := sqltest.Replay(t, reader, from, w, sqltest.All("**"), 2); !slices.Equal(got, old) {
					t.Errorf("from the earliest on there are %v, want %v", got, old)
				}
				if got := sqltest.Replay(t, reader, empty, w, sqltest.All("**"), 2); len(got) > 0 {
					t.Errorf("from before the load on there are %v", got)
				}
				if _, gap, err := reader.Verify(t.Context(), empty, sqltest.All("**"), w); err != nil || gap != nil {
					t.Errorf("%+v, %v", gap, err)
				}
			}
			ids := sqltest.AddNow(t, pool, "new", 1)
			c.wantIDs(t, follower, ids)
			if ids[0] <= 102 {
				t.Errorf("the next id is %d", ids[0])
			}
			// The removal of loaded rows is no gap for any reader.
			sqltest.Lose(t, pool, `id = 102`)
			if _, gap, err := reader.Verify(t.Context(), empty, sqltest.All("**"), sqltest.Here(t, pool)); err != nil || gap != nil {
				t.Errorf("%+v, %v", gap, err)
			}
		})
	}
}

// Rows of another cluster are settled in pieces, so that it ends however many they
// are, and whatever statement_timeout a role has.
func TestTail_SettlesInPieces(t *testing.T) {
	t.Parallel()
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	const many = 450
	sqltest.Exec(t, pool, `DO $$ BEGIN EXECUTE replace(pg_get_functiondef('outcrier.settle'::regproc), 'DEFAULT 20000', 'DEFAULT 200'); END $$`)
	sqltest.Exec(t, pool, `INSERT INTO outbox (topic, type) SELECT 'old', 't' FROM generate_series(1, $1::int)`, many)
	sqltest.Exec(t, pool, `UPDATE outcrier.history_id SET system_identifier = 1`)
	if got := sqltest.Ask1[*int64](t, pool, `SELECT outcrier.settle()`); got != nil {
		t.Errorf("%d rows are settled at once", many)
	}
	follower := &tail.Tail{URL: url}
	c := follow(t, follower)
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.event WHERE xid <> '3'`); n != 0 {
		t.Errorf("%d are not settled", n)
	}
	c.wantIDs(t, follower, sqltest.AddNow(t, pool, "new", 1))
}

// A tail whose own anchor is gone unnoticed is told by the reader that finds out, and
// starts again without waiting for a commit.
func TestTail_RechecksWhatItStandsOn(t *testing.T) {
	for _, wake := range []tail.Wake{tail.WakeNotify, tail.WakePoll} {
		t.Run(string(wake), func(t *testing.T) {
			t.Parallel()
			url := outboxtest.URL(t)
			pool := outboxtest.Pool(t, url)
			follower := &tail.Tail{URL: url, IdleTurn: time.Hour, Wake: wake}
			c := follow(t, follower)
			ids := sqltest.AddNow(t, pool, "a", 2)
			eventually(t, func() bool { return slices.Equal(c.ids(), ids) })
			if wake == tail.WakeNotify {
				asleep(t, pool, 1)
			}
			sqltest.Lose(t, pool, `true`)
			reader := replay.Reader{Pool: pool, Apart: follower.Recheck}
			var w position.Position
			eventually(t, func() bool {
				c.mu.Lock()
				w = c.starts[len(c.starts)-1]
				if len(c.starts) == 1 {
					w = c.reads[len(c.reads)-1].To
				}
				c.mu.Unlock()
				_, err := reader.Earliest(t.Context(), w)
				return err == nil
			})
			if n := c.started(); n != 2 {
				t.Errorf("it started %d times", n)
			}
			for range 10 { // and not each time that somebody asks
				follower.Recheck()
			}
			c.wantIDs(t, follower, append(ids, sqltest.AddNow(t, pool, "a", 1)...))
			if n := c.started(); n != 2 {
				t.Errorf("it started %d times", n)
			}
		})
	}
}
