package replay_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
)

// Whatever the way to the events of a filter, they are those that it selects, each once and
// in order: few events on many topics, many on few, windows of ids without one, and holes
// between the ids.
func TestReplay_EveryPlanGivesWhatTheFilterSelects(t *testing.T) {
	pool := outboxtest.New(t)
	reader := replay.Reader{Pool: pool}
	start := sqltest.Here(t, pool)
	append := func(n int, topic string) {
		sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type) SELECT format($2, g % 50), 't' || g % 3 FROM generate_series(1, $1::int) AS g`, n, topic)
	}
	append(100, "user/42/%s")
	append(12_000, "busy/%s/x")
	append(3, "user/42-7/%s")
	sqltest.Exec(t, pool, `SELECT setval('outcrier.event_id', 1000000000)`)
	append(11_000, "other/%s")
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type) SELECT 'wide/' || g, 't' FROM generate_series(1, 200) AS g`)
	append(25_000, "noise")
	append(50, "user/42/%s")
	append(1, "user/42")
	end := sqltest.Here(t, pool)
	type row struct {
		ID          int64
		Topic, Type string
	}
	var rows []row
	found, err := pool.Query(t.Context(), `SELECT id, topic, type FROM outcrier.event ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	for found.Next() {
		var r row
		if err := found.Scan(&r.ID, &r.Topic, &r.Type); err != nil {
			t.Fatal(err)
		}
		rows = slices.Insert(rows, len(rows), r)
	}
	if found.Err() != nil {
		t.Fatal(found.Err())
	}
	var many []outbox.Pattern
	for i := range 100 {
		many = slices.Insert(many, len(many), outbox.Pattern(fmt.Sprintf("busy/%d/*", i)), outbox.Pattern(fmt.Sprintf("other/%d", i)))
	}
	for _, filter := range []outbox.Filter{
		sqltest.All("user/42/**"), sqltest.All("user/42/**", "user/*"), sqltest.All("user/42/7"), sqltest.All("user/42/*", "wide/**"), sqltest.All("user/42-7/**"),
		sqltest.All("busy/**"), sqltest.All("busy/*/x"), sqltest.All("other/7", "other/8"), sqltest.All("*/7/x"), sqltest.All("*/42"), sqltest.All("**"), sqltest.All(many...), sqltest.All("noise", "user/42/**"),
		{Topics: []outbox.Pattern{"busy/**", "wide/*"}, Types: []string{"t1", "t"}}, {Topics: []outbox.Pattern{"*/nothing"}},
	} {
		var want []int64
		for _, r := range rows {
			if filter.Match(r.Topic, r.Type) {
				want = slices.Insert(want, len(want), r.ID)
			}
		}
		// Small pages, of which there are 200 at most: of 50,000 events those of 64 prove no more.
		for _, limit := range []int{max(64, len(want)/200), 2000} {
			if got := sqltest.Replay(t, reader, start, end, filter, limit); !slices.Equal(got, want) {
				t.Errorf("%.3v %v by %d: %d events, want %d", filter.Topics, filter.Types, limit, len(got), len(want))
			}
		}
		middle := replay.Ranges(start, end)[0]
		middle.After = 7000
		p := middle.At(7000)
		if got := sqltest.Replay(t, reader, p, end, filter, 2000); !slices.Equal(got, slices.DeleteFunc(slices.Clone(want), func(id int64) bool { return id <= 7000 })) {
			t.Errorf("%.3v from the middle: %d events of %d", filter.Topics, len(got), len(want))
		}
	}
}

// A page costs about as much as it returns, whatever others were sent: a page of 20
// events on 20 topics among 60,000, of a time, and of events that were sent to nobody.
// Scans by id go by pages.
func TestReplay_CostsWhatItReturns(t *testing.T) {
	pool := outboxtest.New(t)
	reader := replay.Reader{Pool: pool, Times: replay.NewTimes()}
	sqltest.Exec(t, pool, `ALTER TABLE outcrier.event_default SET (autovacuum_enabled = off)`)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type) SELECT 'user/42/' || g, 't' FROM generate_series(1, 20) AS g`)
	start := sqltest.Earliest(t, reader)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type, payload) SELECT 'user/' || g % 1000 || '/x', 't', to_json(repeat('x', 200)) FROM generate_series(1, 60000) AS g`)
	end := sqltest.Here(t, pool)
	rng := replay.Ranges(start, end)[0]
	read := func(topics []outbox.Pattern, limit int) func() {
		return func() {
			if _, err := reader.Replay(t.Context(), rng, outbox.Filter{Topics: topics}, limit, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	var wide []outbox.Pattern
	for i := range 200 {
		wide = append(wide, outbox.Pattern(fmt.Sprintf("none/%d/*", i)))
	}
	since := time.Now().Add(-time.Hour)
	before := func() {
		if _, err := reader.Before(t.Context(), since, position.Position{}); err != nil {
			t.Fatal(err)
		}
	}
	before() // plans
	first := func() {
		reader := reader
		reader.Times = replay.NewTimes()
		if _, err := reader.Before(t.Context(), since, position.Position{}); err != nil {
			t.Fatal(err)
		}
	}
	whole := sqltest.Blocks(t, pool, read([]outbox.Pattern{"**"}, 2000))
	t.Logf("a page of 2000 events: %d blocks", whole)
	for name, test := range map[string]struct {
		read func()
		most int64
	}{
		"20 events on 20 topics": {read([]outbox.Pattern{"user/42/**"}, 2000), 2 * whole},
		"a topic of none":        {read([]outbox.Pattern{"nobody"}, 2000), 2 * whole},
		"200 patterns of none":   {read(wide, 2000), 30 * int64(len(wide))},
		"a pattern of none":      {read([]outbox.Pattern{"*/none"}, 2000), 12 * whole}, // a window of ids
		"an hour, at first":      {first, 2 * whole},
		"an hour, again":         {before, 2 * whole},
	} {
		test.read() // plans, and fills caches
		if got := sqltest.Blocks(t, pool, test.read); got > test.most {
			t.Errorf("%s: %d blocks, want %d at most", name, got, test.most)
		} else {
			t.Logf("%s: %d blocks", name, got)
		}
	}
}

// The position before a time is before all events from then on, whether reads for
// others are remembered or nothing was read: with late commits, rows loaded by hand,
// and times in any order; also where a transaction of the day was begun before the last
// one of the day before.
func TestTimes_LoseNoEventOfATransactionThatWasOpen(t *testing.T) {
	seeds := uint64(4) // one of each kind
	if testkit.Long() {
		seeds = 16
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			pool := outboxtest.New(t)
			reader := replay.Reader{Pool: pool, Times: replay.NewTimes()}
			if seed%2 == 1 {
				reader.Times.Read(0)
			}
			if seed%4 > 1 { // today's partition is there
				sqltest.Partitions(t, pool, sqltest.Ask1[time.Time](t, pool, `SELECT clock_timestamp()`).UTC().AddDate(0, 0, -3).Format(time.DateOnly))
			}
			old := sqltest.Begin(t, pool)
			sqltest.Ask1[uint64](t, old, `SELECT pg_current_xact_id()`)
			sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type, created_at) SELECT 'old', 't', clock_timestamp() - interval '3 days' FROM generate_series(1, 30)`)
			sqltest.Add(t, old, "late")
			r := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // reproducible
			type open struct {
				commit func()
			}
			late := []open{{func() { sqltest.Add(t, old, "late"); sqltest.Commit(t, old) }}}
			times := []time.Time{sqltest.Ask1[time.Time](t, pool, `SELECT clock_timestamp()`)}
			for range 40 {
				switch n := r.IntN(10); {
				case n < 3:
					tx := sqltest.Begin(t, pool)
					sqltest.Add(t, tx, "late")
					late = append(late, open{func() { sqltest.Add(t, tx, "late"); sqltest.Commit(t, tx) }})
				case n < 5 && len(late) > 0:
					i := r.IntN(len(late))
					late[i].commit()
					late = slices.Delete(late, i, i+1)
				case n < 6:
					bulk(t, pool, 1500)
				case n < 7 && r.IntN(4) == 0:
					sqltest.Exec(t, pool, `INSERT INTO outcrier.event (xid, id, topic, type) SELECT '5', max(id) + 1, 'loaded', 't' FROM outcrier.event HAVING count(*) > 0`)
				default:
					sqltest.AddNow(t, pool, "a", 1)
				}
				times = append(times, sqltest.Ask1[time.Time](t, pool, `SELECT clock_timestamp()`))
				if len(late) > 4 {
					late[0].commit()
					late = late[1:]
				}
				at := times[r.IntN(len(times))]
				p, err := reader.Before(t.Context(), at, position.Position{})
				if err != nil {
					t.Fatal(err)
				}
				if r.IntN(3) > 0 {
					for _, tx := range late {
						tx.commit()
					}
					late = nil
				}
				filter := sqltest.All("**")
				filter.Since = at
				want := sqltest.Ask[int64](t, pool, `SELECT id FROM outcrier.event WHERE created_at >= $1 AND topic <> '' ORDER BY id`, at)
				got := sqltest.Replay(t, reader, p, sqltest.Here(t, pool), filter, 2000)
				if slices.Sort(got); !slices.Equal(got, want) { // they may be in two ranges
					t.Fatalf("since %v: %d events, want %d", at, len(got), len(want))
				}
			}
			for _, tx := range late {
				tx.commit()
			}
		})
	}
}

// bulk takes as many ids as that number of events, and has a few events at their end: chunks are of ids.
func bulk(t *testing.T, pool *pgxpool.Pool, ids int) {
	t.Helper()
	const events = 20
	sqltest.Exec(t, pool, `SELECT setval('outcrier.event_id', nextval('outcrier.event_id') + $1)`, ids-events)
	sqltest.AddNow(t, pool, "bulk", events)
}

// A transaction that was begun before a time and appends after it stands below its neighbours. The
// position before the time has it to come, whether it was committed when its chunk of ids was read, or
// later: however much later, and however much was read since.
func TestTimes_RememberWhoAppendedLate(t *testing.T) {
	for name, committed := range map[string]bool{"committed before the read": true, "in flight at the read": false} {
		t.Run(name, func(t *testing.T) {
			pool := outboxtest.New(t)
			reader := replay.Reader{Pool: pool, Times: replay.NewTimes()}
			before := func(at time.Time) position.Position {
				p, err := reader.Before(t.Context(), at, position.Position{})
				if err != nil {
					t.Fatal(err)
				}
				return p
			}
			now := func() time.Time { return sqltest.Ask1[time.Time](t, pool, `SELECT clock_timestamp()`) }
			late := sqltest.Begin(t, pool)
			sqltest.Add(t, late, "late")
			bulk(t, pool, 5000)
			at := now()
			bulk(t, pool, 5000)
			want := sqltest.Add(t, late, "late")
			bulk(t, pool, 5000)
			if committed {
				sqltest.Commit(t, late)
			}
			before(at)
			if !committed {
				sqltest.Commit(t, late)
			}
			// An hour passes, and a reader starts from now.
			sqltest.Forge(t, pool, `UPDATE outcrier.event SET created_at = created_at - interval '1 hour'`)
			at = at.Add(-time.Hour)
			bulk(t, pool, 5000)
			before(now())
			filter := sqltest.All("late")
			filter.Since = at
			if got := sqltest.Replay(t, reader, before(at), sqltest.Here(t, pool), filter, 2000); !slices.Equal(got, []int64{want}) {
				t.Errorf("replayed are %v, want %v", got, want)
			}
		})
	}
}

// A caller that waits for its turn at Times holds no connection, because appends need
// one too.
func TestTimes_TheirTurnIsWaitedForWithoutAConnection(t *testing.T) {
	pool := outboxtest.New(t)
	reader := replay.Reader{Pool: pool, Times: replay.NewTimes(), Patience: 50 * time.Millisecond}
	leave := reader.Times.Hold()
	taken := pool.Stat().AcquireCount()
	if _, err := reader.Before(t.Context(), time.Now(), position.Position{}); err == nil {
		t.Error("it had its turn beside another")
	}
	if n := pool.Stat().AcquireCount() - taken; n != 0 {
		t.Errorf("%d connections were taken before the turn", n)
	}
	leave()
	reader.Patience = 0
	if _, err := reader.Before(t.Context(), time.Now(), position.Position{}); err != nil {
		t.Error(err)
	}
}

// Removed events from before a time leave no gap for a reader that begins with the
// time, though it was not read which they are. Removed later ones do.
func TestTimes_EventsBeforeATimeMayBeRemoved(t *testing.T) {
	pool := outboxtest.New(t)
	reader := replay.Reader{Pool: pool, Times: replay.NewTimes()}
	reader.Times.Read(0)
	for range 30 {
		sqltest.AddNow(t, pool, "a", 1)
	}
	sqltest.Forge(t, pool, `UPDATE outcrier.event SET created_at = created_at - interval '3 hours'`)
	sqltest.AddNow(t, pool, "a", 1)
	sqltest.Forge(t, pool, `UPDATE outcrier.event SET created_at = created_at - interval '30 minutes' WHERE id = (SELECT max(id) FROM outcrier.event)`)
	sqltest.AddNow(t, pool, "a", 1)
	p, err := reader.Before(t.Context(), sqltest.Ask1[time.Time](t, pool, `SELECT clock_timestamp() - interval '1 hour'`), position.Position{})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		retention string
		removed   int
		gap       bool
	}{{"2 hours", 30, false}, {"10 minutes", 1, true}} {
		if n := sqltest.Ask1[int](t, pool, `SELECT outcrier.delete_expired('a', $1::text::interval)`, step.retention); n != step.removed {
			t.Fatalf("%d events are removed, want %d", n, step.removed)
		}
		_, gap, err := reader.Verify(t.Context(), p, sqltest.All("a"), position.Position{})
		if err != nil {
			t.Fatal(err)
		}
		if (gap != nil) != step.gap {
			t.Errorf("after a removal by %s: gap %+v", step.retention, gap)
		}
	}
}
