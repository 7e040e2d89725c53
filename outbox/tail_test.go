package outbox_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// collector is what a tail delivered.
type collector struct {
	mu     sync.Mutex
	starts []outbox.Position
	reads  []outbox.Read
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

// follow runs a tail until the test ends.
func follow(t *testing.T, tail *outbox.Tail) *collector {
	t.Helper()
	c := &collector{}
	tail.Start = func(p outbox.Position) { c.mu.Lock(); defer c.mu.Unlock(); c.starts = append(c.starts, p) }
	tail.Deliver = func(r outbox.Read) { c.mu.Lock(); defer c.mu.Unlock(); c.reads = append(c.reads, r) }
	if tail.Log == nil {
		tail.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = tail.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	eventually(t, func() bool { return tail.Status().Following && tail.Status().Listening })
	return c
}

func eventually(t *testing.T, what func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !what(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen within 20 s")
		}
	}
}

func TestTail_DeliversEachEventOnceWhateverTheCommitOrder(t *testing.T) {
	ctx := t.Context()
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	c := follow(t, &outbox.Tail{URL: url})

	late, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	first, err := outbox.Append(ctx, late, outbox.Draft{Topic: "a", Type: "late"})
	if err != nil {
		t.Fatal(err)
	}
	var second []int64
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) (err error) {
		second, err = outbox.Append(ctx, tx, outbox.Draft{Topic: "a", Type: "early"}, outbox.Draft{Topic: "a", Type: "early"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return slices.Equal(c.ids(), second) })
	if err := late.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return slices.Equal(c.ids(), append(second, first...)) })
	if caught := 0; caught != 0 {
		t.Errorf("%d events were found by the idle turn alone", caught)
	}
}
