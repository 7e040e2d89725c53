package tail_test

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
)

// An event that is erased while the tail is in the middle of a read of many is not delivered as it
// was with a later part: the tail starts again, and goes on.
func TestTail_AnErasureEndsALongRead(t *testing.T) {
	t.Parallel()
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	var (
		mu     sync.Mutex
		starts int
		erased bool
		parts  []tail.Read
	)
	follower := &tail.Tail{
		URL:   url,
		Start: func(position.Position) { mu.Lock(); starts++; mu.Unlock() },
		Deliver: func(r tail.Read) {
			mu.Lock()
			defer mu.Unlock()
			if r.First && !r.Last && !erased {
				erased = true
				if _, err := pool.Exec(context.Background(), `SELECT outcrier.erase(max(id), 'a test') FROM outcrier.event`); err != nil {
					t.Error(err)
				}
			}
			parts = append(parts, r)
		},
	}
	follower.WatchErasuresEvery(time.Nanosecond)
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { _ = follower.Run(ctx) })
	defer group.Wait()
	defer stop()
	eventually(t, func() bool { return follower.Status().Following })
	sqltest.Exec(t, pool, `INSERT INTO outbox (topic, type, payload) SELECT 'a', 't', CASE g WHEN 5000 THEN '"secret"' ELSE '{}' END::json FROM generate_series(1, 5000) AS g`)
	eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return starts == 2 })
	last := sqltest.AddNow(t, pool, "a", 1)
	eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.ContainsFunc(parts, func(r tail.Read) bool { return len(r.Events) > 0 && r.Events[len(r.Events)-1].ID == last[0] })
	})
	mu.Lock()
	defer mu.Unlock()
	for _, part := range parts {
		for _, e := range part.Events {
			if bytes.Contains(e.Payload, []byte("secret")) {
				t.Errorf("event %d is delivered as it was", e.ID)
			}
		}
	}
}

// While events are erased all the time, the tail leaves a read of many to replays at the second
// attempt: it would otherwise begin again for ever, and deliver nothing.
func TestTail_ErasuresWithoutEndDoNotStopIt(t *testing.T) {
	t.Parallel()
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	follower := &tail.Tail{URL: url}
	follower.WatchErasuresEvery(time.Nanosecond)
	c := follow(t, follower)
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	for range 2 {
		group.Go(func() {
			var id int64
			var err error
			for err == nil {
				err = pool.QueryRow(ctx, `INSERT INTO outbox (topic, type) SELECT 'erased', 't' WHERE outcrier.erase($1::bigint, 'a test') >= 0 RETURNING id`, id).Scan(&id)
			}
			if ctx.Err() == nil {
				t.Error(err)
			}
		})
	}
	// On a busy machine there may be a read of many without an erasure.
	for c.started() < 2 {
		sqltest.Exec(t, pool, `INSERT INTO outbox (topic, type) SELECT 'a', 't' FROM generate_series(1, 10000)`)
		last := sqltest.AddNow(t, pool, "a", 1)
		eventually(t, func() bool { return c.started() == 2 || slices.Contains(c.ids(), last[0]) })
	}
	last := sqltest.AddNow(t, pool, "a", 1)
	eventually(t, func() bool { return slices.Contains(c.ids(), last[0]) })
}
