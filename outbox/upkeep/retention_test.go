package upkeep_test

import (
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/upkeep"
)

// retain drops every partition that is past.
func retain(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	r := upkeep.Retention{Pool: pool, Keep: 7 * 24 * time.Hour, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if err := r.Turn(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// retainAt is what a turn does, by another clock than the database's: only the owner
// may do that.
func retainAt(t testing.TB, pool *pgxpool.Pool, keep time.Duration, rules []upkeep.Rule, clock time.Time) {
	t.Helper()
	call := func(sql string, args ...any) (done bool) {
		t.Helper()
		err := pool.QueryRow(t.Context(), sql, args...).Scan(&done)
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "55P03" { // lock_not_available: autovacuum's, as a rule
			return true
		}
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return done
	}
	for !call(`SELECT outcrier.drop_partition($1, $2) IS NULL`, keep, clock) {
	}
	for !call(`SELECT outcrier.add_partition($1, $2) IS NULL`, keep, clock) {
	}
	for _, rule := range rules {
		for !call(`SELECT outcrier.delete_expired($1, $2, 5000, $3) < 5000`, rule.Pattern, rule.Keep, clock) {
		}
	}
	for !call(`SELECT outcrier.purge_records($1, $2) = 0`, keep, clock) {
	}
}

func TestRetention_RemovedEventsAreAGapAndTheRestIsGiven(t *testing.T) {
	pool := outboxtest.New(t)
	reader := replay.Reader{Pool: pool}
	start := sqltest.Here(t, pool)
	sqltest.PastPartition(t, pool, 20, 3)
	mid := sqltest.Here(t, pool)
	sqltest.PastPartition(t, pool, 19, 3)
	seen := sqltest.Here(t, pool)
	kept := sqltest.AddNow(t, pool, "kept", 2)
	retain(t, pool)
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.event`); n != len(kept) {
		t.Fatalf("%d events are left", n)
	}

	for name, test := range map[string]struct {
		from position.Position
		want position.Reason
	}{"before all": {start, position.Trimmed}, "amid": {mid, position.Trimmed}, "behind": {seen, ""}} {
		p, gap, err := reader.Verify(t.Context(), test.from, sqltest.All("**"), position.Position{})
		if err != nil {
			t.Fatal(err)
		}
		if test.want == "" && gap != nil || test.want != "" && (gap == nil || gap.Reason != test.want) {
			t.Errorf("%s: %+v, want reason %q", name, gap, test.want)
		}
		oldest := sqltest.Ask1[time.Time](t, pool, `SELECT min(created_at) FROM outcrier.event`)
		if gap != nil && !gap.Since.Equal(oldest) {
			t.Errorf("%s: since %v, want %v", name, gap.Since, oldest)
		}
		if got := sqltest.Replay(t, reader, p, sqltest.Here(t, pool), sqltest.All("**"), 10); !slices.Equal(got, kept) {
			t.Errorf("%s: left are %v, want %v", name, got, kept)
		}
		// After one gap it goes on without another.
		if _, gap, err := reader.Verify(t.Context(), p, sqltest.All("**"), position.Position{}); gap != nil || err != nil {
			t.Errorf("%s, again: %+v, %v", name, gap, err)
		}
	}
}

func TestRetention_WithinAReplayIsTold(t *testing.T) {
	pool := outboxtest.New(t)
	reader := replay.Reader{Pool: pool}
	start := sqltest.Here(t, pool)
	sqltest.PastPartition(t, pool, 20, 3)
	sqltest.AddNow(t, pool, "kept", 2)
	ranges := replay.Ranges(start, sqltest.Here(t, pool))
	page, err := reader.Replay(t.Context(), ranges[0], sqltest.All("**"), 2, 0)
	if err != nil || len(page.Events) != 2 {
		t.Fatalf("%+v, %v", page, err)
	}
	retain(t, pool)
	ranges[0].After = page.After
	for _, topic := range []outbox.Pattern{"**", "past", "kept", "none"} {
		want := topic == "**" || topic == "past"
		if _, err := reader.Replay(t.Context(), ranges[0], sqltest.All(topic), 2, 0); errors.Is(err, replay.ErrTrimmed) != want || err != nil && !want {
			t.Errorf("%s: %v", topic, err)
		}
	}
}

// In a quiet system the newest event may be past retention: that is no gap for any
// reader.
func TestRetention_QuietSystemHasNoGap(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.PastPartition(t, pool, 30, 2)
	p := sqltest.Here(t, pool)
	retain(t, pool)
	retain(t, pool)
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.event`); n != 2 {
		t.Errorf("%d events are left, want the newest transaction's partition whole", n)
	}
	reader := replay.Reader{Pool: pool}
	for _, from := range []position.Position{p, sqltest.Earliest(t, reader)} {
		if _, gap, err := reader.Verify(t.Context(), from, sqltest.All("**"), position.Position{}); gap != nil || err != nil {
			t.Errorf("%+v, %v", gap, err)
		}
	}
	sqltest.AddNow(t, pool, "a", 1)
	retain(t, pool)
	if _, gap, err := reader.Verify(t.Context(), p, sqltest.All("**"), position.Position{}); gap != nil || err != nil {
		t.Errorf("when it was removed after all: %+v, %v", gap, err)
	}
}

func TestRetention_KeepsForEverWithoutALimit(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.PastPartition(t, pool, 3000, 1)
	sqltest.AddNow(t, pool, "a", 1)
	if err := (upkeep.Retention{Pool: pool, Log: slog.New(slog.DiscardHandler)}).Turn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.event`); n != 2 {
		t.Errorf("%d events are left", n)
	}
}

func TestRetention_KeyIsFreeAfterIt(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.PastPartition(t, pool, 20, 1)
	sqltest.Exec(t, pool, `WITH past AS (
			INSERT INTO outcrier.event (topic, type, dedup_key, created_at) SELECT 'past', 't', 'k', min(created_at) FROM outcrier.event RETURNING *)
		INSERT INTO outcrier.dedup (key, id, topic, type, created_at, scheduled) SELECT dedup_key, id, topic, type, created_at, false FROM past`)
	sqltest.AddNow(t, pool, "a", 1)
	retain(t, pool)
	sqltest.Exec(t, pool, `INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', 't', 'k')`)
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.event WHERE dedup_key = 'k' AND topic = 'a'`); n != 1 {
		t.Errorf("%d are stored", n)
	}
}

// What locks is tried and left: it never queues in front of writers.
func TestRetention_DoesNotStandInTheWayOfWriters(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.PastPartition(t, pool, 20, 1)
	sqltest.AddNow(t, pool, "a", 1)
	tx := sqltest.Begin(t, pool)
	sqltest.Add(t, tx, "a")
	retain(t, pool)
	if n := sqltest.Ask1[int](t, tx, `SELECT count(*) FROM outcrier.event WHERE topic = 'past'`); n != 1 {
		t.Error("dropped under an open writer")
	}
	sqltest.Commit(t, tx)
	retain(t, pool)
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.event WHERE topic = 'past'`); n != 0 {
		t.Error("not dropped when the writer had gone")
	}
}

// Events that came without a partition are moved to partitions of their days, unnoticed
// by readers; today's, which is still being written, when the day is past.
func TestRetention_EmptiesTheDefaultPartition(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.Exec(t, pool, `DO $$ DECLARE part regclass; BEGIN
		FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'outcrier.event'::regclass AND inhrelid <> 'outcrier.event_default'::regclass LOOP
			EXECUTE format('DROP TABLE %s', part);
		END LOOP; END $$`)
	reader := replay.Reader{Pool: pool}
	start := sqltest.Here(t, pool)
	for day := range 10 {
		sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type, payload, dedup_key, created_at)
			SELECT 'a', 't', '{"n":  1}', 'k' || $1::int || n, now() - $1 * interval '1 day' FROM generate_series(1, 20) AS n`, day)
	}
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type, created_at) VALUES ('a', 't', 'epoch'), ('b', 't', now() + interval '2 days'), ('b', 't', now())`)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.dedup (key, id, topic, type, created_at, scheduled)
		SELECT dedup_key, id, topic, type, created_at, false FROM outcrier.event WHERE dedup_key IS NOT NULL`)
	p := sqltest.Here(t, pool)
	rows := func() []string {
		return sqltest.Ask[string](t, pool, `SELECT (xid, id, topic, payload::text, dedup_key, created_at)::text FROM outcrier.event WHERE created_at > now() - interval '6 days' ORDER BY id`)
	}
	before := rows()
	// One that appends to today's, all the while.
	tx := sqltest.Begin(t, pool)
	sqltest.Add(t, tx, "b")
	retain(t, pool)
	sqltest.Commit(t, tx)
	retain(t, pool)
	if got := rows()[:len(before)]; !slices.Equal(got, before) {
		t.Errorf("they were %v\nand are %v", before, got)
	}
	if got := sqltest.Ask[string](t, pool, `SELECT DISTINCT to_char(created_at AT TIME ZONE 'UTC', 'YYYY_MM_DD') FROM outcrier.event_default`); len(got) != 1 ||
		got[0] != sqltest.Ask1[string](t, pool, `SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM_DD')`) {
		t.Errorf("in the DEFAULT partition are days %v", got)
	}
	if _, gap, err := reader.Verify(t.Context(), p, sqltest.All("**"), position.Position{}); gap != nil || err != nil {
		t.Errorf("who had all is told %+v, %v", gap, err)
	}
	if _, gap, err := reader.Verify(t.Context(), start, sqltest.All("a"), position.Position{}); err != nil || gap == nil || gap.Reason != position.Trimmed {
		t.Errorf("who had nothing is told %+v, %v", gap, err)
	}
	if _, gap, err := reader.Verify(t.Context(), start, sqltest.All("b"), position.Position{}); gap != nil || err != nil {
		t.Errorf("whose topic lost nothing is told %+v, %v", gap, err)
	}
	// Tomorrow today's is past.
	retainAt(t, pool, 7*24*time.Hour, nil, time.Now().Add(24*time.Hour))
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.event_default`); n > 0 {
		t.Errorf("%d events are left in the DEFAULT partition", n)
	}
	// They are partitions like any other.
	sqltest.Exec(t, pool, `INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', 't', 'k01')`)
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.event WHERE dedup_key = 'k01'`); n != 1 {
		t.Errorf("%d events have the key", n)
	}
}

// A partition that is as wide as an earlier, longer retention asked for loses what is past by the present one.
func TestRetention_EmptiesAPartitionThatIsTooWide(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.Exec(t, pool, `CREATE TABLE outcrier.event_wide PARTITION OF outcrier.event FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-02-01 00:00+00')`)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type, created_at) SELECT 'a', 't', '2020-01-01 12:00+00'::timestamptz + n * interval '1 day' FROM generate_series(0, 29) AS n`)
	retainAt(t, pool, 7*24*time.Hour, nil, time.Date(2020, 1, 31, 0, 0, 0, 0, time.UTC))
	if left := sqltest.Ask1[string](t, pool, `SELECT concat_ws(' ', count(*), min(created_at) AT TIME ZONE 'UTC') FROM outcrier.event`); left != "7 2020-01-24 12:00:00" {
		t.Errorf("left are %s", left)
	}
}

// The event that a position stands on may go while others of its transaction stay.
func TestRetention_AnchorRemovedByPattern(t *testing.T) {
	pool := outboxtest.New(t)
	reader := replay.Reader{Pool: pool}
	old := time.Now().Add(-2 * time.Hour)
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type, created_at) VALUES ('order/1', 't', $1), ('presence/a', 't', $1)`, old)
	p := sqltest.Here(t, pool)
	forged := p
	forged.Anchor.Hash++
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type, created_at) VALUES ('presence/b', 't', $1)`, old)
	behind := sqltest.Here(t, pool)
	kept := sqltest.AddNow(t, pool, "order/1", 1)
	rules := []upkeep.Rule{{Pattern: "presence/**", Keep: time.Hour}}
	r := upkeep.Retention{Pool: pool, Rules: rules, Log: slog.New(slog.DiscardHandler)}
	if err := r.Turn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := sqltest.Ask[string](t, pool, `SELECT topic FROM outcrier.event ORDER BY id`); !slices.Equal(got, []string{"order/1", "order/1"}) {
		t.Fatalf("left are %v", got)
	}
	for name, test := range map[string]struct {
		at    position.Position
		topic outbox.Pattern
		want  position.Reason
	}{
		"others of its transaction are left": {p, "order/**", ""},
		"it has missed one":                  {p, "presence/**", position.Trimmed},
		"it has missed another's":            {p, "presence/a", ""},
		"none is left":                       {behind, "**", ""},
		"it never was":                       {forged, "order/**", position.OtherHistory},
	} {
		next, gap, err := reader.Verify(t.Context(), test.at, sqltest.All(test.topic), position.Position{})
		if err != nil || (gap == nil) != (test.want == "") || gap != nil && gap.Reason != test.want {
			t.Errorf("%s: %+v, %v", name, gap, err)
		}
		if gap == nil && test.topic == "order/**" {
			if got := sqltest.Replay(t, reader, next, sqltest.Here(t, pool), sqltest.All(test.topic), 10); !slices.Equal(got, kept) {
				t.Errorf("%s: given %v, want %v", name, got, kept)
			}
		}
	}
}

// A transaction that stays open is in flight to every position. What others lost in
// the meantime is nothing that it had.
func TestRetention_OpenTransactionIsNoGap(t *testing.T) {
	pool := outboxtest.New(t)
	tx := sqltest.Begin(t, pool)
	sqltest.Exec(t, tx, `SELECT pg_current_xact_id()`)
	for range 40 {
		sqltest.Exec(t, pool, `INSERT INTO outcrier.event (topic, type, created_at) VALUES ('presence/a', 't', now() - interval '2 hours')`)
	}
	const order = `INSERT INTO outcrier.event (topic, type, created_at) VALUES ('order/1', 't', now() - interval '2 hours')`
	sqltest.Exec(t, pool, order)
	p := sqltest.Here(t, pool)
	sqltest.Exec(t, pool, order)
	if n := sqltest.Ask1[int](t, pool, `SELECT outcrier.delete_expired('presence/**', '1 hour')`); n != 40 {
		t.Fatalf("%d are removed", n)
	}
	told := func(want bool) {
		t.Helper()
		if _, gap, err := (replay.Reader{Pool: pool}).Verify(t.Context(), p, sqltest.All("**"), position.Position{}); err != nil || (gap != nil) != want {
			t.Errorf("%+v, %v", gap, err)
		}
	}
	told(false)
	sqltest.Exec(t, tx, `INSERT INTO outcrier.event (topic, type, created_at) VALUES ('presence/a', 't', now() - interval '2 hours')`)
	sqltest.Commit(t, tx)
	told(false)
	if n := sqltest.Ask1[int](t, pool, `SELECT outcrier.delete_expired('presence/**', '1 hour')`); n != 1 {
		t.Fatalf("%d are removed", n)
	}
	told(true)
}

func TestDeleteExpired_SaysWhatIsAllowed(t *testing.T) {
	pool := outboxtest.New(t)
	for _, call := range []string{
		`outcrier.delete_expired('**', '1 hour')`, `outcrier.delete_expired('*/a', '1 hour')`, `outcrier.delete_expired('a*', '1 hour')`, `outcrier.delete_expired('a/**/b', '1 hour')`,
		`outcrier.delete_expired('', '1 hour')`, `outcrier.delete_expired('a//b', '1 hour')`, `outcrier.delete_expired('a', '59 seconds')`, `outcrier.delete_expired('a', '1 hour', 0)`,
	} {
		if _, err := pool.Exec(t.Context(), `SELECT `+call); err == nil {
			t.Errorf("%s succeeds", call)
		}
	}
	for _, pattern := range []string{"a", "a/*", "a/**", "a/*/b", "a/*/**"} {
		sqltest.Exec(t, pool, `SELECT outcrier.delete_expired($1, '1 hour')`, pattern)
	}
}

// While a reader such as a dump stays for hours, each turn finds out that the partition
// can't be dropped before it reads all of it.
func TestRetention_LooksAtNothingThatItCannotDrop(t *testing.T) {
	pool := outboxtest.New(t)
	sqltest.PastPartition(t, pool, 20, 3)
	sqltest.AddNow(t, pool, "a", 1)
	reading := sqltest.Begin(t, pool)
	sqltest.Exec(t, reading, `SELECT count(*) FROM outcrier.event WHERE topic = 'past'`)
	const noted = `SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('outcrier.removal', 'removal')), 0)` // which no rollback sets back
	retain(t, pool)
	if n := sqltest.Ask1[int](t, pool, noted); n != 0 {
		t.Errorf("%d removals were put on record in vain", n)
	}
	// To have tried leaves nothing locked.
	sqltest.AddNow(t, pool, "a", 1)
	sqltest.Commit(t, reading)
	retain(t, pool)
	if n := sqltest.Ask1[int](t, pool, noted); n != 1 {
		t.Errorf("%d removals are on record when the reader has gone", n)
	}
	if n := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.event WHERE topic = 'past'`); n != 0 {
		t.Errorf("%d past events are left", n)
	}
}
