package tail_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
)

// BenchmarkTail_Latency is the time from a commit's acknowledgement to Deliver, at
// 50 events a second, and the same of a bare LISTEN with one fetch. Both follow at
// once, so that what else the machine does falls on both. An op is five seconds.
func BenchmarkTail_Latency(b *testing.B) {
	const mean = 20 * time.Millisecond
	for name, next := range map[string]func() time.Duration{
		"even":    func() time.Duration { return mean },
		"poisson": func() time.Duration { return time.Duration(rand.ExpFloat64() * float64(mean)) },
	} {
		b.Run(name, func(b *testing.B) {
			listen, follower := &stopwatch{insert: followBare}, &stopwatch{insert: followTail}
			var group errgroup.Group
			for i, w := range []*stopwatch{listen, follower} {
				// In databases of their own, or each notification would wake both.
				url, start := outboxtest.URL(b), time.Now().Add(time.Duration(i)*mean/2)
				group.Go(func() error { return w.run(b, url, start, next, 250*b.N) })
			}
			if err := group.Wait(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(0, "ns/op")
			for q, unit := range map[float64]string{0.5: "p50", 0.9: "p90", 0.99: "p99"} {
				b.ReportMetric(listen.quantile(q), unit+"-listen-µs")
				b.ReportMetric(follower.quantile(q), unit+"-µs")
				b.ReportMetric(follower.quantile(q)/listen.quantile(q), unit+"-ratio")
			}
		})
	}
}

// stopwatch times the way of events from commit to one who follows.
type stopwatch struct {
	// insert starts to follow and returns the statement that appends an event.
	insert func(b *testing.B, url string, given func(id int64)) string
	mu     sync.Mutex
	given  map[int64]time.Time
	took   []time.Duration // ascending
}

func (w *stopwatch) run(b *testing.B, url string, at time.Time, next func() time.Duration, events int) error {
	w.given = map[int64]time.Time{}
	conn := sqltest.Connection(b, url)
	insert := w.insert(b, url, func(id int64) {
		now := time.Now()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.given[id] = now
	})
	committed := map[int64]time.Time{}
	for range events {
		at = at.Add(next())
		time.Sleep(time.Until(at))
		var id int64
		if err := conn.QueryRow(b.Context(), insert).Scan(&id); err != nil {
			return err
		}
		committed[id] = time.Now()
	}
	eventually(b, func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.given) >= events })
	for id, at := range committed {
		w.took = append(w.took, w.given[id].Sub(at))
	}
	slices.Sort(w.took)
	return nil
}

// quantile is in microseconds.
func (w *stopwatch) quantile(q float64) float64 {
	return float64(w.took[int(q*float64(len(w.took)))]) / float64(time.Microsecond)
}

// followBare is the floor: writers notify with every commit, and one fetch by id
// follows each notification.
func followBare(b *testing.B, url string, given func(id int64)) (insert string) {
	conn := sqltest.Connection(b, url)
	sqltest.Exec(b, conn, `CREATE TABLE bare (id bigserial PRIMARY KEY, topic text, type text, payload json)`)
	sqltest.Exec(b, conn, `CREATE FUNCTION bare_notify() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_notify('bare', ''); RETURN NULL; END $$`)
	sqltest.Exec(b, conn, `CREATE TRIGGER bare_notify AFTER INSERT ON bare FOR EACH STATEMENT EXECUTE FUNCTION bare_notify()`)
	sqltest.Exec(b, conn, `LISTEN bare`)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for last := int64(0); ; {
			if _, err := conn.WaitForNotification(ctx); err != nil {
				return
			}
			rows, _ := conn.Query(ctx, `SELECT id, topic, type, payload FROM bare WHERE id > $1 ORDER BY id`, last)
			var topic, kind string
			var payload []byte
			_, _ = pgx.ForEachRow(rows, []any{&last, &topic, &kind, &payload}, func() error { given(last); return nil })
		}
	}()
	b.Cleanup(func() { cancel(); <-done })
	return `INSERT INTO bare (topic, type, payload) VALUES ('a', 't', ` + sqltest.Payload200 + `) RETURNING id`
}

func followTail(b *testing.B, url string, given func(id int64)) (insert string) {
	run(b, &tail.Tail{URL: url, Deliver: func(r tail.Read) {
		for i := range r.Events {
			given(r.Events[i].ID)
		}
	}})
	return `INSERT INTO outbox (topic, type, payload) VALUES ('a', 't', ` + sqltest.Payload200 + `) RETURNING id`
}

// BenchmarkTail_Backlog is a tail's way through events that were committed at once. An
// op is 200,000 events of 200 bytes.
func BenchmarkTail_Backlog(b *testing.B) {
	const events = 200_000
	url := outboxtest.URL(b)
	conn := sqltest.Connection(b, url)
	sqltest.Exec(b, conn, `SET outcrier.notify = 'off'`)
	began, ended := make(chan time.Time, 1), make(chan time.Time, 1)
	left := events
	run(b, &tail.Tail{URL: url, IdleTurn: 10 * time.Millisecond, Deliver: func(r tail.Read) {
		if left == events && len(r.Events) > 0 {
			began <- time.Now()
		}
		if left -= len(r.Events); left == 0 {
			left = events
			ended <- time.Now()
		}
	}})
	var took time.Duration
	for range b.N {
		sqltest.Exec(b, conn, `INSERT INTO outbox (topic, type, payload)
			SELECT 'user/' || n % 1000, 'user.changed', `+sqltest.Payload200+` FROM generate_series(1, $1::int) AS n`, events)
		committed := time.Now()
		<-began
		took += (<-ended).Sub(committed)
		sqltest.Exec(b, conn, `TRUNCATE outcrier.event`)
	}
	b.ReportMetric(float64(took)/float64(b.N), "ns/op")
	b.ReportMetric(float64(b.N*events)/took.Seconds(), "events/s")
}

// run runs a tail until the benchmark ends.
func run(b *testing.B, follower *tail.Tail) {
	follower.Start, follower.Log = func(position.Position) {}, slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = follower.Run(ctx) }()
	b.Cleanup(func() { cancel(); <-done })
	eventually(b, func() bool { return follower.Status().Following && follower.Status().Listening })
}
