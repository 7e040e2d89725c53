package tail_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
)

// TestMain runs several tests at a time, because they mostly wait: for a tail to sleep, or to give up a connection.
func TestMain(m *testing.M) {
	testkit.SideBySide(6)
	os.Exit(m.Run())
}

// collector is what a tail delivered.
type collector struct {
	mu     sync.Mutex
	starts []position.Position
	reads  []tail.Read
}

func (c *collector) take(r tail.Read) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads = append(c.reads, r)
}

func (c *collector) ids() []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []int64
	for _, r := range c.reads {
		for _, e := range r.Events {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// positions are those of all events delivered.
func (c *collector) positions() []position.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	var positions []position.Position
	for _, r := range c.reads {
		for i := range r.Events {
			positions = append(positions, r.At(i))
		}
	}
	return positions
}

func (c *collector) started() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.starts)
}

// wantIDs waits for these ids in this order, and that no more come.
func (c *collector) wantIDs(t *testing.T, follower *tail.Tail, want []int64) {
	t.Helper()
	eventually(t, func() bool { return len(c.ids()) >= len(want) })
	readAgain(t, follower)
	if got := c.ids(); !slices.Equal(got, want) {
		t.Fatalf("delivered are %v, want %v", got, want)
	}
}

// readAgain waits until the tail has begun another read, and ended it.
func readAgain(t *testing.T, follower *tail.Tail) {
	t.Helper()
	conn := sqltest.Connection(t, follower.URL)
	reads := follower.Status().Reads
	eventually(t, func() bool {
		sqltest.Exec(t, conn, `SELECT pg_notify('outcrier', 'wake up')`)
		return follower.Status().Reads > reads+1
	})
}

// follow runs a tail until the test ends.
func follow(t *testing.T, follower *tail.Tail) *collector {
	t.Helper()
	c := &collector{}
	follower.Start = func(p position.Position) { c.mu.Lock(); defer c.mu.Unlock(); c.starts = append(c.starts, p) }
	also := follower.Deliver
	follower.Deliver = func(r tail.Read) {
		c.take(r)
		if also != nil {
			also(r)
		}
	}
	if follower.Log == nil {
		follower.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = follower.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	eventually(t, func() bool { return follower.Status().Following && follower.Status().Listening })
	return c
}

func eventually(t testing.TB, what func() bool) {
	t.Helper()
	// It looks more and more seldom, for to look is work for Postgres, and never so seldom that it misses what shows for
	// a tenth of a second.
	for began := time.Now(); !what(); time.Sleep(min(max(time.Since(began)/8, time.Millisecond), 20*time.Millisecond)) {
		if time.Since(began) > testkit.Deadline {
			t.Fatalf("it did not happen within %v", testkit.Deadline)
		}
	}
}

func TestTail_DeliversEachEventOnceWhateverTheCommitOrder(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	follower := &tail.Tail{URL: url}
	c := follow(t, follower)

	late, gone := sqltest.Begin(t, pool), sqltest.Begin(t, pool)
	first := sqltest.Add(t, late, "a")
	sqltest.Add(t, gone, "a")
	second := sqltest.AddNow(t, pool, "a", 2)
	eventually(t, func() bool { return slices.Equal(c.ids(), second) })
	third := sqltest.Add(t, late, "a")
	if err := gone.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	sqltest.Commit(t, late)
	c.wantIDs(t, follower, append(second, first, third))
	if caught := follower.Status().Caught; caught != 0 {
		t.Errorf("%d events were found by the idle turn alone", caught)
	}
}

func TestTail_DeliversOnceHoweverRowsAreWritten(t *testing.T) {
	for name, write := range map[string]func(t *testing.T, pool *pgxpool.Pool) (ids []int64){
		"savepoints rolled back": func(t *testing.T, pool *pgxpool.Pool) []int64 {
			tx := sqltest.Begin(t, pool)
			first := sqltest.Add(t, tx, "a")
			for range 3 {
				inner := sqltest.Begin(t, tx)
				sqltest.Add(t, inner, "a")
				if err := inner.Rollback(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			inner := sqltest.Begin(t, tx)
			second := sqltest.Add(t, inner, "a")
			sqltest.Commit(t, inner)
			sqltest.Commit(t, tx)
			return []int64{first, second}
		},
		"a failed statement in a savepoint": func(t *testing.T, pool *pgxpool.Pool) []int64 {
			tx := sqltest.Begin(t, pool)
			inner := sqltest.Begin(t, tx)
			sqltest.Add(t, inner, "a")
			if _, err := outbox.Append(t.Context(), inner, outbox.Draft{}); err == nil {
				t.Error("an empty draft was taken")
			}
			if err := inner.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			id := sqltest.Add(t, tx, "a")
			sqltest.Commit(t, tx)
			return []int64{id}
		},
		"two-phase commit": func(t *testing.T, pool *pgxpool.Pool) []int64 {
			conn, err := pool.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Release()
			sqltest.Exec(t, conn, `SET outcrier.notify = 'off'`)
			sqltest.Exec(t, conn, `BEGIN`)
			id := sqltest.Ask1[int64](t, conn, `INSERT INTO outbox (topic, type) VALUES ('a', 'prepared') RETURNING id`)
			name := pool.Config().ConnConfig.Database
			sqltest.Exec(t, conn, fmt.Sprintf(`PREPARE TRANSACTION '%s'`, name))
			between := sqltest.AddNow(t, pool, "a", 1)
			sqltest.Exec(t, conn, fmt.Sprintf(`COMMIT PREPARED '%s'`, name))
			sqltest.Exec(t, conn, `RESET outcrier.notify`)
			return append(between, id)
		},
		"COPY": func(t *testing.T, pool *pgxpool.Pool) []int64 {
			_, err := pool.CopyFrom(t.Context(), pgx.Identifier{"outbox"}, []string{"topic", "type"},
				pgx.CopyFromRows([][]any{{"a", "1"}, {"b", "2"}, {"c", "3"}}))
			if err != nil {
				t.Fatal(err)
			}
			return sqltest.Ask[int64](t, pool, `SELECT id FROM outcrier.event ORDER BY id`)
		},
		"straight into a partition": func(t *testing.T, pool *pgxpool.Pool) []int64 {
			partition := sqltest.Ask1[string](t, pool, `SELECT to_char(now() AT TIME ZONE 'UTC', '"outcrier.event_"YYYY_MM_DD')`)
			return sqltest.Ask[int64](t, pool, `INSERT INTO `+partition+` (topic, type) VALUES ('a', '1'), ('a', '2') RETURNING id`)
		},
		"into the default partition": func(t *testing.T, pool *pgxpool.Pool) []int64 {
			return sqltest.Ask[int64](t, pool, `INSERT INTO outcrier.event_default (topic, type, created_at) VALUES ('a', '1', '2001-01-01Z') RETURNING id`)
		},
		"ON CONFLICT": func(t *testing.T, pool *pgxpool.Pool) []int64 {
			return sqltest.Ask[int64](t, pool, `INSERT INTO outbox (topic, type) VALUES ('a', '1') ON CONFLICT DO NOTHING RETURNING id`)
		},
		"a key twice in one statement": func(t *testing.T, pool *pgxpool.Pool) []int64 {
			ids := sqltest.Ask[int64](t, pool, `INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', '1', 'k'), ('a', '1', 'k') RETURNING id`)
			return slices.Compact(ids)
		},
		"a sequence with a cache": func(t *testing.T, pool *pgxpool.Pool) []int64 {
			sqltest.Exec(t, pool, `ALTER SEQUENCE outcrier.event_id CACHE 20`)
			one, two := sqltest.Begin(t, pool), sqltest.Begin(t, pool)
			a, b := sqltest.Add(t, one, "a"), sqltest.Add(t, two, "a")
			c := sqltest.Add(t, one, "a")
			sqltest.Commit(t, two)
			sqltest.Commit(t, one)
			ids := []int64{a, b, c}
			slices.Sort(ids)
			return ids
		},
		"ids drawn before": func(t *testing.T, pool *pgxpool.Pool) []int64 {
			drawn := sqltest.Ask[int64](t, pool, `SELECT nextval('outcrier.event_id') FROM generate_series(1, 3)`)
			first := sqltest.AddNow(t, pool, "a", 1)
			sqltest.Exec(t, pool, `INSERT INTO outcrier.event (id, topic, type) SELECT unnest($1::bigint[]), 'a', 'drawn'`, drawn[:2])
			return append(first, drawn[:2]...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := outboxtest.URL(t)
			follower := &tail.Tail{URL: url}
			c := follow(t, follower)
			want := write(t, outboxtest.Pool(t, url))
			eventually(t, func() bool { return len(c.ids()) >= len(want) })
			readAgain(t, follower)
			got := c.ids()
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("delivered are %v, want %v", got, want)
			}
		})
	}
}

// However long a transaction is open, here or in another database, it delays its
// own events only.
func TestTail_OpenTransactionsDelayNothing(t *testing.T) {
	url, other := outboxtest.URL(t), outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	follower := &tail.Tail{URL: url, IdleTurn: time.Hour}
	c := follow(t, follower)
	long, elsewhere, reading := sqltest.Begin(t, pool), sqltest.Begin(t, sqltest.Connection(t, other)), sqltest.Begin(t, pool)
	owed := sqltest.Add(t, long, "long")
	sqltest.Add(t, elsewhere, "elsewhere")
	sqltest.Exec(t, reading, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`)
	sqltest.Exec(t, reading, `SELECT pg_current_xact_id()`)
	var want []int64
	for range 5 {
		want = append(want, sqltest.AddNow(t, pool, "short", 1)...)
		eventually(t, func() bool { return len(c.ids()) == len(want) })
	}
	sqltest.Commit(t, long)
	c.wantIDs(t, follower, append(want, owed))
}

func TestTail_SurvivesLostConnections(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	follower := &tail.Tail{URL: url}
	c := follow(t, follower)
	late := sqltest.Begin(t, pool)
	owed := sqltest.Add(t, late, "late")
	want := sqltest.AddNow(t, pool, "a", 2)
	eventually(t, func() bool { return len(c.ids()) == len(want) })
	for range 2 {
		killer := sqltest.Connection(t, url)
		// What the tail asked last is a read once it sleeps.
		eventually(t, func() bool {
			return sqltest.Ask1[int](t, killer, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE datname = current_database() AND query LIKE '%AS ' || 'snapshot%'`) == 1
		})
		want = append(want, sqltest.AddNow(t, pool, "a", 2)...)
		eventually(t, func() bool { return len(c.ids()) == len(want) })
	}
	sqltest.Commit(t, late)
	c.wantIDs(t, follower, append(want, owed))
	if n := c.started(); n != 1 {
		t.Errorf("the tail started %d times, though it could go on", n)
	}
}

// A mistake that waiting does not mend ends a tail that has never followed, and no other.
func TestTail_EndsOnAMistakeAtItsStart(t *testing.T) {
	t.Parallel()
	url := outboxtest.URL(t)
	for name, wrong := range map[string]string{
		"no such database": strings.Replace(url, "/"+databaseOf(t, url), "/nowhere", 1),
		"no such role":     url + "&user=nobody_at_all",
		"no rights":        url + "&options=-c%20role%3Dpg_monitor",
	} {
		follower := &tail.Tail{URL: wrong, Start: func(position.Position) {}, Deliver: func(tail.Read) {}}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		err := follower.Run(ctx)
		cancel()
		if err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: it ended by %v", name, err)
		} else if why, permanent := outbox.Explain(err); !permanent || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The log of an outage is two lines: that it began, and that it is over.
func TestTail_LogsAnOutageOnce(t *testing.T) {
	t.Parallel()
	url := outboxtest.URL(t)
	var said testkit.Log
	follower := &tail.Tail{URL: url, Log: slog.New(slog.NewTextHandler(&said, nil))}
	follow(t, follower)
	killer, database := sqltest.Connection(t, strings.Replace(url, "/"+databaseOf(t, url), "/postgres", 1)), databaseOf(t, url)
	sqltest.Exec(t, killer, `ALTER DATABASE `+database+` ALLOW_CONNECTIONS false`)
	sqltest.Exec(t, killer, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1`, database)
	failures := make(map[error]bool)
	eventually(t, func() bool {
		if s := follower.Status(); !s.Following {
			failures[s.Err] = true
		}
		return len(failures) > 4
	})
	sqltest.Exec(t, killer, `ALTER DATABASE `+database+` ALLOW_CONNECTIONS true`)
	eventually(t, func() bool {
		return follower.Status().Following && strings.Contains(said.String(), "tail follows again")
	})
	if n := strings.Count(said.String(), "tail lost its connection"); n == 0 || n > 2 { // by the end of the session, and by the refusal
		t.Errorf("it was told %d times:\n%s", n, said.String())
	}
}

func TestTail_LongReadKeepsOrderAndPositions(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	follower := &tail.Tail{URL: url}
	c := follow(t, follower)
	late := sqltest.Begin(t, pool)
	owed := sqltest.Add(t, late, "late")
	const n = 1300
	want := sqltest.Ask[int64](t, pool, `INSERT INTO outbox (topic, type) SELECT 'many', n::text FROM generate_series(1, $1) AS n RETURNING id`, n)
	c.wantIDs(t, follower, want)
	parts := 0
	for i, r := range c.reads {
		if len(r.Events) == 0 {
			continue
		}
		parts++
		if first, last := parts == 1, parts == 3; r.First != first || r.Last != last {
			t.Errorf("part %d (read %d): first %v, last %v", parts, i, r.First, r.Last)
		}
	}
	if parts != 3 {
		t.Errorf("%d events came in %d parts", n, parts)
	}

	// From any place within, the table has the rest and nothing else.
	reader := replay.Reader{Pool: pool}
	sqltest.Commit(t, late)
	c.wantIDs(t, follower, append(want, owed))
	w := c.positions()[n]
	for _, i := range []int{0, 1, 510, 511, 512, 513, 1023, 1024, 1298, 1299, 1300} {
		got := sqltest.Replay(t, reader, c.positions()[i], w, outbox.Filter{Topics: []outbox.Pattern{"**"}}, 400)
		if left := append(slices.Clone(want), owed)[i+1:]; !slices.Equal(got, left) {
			t.Errorf("after event %d there are %d events from %v, want %d", i, len(got), got[:min(1, len(got))], len(left))
		}
	}
}

// A position between two events of one id would claim both.
func TestTail_EventsOfOneIDAreInOnePart(t *testing.T) {
	url := outboxtest.URL(t)
	follower := &tail.Tail{URL: url}
	c := follow(t, follower)
	const n = 1100
	// Two of id 512, where a part would end, and three of 1024.
	want := sqltest.Ask[int64](t, outboxtest.Pool(t, url), `INSERT INTO outcrier.event (id, topic, type)
		SELECT CASE n WHEN 513 THEN 512 WHEN 1025 THEN 1024 WHEN 1026 THEN 1024 ELSE n END, 'twice', 't' FROM generate_series(1, $1::int) AS n RETURNING id`, n)
	c.wantIDs(t, follower, want)
	c.mu.Lock()
	defer c.mu.Unlock()
	var last int64
	for i, r := range c.reads {
		if len(r.Events) == 0 {
			continue
		}
		if r.Events[0].ID == last {
			t.Errorf("part %d begins with the id %d, with which the one before ends", i, last)
		}
		last = r.Events[len(r.Events)-1].ID
	}
}

// However a read is made, it holds the same events and ends at the same position.
func TestTail_ReadsOfFewAndOfManyAreTheSame(t *testing.T) {
	url := outboxtest.URL(t)
	pool, conn := outboxtest.Pool(t, url), sqltest.Connection(t, url)
	one, two := sqltest.Begin(t, pool), sqltest.Begin(t, pool)
	sqltest.Add(t, one, "one")
	from := sqltest.Here(t, pool)
	check := func(events int) (to position.Position) {
		t.Helper()
		var want []int64
		for _, how := range []struct{ few, around bool }{{}, {few: true}, {few: true, around: true}} {
			few := how.few
			var reads []tail.Read
			end, _, err := tail.ReadOnce(t.Context(), conn, from, few, how.around, func(r tail.Read) { reads = append(reads, r) })
			if err != nil || len(reads) != 1 {
				t.Fatalf("%d reads, %v", len(reads), err)
			}
			var ids []int64
			for _, e := range reads[0].Events {
				ids = append(ids, e.ID)
			}
			if !few {
				want, to = ids, end
			}
			if len(ids) != events || !slices.Equal(ids, want) || !slices.IsSorted(ids) || end.String() != to.String() || !reads[0].First || !reads[0].Last {
				t.Errorf("few %v: %v to %s, want %d, %v to %s", few, ids, end, events, want, to)
			}
		}
		return to
	}
	check(0)
	sqltest.Add(t, two, "two")
	sqltest.AddNow(t, pool, "a", 2)
	sqltest.Commit(t, one)
	from = check(3)
	sqltest.Commit(t, two)
	check(1)
	sqltest.AddNow(t, pool, "a", 31)
	check(32)
	sqltest.AddNow(t, pool, "a", 1)
	check(33)
}

// Parts that were delivered can't be taken back: what a tail reads that was cut
// off in mid-read does not continue them.
func TestTail_StartsAnewWhenCutOffWithinARead(t *testing.T) {
	t.Parallel()
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	var once sync.Once
	follower := &tail.Tail{URL: url, Deliver: func(r tail.Read) {
		if r.Last {
			return
		}
		once.Do(func() {
			sqltest.Exec(t, pool, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND query LIKE '%AS ' || 'snapshot%'`)
		})
	}}
	c := follow(t, follower)
	before := c.starts[0]
	// More than the sockets between can hold, or the read would be whole here
	// before its connection is cut.
	ids := sqltest.Ask[int64](t, pool, `INSERT INTO outbox (topic, type, payload)
		SELECT 'a', n::text, to_json(repeat('p', 1000000)) FROM generate_series(1, 40) AS n RETURNING id`)
	eventually(t, func() bool { return c.started() == 2 && follower.Status().Following })
	got := c.ids()
	if len(got) >= len(ids) || !slices.Equal(got, ids[:len(got)]) {
		t.Fatalf("before the cut came %v", got)
	}
	c.mu.Lock()
	after := c.starts[1]
	c.mu.Unlock()
	c.wantIDs(t, follower, append(got, sqltest.AddNow(t, pool, "a", 1)...))
	// A stream goes on from where it was cut off, by the table.
	from := before
	if n := len(got); n > 0 {
		from = c.positions()[n-1]
	}
	rest := sqltest.Replay(t, replay.Reader{Pool: pool}, from, after, outbox.Filter{Topics: []outbox.Pattern{"a"}}, 500)
	if !slices.Equal(rest, ids[len(got):]) {
		t.Errorf("the rest is %v, want %v", rest, ids[len(got):])
	}
}

func TestTail_NamesWhatIsMissing(t *testing.T) {
	url := outboxtest.URL(t)
	conn := sqltest.Connection(t, url)
	sqltest.Exec(t, conn, `DROP SCHEMA outcrier CASCADE`)
	for _, wake := range []tail.Wake{tail.WakeNotify, tail.WakePoll} {
		follower := &tail.Tail{URL: url, Wake: wake, Log: slog.New(slog.DiscardHandler), Start: func(position.Position) { t.Error("it starts") }}
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { _ = follower.Run(ctx) })
		eventually(t, func() bool { return follower.Status().Err != nil })
		if s := follower.Status(); !errors.Is(s.Err, outbox.ErrNotMigrated) || s.Following {
			t.Errorf("%s: %+v", wake, s)
		}
		cancel()
		group.Wait()
	}
	reader := replay.Reader{Pool: outboxtest.Pool(t, url)}
	if _, err := reader.Earliest(t.Context(), position.Position{}); !errors.Is(err, outbox.ErrNotMigrated) {
		t.Errorf("reader: %v", err)
	}
}

func TestTail_GoesOnWhenTheSchemaComes(t *testing.T) {
	url := outboxtest.URL(t)
	conn := sqltest.Connection(t, url)
	sqltest.Exec(t, conn, `ALTER TABLE outcrier.event RENAME TO elsewhere`)
	follower := &tail.Tail{URL: url, Log: slog.New(slog.DiscardHandler)}
	var renaming sync.WaitGroup
	renaming.Go(func() {
		for follower.Status().Err == nil {
			time.Sleep(time.Millisecond)
		}
		if _, err := conn.Exec(context.Background(), `ALTER TABLE outcrier.elsewhere RENAME TO event`); err != nil {
			t.Error(err)
		}
	})
	c := follow(t, follower)
	renaming.Wait() // the connection is closed with the test
	c.wantIDs(t, follower, sqltest.AddNow(t, outboxtest.Pool(t, url), "a", 1))
}

func TestTail_EndsWithTheCauseOfItsContext(t *testing.T) {
	follower := &tail.Tail{URL: outboxtest.URL(t), Log: slog.New(slog.DiscardHandler), Start: func(position.Position) {}, Deliver: func(tail.Read) {}}
	ctx, cancel := context.WithCancelCause(t.Context())
	over := errors.New("over")
	ended := make(chan error)
	go func() { ended <- follower.Run(ctx) }()
	eventually(t, func() bool { return follower.Status().Following })
	cancel(over)
	if err := <-ended; !errors.Is(err, over) {
		t.Errorf("ended by %v", err)
	}
}

// A database brought from another cluster has xids that mean nothing here.
func TestTail_BroughtFromAnotherClusterBeginsAHistory(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	brought := sqltest.AddNow(t, pool, "old", 3)
	old := sqltest.Here(t, pool)
	// So were the sequences, and not at one moment.
	sqltest.Exec(t, pool, `UPDATE outcrier.history_id SET system_identifier = system_identifier + 1`)
	sqltest.Exec(t, pool, `SELECT setval('outcrier.wake_answer', 500)`)
	tails := []*tail.Tail{{URL: url}, {URL: url}}
	var collectors []*collector
	for _, follower := range tails {
		collectors = append(collectors, follow(t, follower))
	}
	if a, b := collectors[0].starts[0], collectors[1].starts[0]; a.History == old.History || a.History != b.History {
		t.Errorf("histories: before %d, then %d and %d", old.History, a.History, b.History)
	}
	if asked := sqltest.Ask1[int64](t, pool, `SELECT pg_sequence_last_value('outcrier.wake_request')`); asked < 500 {
		t.Errorf("request %d is drawn, and 500 is answered: nobody will notify for it", asked)
	}
	if got := sqltest.Ask[string](t, pool, `SELECT DISTINCT xid::text FROM outcrier.event`); !slices.Equal(got, []string{"3"}) {
		t.Errorf("old rows are of transactions %v", got)
	}
	reader := replay.Reader{Pool: pool}
	if _, gap, err := reader.Verify(t.Context(), old, sqltest.All("**"), position.Position{}); err != nil || gap == nil || gap.Reason != position.OtherHistory {
		t.Errorf("the old position: %+v, %v", gap, err)
	}
	earliest, err := reader.Earliest(t.Context(), position.Position{})
	if err != nil {
		t.Fatal(err)
	}
	fresh := sqltest.AddNow(t, pool, "new", 2)
	for i, c := range collectors {
		c.wantIDs(t, tails[i], fresh)
	}
	w := collectors[0].positions()[1]
	if got := sqltest.Replay(t, reader, earliest, w, outbox.Filter{Topics: []outbox.Pattern{"**"}}, 2); !slices.Equal(got, append(brought, fresh...)) {
		t.Errorf("from the earliest on there are %v", got)
	}
}

// databaseOf is the name of the database of a URL.
func databaseOf(t testing.TB, url string) string {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return config.Database
}
