package tail_test

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/badnet"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
)

// behind is the URL of a database, reached through a network.
func behind(t *testing.T, database string) (string, *badnet.Proxy) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	network, err := badnet.Listen(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(network.Close)
	u.Host = network.Address()
	return u.String(), network
}

// A firewall forgets the tail's connection, whatever the tail is about to do on
// it: read, request a wake-up, answer.
func TestTail_GivesUpAConnectionThatIsDeadWithoutAWord(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	pool := outboxtest.Pool(t, database)
	through, network := behind(t, database)
	c := &collector{}
	follower := &tail.Tail{
		URL: through, Silence: 200 * time.Millisecond, IdleTurn: 50 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Start:   func(p position.Position) { c.mu.Lock(); c.starts = append(c.starts, p); c.mu.Unlock() },
		Deliver: c.take,
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- follower.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	eventually(t, func() bool { return follower.Status().Following })

	appended := 0
	insert := func() {
		if _, err := pool.Exec(t.Context(), `INSERT INTO outbox (topic, type) VALUES ('a', 'b')`); err != nil {
			t.Fatal(err)
		}
		appended++
	}
	for forgotten := range 12 {
		for range forgotten {
			insert()
		}
		network.Forget()
		insert()
		for end := time.Now().Add(testkit.Deadline); len(c.ids()) < appended; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("connection %d: %d of %d events; the tail says %+v", forgotten, len(c.ids()), appended, follower.Status())
			}
		}
	}
	if got := len(c.ids()); got != appended || c.started() != 1 {
		t.Errorf("%d events in %d starts, want %d in one", got, c.started(), appended)
	}
}

// A connection may end after any byte of what a tail asks first.
func TestTail_BeginsAgainWhereverItsConnectionIsCut(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	pool := outboxtest.Pool(t, database)
	through, network := behind(t, database)
	c := &collector{}
	connected := 0
	run := func() (follower *tail.Tail, stop func()) {
		follower = &tail.Tail{
			URL: through, Log: slog.New(slog.DiscardHandler), Connected: func() { connected++ }, Start: func(position.Position) {},
			Deliver: c.take,
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- follower.Run(ctx) }()
		return follower, func() {
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	}
	bytes := 0
	for whole := false; !whole; bytes += 40 {
		network.Truncate(badnet.Down, bytes)
		follower, stop := run()
		eventually(t, func() bool { return follower.Status().Err != nil || follower.Status().Following })
		whole = follower.Status().Following && bytes > 2000
		stop()
	}
	if connected < 10 { // many are cut before
		t.Errorf("of %d connections %d were told of", bytes/40, connected)
	}
	network.Heal()
	follower, stop := run()
	defer stop()
	eventually(t, func() bool { return follower.Status().Following })
	ids := sqltest.AddNow(t, pool, "a", 1)
	eventually(t, func() bool { return slices.Equal(c.ids(), ids) })
}
