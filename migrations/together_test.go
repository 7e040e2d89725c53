package migrations_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// The nodes that a schema admits run while it comes: what follows the table, and what
// moves scheduled events, go on under writers through the migrations since theirs, with
// nothing lost and nothing twice.
func TestUp_OlderNodesGoOn(t *testing.T) {
	_, conn := migrated(t)
	nodesFrom := ask[int64](t, conn, `SELECT nodes_from FROM outbox_schema()`)
	for from := nodesFrom; from < migrations.Newest(); from++ {
		nodeGoesOn(t, from)
	}
}

func migrated(t *testing.T) (address string, conn *pgx.Conn) {
	t.Helper()
	address = outboxtest.URL(t)
	return address, connect(t, address)
}

// nodeGoesOn migrates up from a version beside a node's parts and three writers.
func nodeGoesOn(t *testing.T, from int64) {
	t.Helper()
	address, conn := empty(t)
	upTo(t, address, from)
	ctx, cancel := context.WithCancelCause(context.Background())
	over := errors.New("over")
	var mu sync.Mutex
	var given []int64
	starts, ready := 0, make(chan struct{})
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	tail := &outbox.Tail{
		URL: address, Log: log,
		Start: func(outbox.Position) {
			if starts++; starts == 1 {
				close(ready)
			}
		},
		Deliver: func(r outbox.Read) {
			mu.Lock()
			defer mu.Unlock()
			for i := range r.Events {
				given = append(given, r.Events[i].ID)
			}
		},
	}
	var node, writers sync.WaitGroup
	for _, part := range []func(context.Context) error{tail.Run, outbox.Schedule{Pool: outboxtest.Pool(t, address), Log: log}.Run} {
		node.Go(func() {
			if err := part(ctx); !errors.Is(err, over) {
				t.Errorf("from version %d: a part of the node ended by %v", from, err)
			}
		})
	}
	<-ready
	writing, stop := context.WithCancel(context.Background())
	defer stop()
	for _, appends := range []string{
		`INSERT INTO outbox (topic, type) VALUES ('a', 't')`,
		`SELECT outbox_append('a', 't')`,
		`SELECT outbox_append('a', 't', deliver_at => clock_timestamp() + interval '5 milliseconds')`,
	} {
		writer := connect(t, address)
		writers.Go(func() {
			for writing.Err() == nil {
				if _, err := writer.Exec(context.Background(), appends); err != nil {
					t.Errorf("from version %d: %s: %v", from, appends, err)
					return
				}
				time.Sleep(2 * time.Millisecond) // who never rests would have the machine to itself
			}
		})
	}
	behind := func(n int) func() bool { return func() bool { mu.Lock(); defer mu.Unlock(); return len(given) >= n } }
	eventually(t, behind(50))
	up(t, migrations.Migrations{URL: address})
	mu.Lock()
	then := len(given)
	mu.Unlock()
	eventually(t, behind(then+50))
	stop()
	writers.Wait()
	eventually(t, func() bool { return ask[int](t, conn, `SELECT count(*) FROM outbox_scheduled`) == 0 })
	stored := ask[[]int64](t, conn, `SELECT array_agg(id ORDER BY id) FROM outbox`)
	eventually(t, behind(len(stored)))
	cancel(over)
	node.Wait()
	if starts != 1 {
		t.Errorf("from version %d: the tail started %d times", from, starts)
	}
	seen := map[int64]int{}
	for _, id := range given {
		seen[id]++
	}
	want := map[int64]int{}
	for _, id := range stored {
		want[id] = 1
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("from version %d: how often each event was given (-want +got):\n%s", from, diff)
	}
	t.Logf("from version %d: %d events, %d of them before the migrations ended", from, len(stored), then)
}

func eventually(t *testing.T, what func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !what(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never comes to be so")
		}
	}
}
