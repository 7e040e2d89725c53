package upkeep_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/upkeep"
)

// unlimited are the statements of a pool that may wait for ever, and all of them.
type unlimited struct {
	mu        sync.Mutex
	all, some map[string]bool
}

func (u *unlimited) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all[data.SQL] = true
	if _, limited := ctx.Deadline(); !limited {
		u.some[data.SQL] = true
	}
	return ctx
}

func (u *unlimited) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A connection may be dead without notice. Work that waits for it in silence is noticed
// only by its absence: streams of a node that has long been recorded as lost,
// partitions that were never made.
func TestUpkeep_WaitsForNoStatementForEver(t *testing.T) {
	config, err := outbox.PoolConfig(outboxtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	statements := &unlimited{all: map[string]bool{}, some: map[string]bool{}}
	config.ConnConfig.Tracer = statements
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	ctx, cancel := context.WithCancel(context.Background())
	recorder := &audit.Recorder{Pool: pool, Keys: position.NewKeys(), Node: "node"}
	var running sync.WaitGroup
	running.Go(func() { _ = recorder.Run(ctx) })
	recorder.Opened(audit.Stream{}).Closed("left")
	testkit.Eventually(t, "the record is written", func() bool {
		statements.mu.Lock()
		defer statements.mu.Unlock()
		return len(statements.all) >= 3 // the heartbeat, who is to end, the record
	})
	cancel()
	running.Wait()
	log := slog.New(slog.DiscardHandler)
	for _, turn := range []func(context.Context) error{
		upkeep.Retention{Pool: pool, Keep: time.Hour, Rules: []upkeep.Rule{{Pattern: "a", Keep: time.Hour}}, Log: log}.Turn,
	} {
		if err := turn(context.Background()); err != nil {
			t.Error(err)
		}
	}
	if len(statements.all) < 7 {
		t.Errorf("seen are %d statements", len(statements.all))
	}
	for sql := range statements.some {
		t.Errorf("no limit: %s", sql)
	}
}
