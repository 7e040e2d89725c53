package upkeep_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/outbox/upkeep"
)

// schedule runs one until the test ends.
func schedule(t *testing.T, s upkeep.Schedule) {
	s.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	ctx, cancel := context.WithCancelCause(context.Background())
	over := errors.New("over")
	var group sync.WaitGroup
	group.Go(func() {
		if err := s.Run(ctx); !errors.Is(err, over) {
			t.Errorf("it ended by %v", err)
		}
	})
	t.Cleanup(func() { cancel(over); group.Wait() })
}

func TestSchedule_SaysOnceWhatCantBeStored(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.Exec(t, pool, `ALTER TABLE outcrier.event ADD CONSTRAINT deny CHECK (type <> 'stuck')`)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at) VALUES ('a', 'stuck', '{}', '/', now())`)
	var said testkit.Log
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { _ = upkeep.Schedule{Pool: pool, Log: slog.New(slog.NewTextHandler(&said, nil))}.Run(ctx) })
	t.Cleanup(func() { cancel(); group.Wait() })
	retries := make(map[time.Time]bool)
	testkit.Eventually(t, "the event is tried again, and the log says so", func() bool {
		for _, at := range sqltest.Ask[time.Time](t, pool, `SELECT retry_at FROM outcrier.scheduled WHERE problem IS NOT NULL`) {
			retries[at] = true
		}
		return len(retries) > 3 && strings.Contains(said.String(), "can't be stored")
	})
	if text := said.String(); strings.Count(text, "can't be stored") != 1 || !strings.Contains(text, "type=stuck") || !strings.Contains(text, "deny") {
		t.Errorf("the log after %d attempts:\n%s", len(retries), text)
	}
	s, err := upkeep.TakeSurvey(t.Context(), pool, outbox.DefaultSchema)
	if err != nil || s.Failing != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestSchedule_MovesWhatIsDueInItsOrder(t *testing.T) {
	pool := outboxtest.New(t)
	tx := sqltest.Begin(t, pool)
	hence := sqltest.Ask1[time.Time](t, tx, `SELECT clock_timestamp() + interval '1 hour'`)
	ids, err := outbox.Append(t.Context(), tx,
		outbox.Draft{Topic: "a", Type: "fourth", DeliverAt: hence.Add(200 * time.Millisecond)},
		outbox.Draft{Topic: "a", Type: "second", DeliverAt: hence},
		outbox.Draft{Topic: "a", Type: "third", DeliverAt: hence},
		outbox.Draft{Topic: "a", Type: "cancelled", DeliverAt: hence},
		outbox.Draft{Topic: "a", Type: "much later", DeliverAt: hence.Add(time.Hour)},
		outbox.Draft{Topic: "a", Type: "first", DeliverAt: hence.Add(-2 * time.Hour)},
	)
	if err != nil {
		t.Fatal(err)
	}
	sqltest.Commit(t, tx)
	sqltest.Exec(t, pool, `SELECT outcrier.cancel($1)`, ids[3])
	if got := sqltest.Ask[string](t, pool, `SELECT type FROM outcrier.event`); !slices.Equal(got, []string{"first"}) {
		t.Fatalf("before any is due there are %v", got)
	}
	schedule(t, upkeep.Schedule{Pool: pool})
	// The hour passes, but for half a second.
	fourth := sqltest.Ask1[time.Time](t, pool, `WITH moved AS (UPDATE outcrier.scheduled SET deliver_at = deliver_at - $1::timestamptz + now() + interval '500 ms' RETURNING *)
		SELECT deliver_at FROM moved WHERE type = 'fourth'`, hence)
	testkit.Eventually(t, "all that are due are moved", func() bool { return sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.event`) == 4 })
	if got := sqltest.Ask[string](t, pool, `SELECT type FROM outcrier.event ORDER BY id`); !slices.Equal(got, []string{"first", "second", "third", "fourth"}) {
		t.Errorf("delivered are %v", got)
	}
	if early := sqltest.Ask[string](t, pool, `SELECT type FROM outcrier.event WHERE type = 'fourth' AND created_at < $1`, fourth); len(early) > 0 {
		t.Errorf("too early: %v", early)
	}
	if got := sqltest.Ask[string](t, pool, `SELECT type FROM outcrier.scheduled`); !slices.Equal(got, []string{"much later"}) {
		t.Errorf("still scheduled are %v", got)
	}
}

// The cost is that of the due events: neither those that wait after them nor those
// planned for later are looked at each time.
func TestDeliverScheduled_LooksAtNoMoreThanItMoves(t *testing.T) {
	pool := outboxtest.New(t)
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release() // the counters are the session's own
	const due, later = 3000, 10_000
	sqltest.Exec(t, pool, `INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at)
		SELECT 'a', n::text, '{}', '/', now() + CASE WHEN n <= $1 THEN interval '-1 second' ELSE interval '1 day' END FROM generate_series(1, $1::int + $2::int) AS n`, due, later)
	sqltest.Exec(t, pool, `ANALYZE outcrier.scheduled`)
	looked := func() (rows int64) {
		t.Helper()
		_, err := conn.Exec(t.Context(), `SELECT pg_stat_force_next_flush()`)
		if err == nil {
			err = conn.QueryRow(t.Context(), `SELECT seq_tup_read + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'scheduled')
				FROM pg_stat_user_tables WHERE relname = 'scheduled'`).Scan(&rows)
		}
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	before := looked()
	moved := 0
	for n := 1; n > 0; moved += n {
		if err := conn.QueryRow(t.Context(), `SELECT outcrier.deliver_scheduled(100)`).Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
	// Where something was deleted the index leads for a while; all of it each time would
	// be a hundred for each.
	if rows := looked() - before; moved != due || rows > 20*due {
		t.Errorf("%d were moved, want %d; %d rows were looked at", moved, due, rows)
	}
}

func TestDeliverScheduled_MovesEachOnceWhoeverCalls(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at)
		SELECT 'a', n::text, '{}', '/', now() - interval '1 second' FROM generate_series(1, 200) AS n`)
	keyed := sqltest.Ask1[int64](t, pool, `INSERT INTO outbox (topic, type, dedup_key, deliver_at) VALUES ('a', 'keyed', 'k', now() + interval '1 hour') RETURNING id`)
	sqltest.Exec(t, pool, `UPDATE outcrier.scheduled SET deliver_at = now() - interval '1 second' WHERE id = $1`, keyed)
	// Meanwhile, at once.
	if id := sqltest.Ask1[int64](t, pool, `INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', 'keyed', 'k') RETURNING id`); id != keyed {
		t.Errorf("the retry has id %d, want %d, which is scheduled", id, keyed)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 15 {
				if _, err := pool.Exec(t.Context(), `SELECT outcrier.deliver_scheduled(7)`); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	sqltest.Exec(t, pool, `SELECT outcrier.deliver_scheduled()`)
	want := []string{}
	for n := range 200 {
		want = append(want, strconv.Itoa(n+1))
	}
	got := sqltest.Ask[string](t, pool, `SELECT type FROM outcrier.event WHERE type <> 'keyed' ORDER BY type::int`)
	if !slices.Equal(got, want) {
		t.Errorf("%d of %d were moved", len(got), len(want))
	}
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.event WHERE type = 'keyed'`); n != 1 {
		t.Errorf("of two with one key %d are stored", n)
	}
}

// What one transaction appended for one time comes in the order of its appends,
// also when several nodes find it due at once.
func TestDeliverScheduled_KeepsTheOrderWhoeverCalls(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at)
		SELECT 'a', n::text, '{}', '/', now() - interval '1 second' FROM generate_series(1, 2000) AS n`)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 10 {
				if _, err := pool.Exec(t.Context(), `SELECT outcrier.deliver_scheduled(100)`); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM (SELECT type::int < lag(type::int) OVER (ORDER BY id) AS early FROM outcrier.event) AS o WHERE early`); n > 0 {
		t.Errorf("%d of 2000 events come before one that was appended before them", n)
	}
}

func TestDeliverScheduled_MovesByTimeAndThenInTheOrderOfAppends(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at)
		SELECT 'a', n::text, '{}', '/', now() - interval '1 minute' + (n * 7 % 5) * interval '1 second' FROM generate_series(1, 40) AS n`)
	want := sqltest.Ask[string](t, pool, `SELECT type FROM outcrier.scheduled ORDER BY deliver_at, id`)
	for sqltest.Ask1[int](t, pool, `SELECT outcrier.deliver_scheduled(15)`) > 0 {
	}
	if got := sqltest.Ask[string](t, pool, `SELECT type FROM outcrier.event ORDER BY id`); !slices.Equal(got, want) {
		t.Errorf("moved are %v, want %v", got, want)
	}
}

// A row that a transaction holds, to cancel it perhaps, is left alone.
func TestDeliverScheduled_WaitsForNobody(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at) VALUES ('a', 'held', '{}', '/', now()), ('a', 'free', '{}', '/', now())`)
	tx := sqltest.Begin(t, pool)
	sqltest.Exec(t, tx, `DELETE FROM outcrier.scheduled WHERE type = 'held'`)
	deadline, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var moved int
	if err := pool.QueryRow(deadline, `SELECT outcrier.deliver_scheduled()`).Scan(&moved); err != nil || moved != 1 {
		t.Errorf("moved %d, %v", moved, err)
	}
	if err := tx.Rollback(t.Context()); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
		t.Fatal(err)
	}
	if moved := sqltest.Ask1[int](t, pool, `SELECT outcrier.deliver_scheduled()`); moved != 1 {
		t.Errorf("after the rollback %d were moved", moved)
	}
}

// A scheduled event has its key from when it is scheduled: an append with the same key
// meanwhile waits for no other, and gets the scheduled id; and the key moves with the
// event.
func TestDeliverScheduled_TheKeyGoesAlong(t *testing.T) {
	pool := outboxtest.New(t)
	const appendSQL = `SELECT outcrier.append('a', 't', dedup_key => 'k', deliver_at => now() + $1::interval)`
	scheduled := sqltest.Ask1[int64](t, pool, appendSQL, "1 hour")
	if again := sqltest.Ask1[int64](t, pool, appendSQL, "2 hours"); again != scheduled {
		t.Errorf("scheduled as %d and as %d", scheduled, again)
	}
	sqltest.Exec(t, pool, `UPDATE outcrier.scheduled SET deliver_at = now()`)
	if n := sqltest.Ask1[int](t, pool, `SELECT outcrier.deliver_scheduled()`); n != 1 {
		t.Fatalf("%d were moved", n)
	}
	id := sqltest.Ask1[int64](t, pool, `SELECT id FROM outcrier.event`)
	if again := sqltest.Ask1[int64](t, pool, appendSQL, "1 hour"); again != id || id == scheduled {
		t.Errorf("the event has id %d, a retry gives %d, scheduled it was as %d", id, again, scheduled)
	}
	sqltest.Exec(t, pool, `SELECT outcrier.erase($1::bigint, 'test')`, id)
	if again := sqltest.Ask1[int64](t, pool, appendSQL, "-1 hour"); again == id {
		t.Error("an erased event keeps its key")
	}
}

// While a partition comes or goes nothing can be moved, which no row is to blame for.
func TestDeliverScheduled_ALockedTableIsNoFaultOfRows(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at) VALUES ('a', 't', '{}', '/', now())`)
	tx := sqltest.Begin(t, pool)
	sqltest.Exec(t, tx, `LOCK TABLE outcrier.event IN ACCESS EXCLUSIVE MODE`)
	if n := sqltest.Ask1[int](t, pool, `SELECT outcrier.deliver_scheduled()`); n != 0 {
		t.Errorf("%d were moved", n)
	}
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.scheduled WHERE problem IS NOT NULL OR retry_at IS NOT NULL`); n != 0 {
		t.Errorf("%d rows have a problem", n)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := sqltest.Ask1[int](t, pool, `SELECT outcrier.deliver_scheduled()`); n != 1 {
		t.Errorf("%d were moved when the lock was gone", n)
	}
}

// A row that the owner's own rule refuses says why, is tried again, and stops no other.
func TestDeliverScheduled_ARefusedRowStopsNoOther(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at) VALUES
		('a', 'first', '{}', '/', now()), ('a', 'large', '{"since": "the limit was lowered"}', '/', now()), ('a', 'second', '{}', '/', now())`)
	sqltest.Exec(t, pool, `ALTER TABLE outcrier.event ADD CONSTRAINT small_payloads CHECK (octet_length(payload::text) <= 10)`)
	if n := sqltest.Ask1[int](t, pool, `SELECT outcrier.deliver_scheduled()`); n != 2 {
		t.Errorf("%d were moved", n)
	}
	if got := sqltest.Ask[string](t, pool, `SELECT type FROM outcrier.event ORDER BY id`); !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("moved are %v", got)
	}
	if got := sqltest.Ask[string](t, pool, `SELECT type FROM outcrier.scheduled WHERE problem LIKE '%small_payloads%'`); !slices.Equal(got, []string{"large"}) {
		t.Errorf("with a problem are %v", got)
	}
	sqltest.Exec(t, pool, `ALTER TABLE outcrier.event DROP CONSTRAINT small_payloads`)
	schedule(t, upkeep.Schedule{Pool: pool})
	testkit.Eventually(t, "the others are moved", func() bool { return sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.event`) == 3 })
}

// A fault of the server, not of the row, is returned to the caller.
func TestDeliverScheduled_HoldsNoRowForTheServersFault(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at) VALUES ('a', 't', '{}', '/', now())`)
	sqltest.Exec(t, pool, `CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no space'' USING ERRCODE = ''disk_full''; END'`)
	sqltest.Exec(t, pool, `CREATE TRIGGER full_disk BEFORE INSERT ON outcrier.event FOR EACH ROW EXECUTE FUNCTION full_disk()`)
	var pg *pgconn.PgError
	if _, err := pool.Exec(t.Context(), `SELECT outcrier.deliver_scheduled()`); !errors.As(err, &pg) || pg.Code != "53100" {
		t.Errorf("%v", err)
	}
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.scheduled WHERE retry_at IS NULL`); n != 1 {
		t.Errorf("%d wait without being held", n)
	}
}

// looks counts the statements that read the schedule, and has the time of the last one.
type looks struct{ n, last atomic.Int64 }

func (l *looks) TraceQueryStart(ctx context.Context, _ *pgx.Conn, query pgx.TraceQueryStartData) context.Context {
	if strings.Contains(query.SQL, "scheduled") {
		l.n.Add(1)
		l.last.Store(time.Now().UnixNano())
	}
	return ctx
}

func (l *looks) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// With a tail that is woken, an idle schedule is not looked at ten times a second, and
// scheduled events are delivered in time all the same.
func TestSchedule_IsWokenWithTheTail(t *testing.T) {
	url := outboxtest.URL(t)
	var counted looks
	config, err := outbox.PoolConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.Tracer = &counted
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	follower := &tail.Tail{URL: url, Start: func(position.Position) {}, Deliver: func(tail.Read) {}}
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { _ = follower.Run(ctx) })
	t.Cleanup(func() { cancel(); following.Wait() })
	schedule(t, upkeep.Schedule{Pool: pool, Activity: follower.Activity})
	testkit.Eventually(t, "the tail waits for a notification", func() bool {
		return follower.Status().Listen == tail.ListenWorks && follower.Status().WakeUps.Requests > 0
	})

	writer := sqltest.Connection(t, url)
	for range 3 {
		testkit.Eventually(t, "an event is moved before the schedule looks without a wake-up", func() bool {
			looks := time.Unix(0, counted.last.Load()).Add(5 * time.Second)
			due := sqltest.Ask1[*time.Time](t, writer, `INSERT INTO outbox (topic, type, deliver_at) VALUES ('a', 't', clock_timestamp() + interval '1 second') RETURNING deliver_at`)
			if due == nil { // the statement took longer than the second
				return false
			}
			testkit.Eventually(t, "the event is moved", func() bool { return sqltest.Ask1[int](t, writer, `SELECT count(*) FROM outcrier.scheduled`) == 0 })
			moved := sqltest.Ask1[time.Time](t, writer, `SELECT max(created_at) FROM outcrier.event WHERE topic = 'a'`)
			if moved.Before(*due) {
				t.Errorf("moved at %v, due at %v", moved, due)
			}
			return moved.Before(looks) // a busy machine may be late: it is asked again
		})
	}
	before := counted.n.Load()
	time.Sleep(2 * time.Second) // nothing may happen meanwhile
	if n := counted.n.Load() - before; n > 5 {
		t.Errorf("%d looks in two idle seconds", n)
	}
}
