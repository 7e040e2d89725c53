package tail_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/pgserver"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
)

// asleep waits until a request was drawn that is not answered, and then until a number
// of tails have been idle for longer than awake ones are.
func asleep(t *testing.T, db sqltest.Querier, tails int) {
	t.Helper()
	eventually(t, func() bool {
		return sqltest.Ask1[bool](t, db, `SELECT coalesce(pg_sequence_last_value('outcrier.wake_request'), 0) > coalesce(pg_sequence_last_value('outcrier.wake_answer'), 0)`)
	})
	eventually(t, func() bool {
		return sqltest.Ask1[bool](t, db, `SELECT count(*) = $1 FROM pg_stat_activity WHERE datname = current_database() AND (query LIKE '%AS ' || 'snapshot%' OR query LIKE '%pg' || '_locks%')
			AND state = 'idle' AND state_change < clock_timestamp() - interval '200 ms'`, tails)
	})
}

// The read that draws a request names the next xid: above all that were taken before, and at
// most the first that is taken later. Where nextval has taken one, which it does before the
// request can be seen, the read names none.
func TestWakeUp_ReadNamesTheNextXID(t *testing.T) {
	url := outboxtest.URL(t)
	conn, other := sqltest.Connection(t, url), sqltest.Connection(t, url)
	xid := func() uint64 { return sqltest.Ask1[uint64](t, other, `SELECT pg_current_xact_id()`) }
	unknown := 0
	for range 100 {
		before := xid()
		next, err := tail.Draw(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		after := xid()
		if next == 0 {
			unknown++
		} else if next <= before || next > after {
			t.Errorf("between %d and %d the next xid is %d", before, after, next)
		}
	}
	if unknown == 0 || unknown > 20 {
		t.Errorf("of 100 reads %d do not know the next xid; nextval takes one in 32 calls, and after a checkpoint", unknown)
	}
}

// With an idle turn of an hour, only a notification can be what wakes it.
func TestWakeUp_WakesASleepingTail(t *testing.T) {
	for _, isolation := range []pgx.TxIsoLevel{pgx.ReadCommitted, pgx.RepeatableRead, pgx.Serializable} {
		t.Run(string(isolation), func(t *testing.T) {
			t.Parallel()
			url := outboxtest.URL(t)
			pool := outboxtest.Pool(t, url)
			follower := &tail.Tail{URL: url, IdleTurn: time.Hour}
			c := follow(t, follower)
			var want []int64
			for range 3 {
				// A transaction older than the request notifies too.
				tx, err := pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: isolation})
				if err != nil {
					t.Fatal(err)
				}
				sqltest.Exec(t, tx, `SELECT count(*) FROM outcrier.event`)
				asleep(t, pool, 1)
				want = append(want, sqltest.Add(t, tx, "a"))
				sqltest.Commit(t, tx)
				eventually(t, func() bool { return len(c.ids()) == len(want) })
			}
			if got := c.ids(); !slices.Equal(got, want) {
				t.Errorf("delivered are %v, want %v", got, want)
			}
			if caught := follower.Status().Caught; caught != 0 {
				t.Errorf("the idle turn caught %d", caught)
			}
		})
	}
}

// A transaction that looked before the request was drawn keeps the tail
// awake until it is over.
func TestWakeUp_TransactionThatWroteBeforeTheRequestIsNotSleptOver(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	follower := &tail.Tail{URL: url, IdleTurn: time.Hour}
	c := follow(t, follower)
	const unanswered = `SELECT coalesce(pg_sequence_last_value('outcrier.wake_request'), 0) > coalesce(pg_sequence_last_value('outcrier.wake_answer'), 0)`
	var want []int64
	var tx pgx.Tx
	for notifying := true; notifying; {
		// Many events keep the tail awake; if it has requested nothing after the write,
		// it had not before, and the write did not notify.
		tx = sqltest.Begin(t, pool)
		sqltest.Exec(t, tx, `SELECT pg_current_xact_id()`)
		want = append(want, sqltest.AddNow(t, pool, "awake", 20)...)
		eventually(t, func() bool { return len(c.ids()) == len(want) })
		id := sqltest.Add(t, tx, "a")
		if notifying = sqltest.Ask1[bool](t, tx, unanswered); !notifying {
			want = append(want, id)
			break
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() bool { return sqltest.Ask1[bool](t, pool, unanswered) })
	reads := follower.Status().Reads
	eventually(t, func() bool { return follower.Status().Reads > reads+3 })
	sqltest.Commit(t, tx)
	c.wantIDs(t, follower, want)
}

func TestWakeUp_WritersDoNotNotifyWhileTheTailIsAwake(t *testing.T) {
	t.Parallel()
	url := outboxtest.URL(t)
	leftInPeace(t, url, 4, ``)
}

// leftInPeace lets a crowd of writers commit until none of them is to notify any more,
// and sees that everything they appended is delivered.
func leftInPeace(t *testing.T, url string, writers int, settings string) {
	t.Helper()
	follower := &tail.Tail{URL: url}
	c := follow(t, follower)
	control := sqltest.Connection(t, url)
	asleep(t, control, 1)
	ctx, stop := context.WithCancel(t.Context())
	var commits atomic.Int64
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	for range writers {
		conn := sqltest.Connection(t, url)
		sqltest.Exec(t, conn, settings)
		group.Go(func() {
			for ctx.Err() == nil {
				if _, err := conn.Exec(context.WithoutCancel(ctx), `INSERT INTO outbox (topic, type) VALUES ('a', 'crowded')`); err != nil {
					t.Error(err)
					return
				}
				commits.Add(1)
			}
		})
	}
	const notifying = `SELECT pg_sequence_last_value('outcrier.wake_request') > coalesce(pg_sequence_last_value('outcrier.wake_answer'), 0)`
	began, peace := time.Now(), time.Now()
	for time.Since(peace) < time.Second {
		if sqltest.Ask1[bool](t, control, notifying) {
			peace = time.Now()
		}
		if time.Since(began) > testkit.Deadline {
			t.Errorf("%d writers notify for ever: %d commits in %v", writers, commits.Load(), testkit.Deadline)
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	group.Wait()
	eventually(t, func() bool { return len(c.ids()) == int(commits.Load()) })
}

// Notifications come one at a time: a session that notifies holds a lock until its
// commit has reached the disk. If that is slow, a crowd of notifying writers appends so
// few events that the tail could take them for a few writers and have them notify for
// ever.
func TestWakeUp_CrowdOfSlowWritersIsLeftInPeace(t *testing.T) {
	t.Parallel()
	// Only commits that reach the disk can be slow.
	server, err := pgserver.Start(t.Context(), pgserver.Config{Settings: map[string]string{"fsync": "on"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	url := server.URL("")
	if err := (migrations.Migrations{URL: url}).Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Each flush takes 50 ms more, and is shared by all who wait for it.
	leftInPeace(t, url, 8, `SET commit_delay = 50000; SET commit_siblings = 0`)
}

// Events that come now and then find the tail asleep, each one, and need not wait
// for a turn that the one before began.
func TestWakeUp_TailSleepsBetweenEventsThatAreFew(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	follower := &tail.Tail{URL: url, Turn: time.Hour, IdleTurn: time.Hour}
	c := follow(t, follower)
	var want []int64
	for range 5 {
		want = append(want, sqltest.AddNow(t, pool, "a", 1)...)
		eventually(t, func() bool { return len(c.ids()) == len(want) })
	}
	if got := c.ids(); !slices.Equal(got, want) {
		t.Errorf("delivered are %v, want %v", got, want)
	}
}

func TestWakeUp_WakesTwoTails(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	tails := []*tail.Tail{{URL: url, IdleTurn: time.Hour}, {URL: url, IdleTurn: time.Hour}}
	var collectors []*collector
	for _, follower := range tails {
		collectors = append(collectors, follow(t, follower))
	}
	var want []int64
	for range 5 {
		asleep(t, pool, 2)
		want = append(want, sqltest.AddNow(t, pool, "a", 1)...)
		for _, c := range collectors {
			eventually(t, func() bool { return len(c.ids()) == len(want) })
		}
	}
	for i, c := range collectors {
		if !slices.Equal(c.ids(), want) {
			t.Errorf("tail %d was given %v, want %v", i, c.ids(), want)
		}
	}
}

// A session that says so does not notify, and its events are found all the same.
func TestWakeUp_OffIsCaughtByTheIdleTurn(t *testing.T) {
	url := outboxtest.URL(t)
	follower := &tail.Tail{URL: url, IdleTurn: 300 * time.Millisecond}
	c := follow(t, follower)
	conn := sqltest.Connection(t, url)
	sqltest.Exec(t, conn, `SET outcrier.notify = 'off'`)
	sqltest.Exec(t, conn, `LISTEN outcrier`)
	asleep(t, conn, 1)
	want := sqltest.Ask[int64](t, conn, `INSERT INTO outbox (topic, type) VALUES ('a', 'silent') RETURNING id`)
	eventually(t, func() bool { return slices.Equal(c.ids(), want) })
	sqltest.Exec(t, conn, `SELECT pg_notify('outcrier', 'end')`)
	if heard, err := conn.WaitForNotification(t.Context()); err != nil || heard.Payload != "end" {
		t.Errorf("heard %v, %v", heard, err)
	}
}

func TestWakeUp_IsNotNeededByAPollingTail(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	follower := &tail.Tail{URL: url, Wake: tail.WakePoll, IdleTurn: time.Hour}
	c := follow(t, follower)
	c.wantIDs(t, follower, sqltest.AddNow(t, pool, "a", 2))
	if asked := sqltest.Ask[*int64](t, pool, `SELECT pg_sequence_last_value('outcrier.wake_request')`); asked[0] != nil {
		t.Errorf("it requested a wake-up: %d", *asked[0])
	}
}

// A writer answers the request that was notified for, and none that was not drawn yet.
func TestAnswerWakeUp_NeverGoesBackNorAhead(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.Exec(t, pool, `SELECT nextval('outcrier.wake_request') FROM generate_series(1, 5)`)
	for _, test := range []struct{ answer, want int64 }{{3, 3}, {2, 3}, {9, 3}, {5, 5}, {-1, 5}} {
		sqltest.Exec(t, pool, `SELECT outcrier.answer_wake_up($1)`, test.answer)
		if got := sqltest.Ask1[int64](t, pool, `SELECT pg_sequence_last_value('outcrier.wake_answer')`); got != test.want {
			t.Errorf("after %d the answered request is %d, want %d", test.answer, got, test.want)
		}
	}
}

// A node that starts under load must become ready as any other.
func TestListen_IsTestedWhileEventsFlow(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	pool := outboxtest.Pool(t, database)
	ctx, cancel := context.WithCancel(context.Background())
	// Whenever the tail has read, there is more.
	more := func() {
		_, _ = pool.Exec(ctx, `INSERT INTO outbox (topic, type) SELECT 'a', 'b' FROM generate_series(1, 100)`)
	}
	follower := &tail.Tail{
		URL: database, Log: slog.New(slog.DiscardHandler),
		Start: func(position.Position) { more() }, Deliver: func(tail.Read) { more() },
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = follower.Run(ctx) })
	eventually(t, func() bool { return follower.Status().Listening })
}
