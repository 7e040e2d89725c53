package migrations_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/outbox/upkeep"
)

// Nodes and writers go on while Up restores missing objects and roles are granted:
// nothing is lost, nothing comes twice, and no tail starts again.
func TestUp_NodesAndWritersGoOn(t *testing.T) {
	t.Parallel()
	address, conn := migrated(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	over := errors.New("over")
	var mu sync.Mutex
	var given []int64
	starts, ready := 0, make(chan struct{})
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	follower := &tail.Tail{
		URL: address, Log: log,
		Start: func(position.Position) {
			if starts++; starts == 1 {
				close(ready)
			}
		},
		Deliver: func(r tail.Read) {
			mu.Lock()
			defer mu.Unlock()
			for i := range r.Events {
				given = append(given, r.Events[i].ID)
			}
		},
	}
	var node, writers sync.WaitGroup
	for _, part := range []func(context.Context) error{follower.Run, upkeep.Schedule{Pool: outboxtest.Pool(t, address), Log: log}.Run} {
		node.Go(func() {
			if err := part(ctx); !errors.Is(err, over) {
				t.Errorf("a part of the node ended by %v", err)
			}
		})
	}
	<-ready
	writing, stop := context.WithCancel(context.Background())
	defer stop()
	for _, appends := range []string{
		`INSERT INTO outbox (topic, type) VALUES ('a', 't')`,
		`SELECT outcrier.append('a', 't')`,
		`SELECT outcrier.append('a', 't', deliver_at => clock_timestamp() + interval '5 milliseconds')`,
	} {
		writer := connect(t, with(t, address, "lock_timeout", "5s"))
		writers.Go(func() {
			for writing.Err() == nil {
				if _, err := writer.Exec(context.Background(), appends); err != nil {
					t.Errorf("%s: %v", appends, err)
					return
				}
				time.Sleep(2 * time.Millisecond) // one that never rests would have the machine to itself
			}
		})
	}
	received := func(n int) func() bool {
		return func() bool { mu.Lock(); defer mu.Unlock(); return len(given) >= n }
	}
	m := migrations.Migrations{URL: address}
	for range 3 {
		mu.Lock()
		then := len(given)
		mu.Unlock()
		exec(t, conn, `TRUNCATE outcrier.schema_migration, outcrier.event_type, outcrier.maintenance; GRANT EXECUTE ON FUNCTION outcrier.revoke_rights TO PUBLIC`)
		up(t, m)
		if err := m.Roles(t.Context()); err != nil {
			t.Error(err)
		}
		testkit.Eventually(t, "events go on", received(then+50))
	}
	stop()
	writers.Wait()
	testkit.Eventually(t, "what is scheduled is delivered", func() bool { return ask[int](t, conn, `SELECT count(*) FROM outcrier.scheduled`) == 0 })
	stored := ask[[]int64](t, conn, `SELECT array_agg(id ORDER BY id) FROM outcrier.history`)
	testkit.Eventually(t, "all are received", received(len(stored)))
	cancel(over)
	node.Wait()
	if starts != 1 {
		t.Errorf("the tail started %d times", starts)
	}
	seen, want := map[int64]int{}, map[int64]int{}
	for _, id := range given {
		seen[id]++
	}
	for _, id := range stored {
		want[id] = 1
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("how often each event was given (-want +got):\n%s", diff)
	}
}
