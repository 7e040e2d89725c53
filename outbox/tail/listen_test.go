package tail_test

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
)

// When new connections hang, as those to a full pool do, the tail has one that works:
// nothing waits for the test of its LISTEN.
func TestListen_TestThatHangsDelaysNoEvents(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	pool := outboxtest.Pool(t, database)
	through, network := behind(t, database)
	hole, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // and never accepts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hole.Close() })
	c := &collector{}
	follower := &tail.Tail{
		URL: through + "&connect_timeout=60", Silence: time.Minute, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Start:   func(position.Position) { network.To(hole.Addr().String()) },
		Deliver: c.take,
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait() // nor does the end wait
	defer cancel()
	running.Go(func() { _ = follower.Run(ctx) })
	eventually(t, func() bool { return follower.Status().Following })
	ids := sqltest.AddNow(t, pool, "a", 1)
	eventually(t, func() bool { return slices.Equal(c.ids(), ids) })
	if listen := follower.Status().Listen; listen != tail.ListenTesting {
		t.Errorf("LISTEN is %s", listen)
	}
}

// Through a transaction pooler a notification may come with an answer, by chance: that
// does not prove that one comes while the tail sleeps.
func TestListen_IsTestedByWhatComesWhileItWaits(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	conn, err := pgx.Connect(t.Context(), pool.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	l, err := tail.ListenOn(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	l.Expect("test x")
	sqltest.Exec(t, pool, `SELECT pg_notify($1, 'test x')`, l.Channel())
	if _, err := conn.Exec(t.Context(), `SELECT`); err != nil {
		t.Fatal(err)
	}
	if heard := l.Take(t.Context()); !heard || l.Works() {
		t.Errorf("heard with an answer: %v, works: %v", heard, l.Works())
	}
	l.Expect("test y")
	sqltest.Exec(t, pool, `SELECT pg_notify($1, 'test y')`, l.Channel())
	if woken, err := l.Wait(t.Context(), 20*time.Second); err != nil || !woken || !l.Works() {
		t.Errorf("heard while it waits: %v, works: %v; %v", woken, l.Works(), err)
	}
}
