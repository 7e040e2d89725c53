package outbox_test

import (
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// retain drops every partition that is past.
func retain(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	r := outbox.Retention{Pool: pool, Keep: 7 * 24 * time.Hour, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if err := r.Turn(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestRetention_TrimmedEventsAreAGapAndTheRestIsGiven(t *testing.T) {
	pool := outboxtest.New(t)
	reader := outbox.Reader{Pool: pool}
	start := here(t, pool)
	pastPartition(t, pool, 20, 3)
	mid := here(t, pool)
	pastPartition(t, pool, 19, 3)
	seen := here(t, pool)
	kept := addNow(t, pool, "kept", 2)
	retain(t, pool)
	if n := ask1[int](t, pool, `SELECT count(*) FROM outbox`); n != len(kept) {
		t.Fatalf("%d events are left", n)
	}

	for name, test := range map[string]struct {
		from outbox.Position
		want outbox.Reason
	}{"before all": {start, outbox.Trimmed}, "amid": {mid, outbox.Trimmed}, "behind": {seen, ""}} {
		p, gap, err := reader.Verify(t.Context(), test.from, all("**"))
		if err != nil {
			t.Fatal(err)
		}
		if test.want == "" && gap != nil || test.want != "" && (gap == nil || gap.Reason != test.want) {
			t.Errorf("%s: %+v, want reason %q", name, gap, test.want)
		}
		oldest := ask1[time.Time](t, pool, `SELECT min(created_at) FROM outbox`)
		if gap != nil && !gap.Since.Equal(oldest) {
			t.Errorf("%s: since %v, want %v", name, gap.Since, oldest)
		}
		if got := replay(t, reader, p, here(t, pool), all("**"), 10); !slices.Equal(got, kept) {
			t.Errorf("%s: left are %v, want %v", name, got, kept)
		}
		// Told once, it goes on without a gap.
		if _, gap, err := reader.Verify(t.Context(), p, all("**")); gap != nil || err != nil {
			t.Errorf("%s, again: %+v, %v", name, gap, err)
		}
	}
}

func TestRetention_WithinAReplayIsTold(t *testing.T) {
	pool := outboxtest.New(t)
	reader := outbox.Reader{Pool: pool}
	start := here(t, pool)
	pastPartition(t, pool, 20, 3)
	addNow(t, pool, "kept", 2)
	legs := start.Legs(here(t, pool))
	page, err := reader.Replay(t.Context(), legs[0], all("**"), 2)
	if err != nil || len(page.Events) != 2 {
		t.Fatalf("%+v, %v", page, err)
	}
	retain(t, pool)
	legs[0].After = page.After
	for _, topic := range []outbox.Pattern{"**", "past", "kept", "none"} {
		want := topic == "**" || topic == "past"
		if _, err := reader.Replay(t.Context(), legs[0], all(topic), 2); errors.Is(err, outbox.ErrTrimmed) != want || err != nil && !want {
			t.Errorf("%s: %v", topic, err)
		}
	}
}

// In a quiet system the newest event may be past retention: that is nobody's gap.
func TestRetention_QuietSystemHasNoGap(t *testing.T) {
	pool := outboxtest.New(t)
	pastPartition(t, pool, 30, 2)
	p := here(t, pool)
	retain(t, pool)
	retain(t, pool)
	if n := ask1[int](t, pool, `SELECT count(*) FROM outbox`); n != 2 {
		t.Errorf("%d events are left, want the newest transaction's partition whole", n)
	}
	reader := outbox.Reader{Pool: pool}
	for _, from := range []outbox.Position{p, earliest(t, reader)} {
		if _, gap, err := reader.Verify(t.Context(), from, all("**")); gap != nil || err != nil {
			t.Errorf("%+v, %v", gap, err)
		}
	}
	addNow(t, pool, "a", 1)
	retain(t, pool)
	if _, gap, err := reader.Verify(t.Context(), p, all("**")); gap != nil || err != nil {
		t.Errorf("when it was trimmed after all: %+v, %v", gap, err)
	}
}

func TestRetention_KeepsForEverWithoutALimit(t *testing.T) {
	pool := outboxtest.New(t)
	pastPartition(t, pool, 3000, 1)
	addNow(t, pool, "a", 1)
	if err := (outbox.Retention{Pool: pool, Log: slog.New(slog.DiscardHandler)}).Turn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := ask1[int](t, pool, `SELECT count(*) FROM outbox`); n != 2 {
		t.Errorf("%d events are left", n)
	}
}

func TestRetention_KeyIsFreeAfterIt(t *testing.T) {
	pool := outboxtest.New(t)
	pastPartition(t, pool, 20, 1)
	exec(t, pool, `INSERT INTO outbox (topic, type, dedup_key, created_at) SELECT 'past', 't', 'k', min(created_at) FROM outbox`)
	addNow(t, pool, "a", 1)
	retain(t, pool)
	exec(t, pool, `INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', 't', 'k')`)
	if n := ask1[int](t, pool, `SELECT count(*) FROM outbox WHERE dedup_key = 'k'`); n != 1 {
		t.Errorf("%d are stored", n)
	}
}

// What locks is tried and left: it never queues in front of writers.
func TestRetention_DoesNotStandInTheWayOfWriters(t *testing.T) {
	pool := outboxtest.New(t)
	pastPartition(t, pool, 20, 1)
	addNow(t, pool, "a", 1)
	tx := begin(t, pool)
	add(t, tx, "a")
	retain(t, pool)
	if n := ask1[int](t, tx, `SELECT count(*) FROM outbox WHERE topic = 'past'`); n != 1 {
		t.Error("dropped under an open writer")
	}
	commit(t, tx)
	retain(t, pool)
	if n := ask1[int](t, pool, `SELECT count(*) FROM outbox WHERE topic = 'past'`); n != 0 {
		t.Error("not dropped when the writer had gone")
	}
}
