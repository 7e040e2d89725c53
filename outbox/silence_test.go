package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/outcrier/outcrier/internal/badnet"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
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
	tail := &outbox.Tail{
		URL: through, Silence: 200 * time.Millisecond, IdleTurn: 50 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Start:   func(p position.Position) { c.mu.Lock(); c.starts = append(c.starts, p); c.mu.Unlock() },
		Deliver: c.take,
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tail.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	eventually(t, func() bool { return tail.Status().Following })

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
				t.Fatalf("connection %d: %d of %d events; the tail says %+v", forgotten, len(c.ids()), appended, tail.Status())
			}
		}
	}
	if got := len(c.ids()); got != appended || c.started() != 1 {
		t.Errorf("%d events in %d starts, want %d in one", got, c.started(), appended)
	}
}

func TestReader_GivesUpAConnectionThatIsDeadWithoutAWord(t *testing.T) {
	t.Parallel()
	through, network := behind(t, outboxtest.URL(t))
	config, err := outbox.PoolConfig(through)
	if err != nil {
		t.Fatal(err)
	}
	r := outbox.Reader{Pool: outboxtest.Pool(t, through), Patience: 2 * time.Second} // a busy machine takes its time to connect
	if config.PingTimeout == 0 {
		t.Error("a pool waits for ever for a connection that was idle")
	}
	if _, err := r.Earliest(t.Context(), position.Position{}); err != nil {
		t.Fatal(err)
	}
	network.Forget()
	began := time.Now()
	for tries := 1; ; tries++ {
		_, err := r.Earliest(t.Context(), position.Position{})
		if err == nil {
			break
		}
		if tries == 5 {
			t.Fatalf("the %d. call after %v: %v", tries, time.Since(began), err)
		}
	}
}

// The history that a replay is of is gone: to try again would not bring it back.
func TestReplay_OfAHistoryThatIsGoneSaysSo(t *testing.T) {
	t.Parallel()
	pool := outboxtest.New(t)
	r := outbox.Reader{Pool: pool}
	var positions []position.Position
	for range 2 {
		if _, err := pool.Exec(t.Context(), `INSERT INTO outbox (topic, type) VALUES ('a', 'b')`); err != nil {
			t.Fatal(err)
		}
		positions = append(positions, sqltest.Here(t, pool))
	}
	legs := outbox.Ranges(positions[0], positions[1])
	if page, err := r.Replay(t.Context(), legs[0], outbox.Filter{Topics: []outbox.Pattern{"**"}}, 10, 0); err != nil || len(page.Events) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	if _, err := pool.Exec(t.Context(), `TRUNCATE outcrier.event`); err != nil {
		t.Fatal(err)
	}
	_, err := r.Replay(t.Context(), legs[0], outbox.Filter{Topics: []outbox.Pattern{"**"}}, 10, 0)
	if got, want := fmt.Sprint(err), "replay: "+outbox.ErrTrimmed.Error()+": other_history"; got != want {
		t.Errorf("%q, want %q", got, want)
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
	run := func() (tail *outbox.Tail, stop func()) {
		tail = &outbox.Tail{
			URL: through, Log: slog.New(slog.DiscardHandler), Connected: func() { connected++ }, Start: func(position.Position) {},
			Deliver: c.take,
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- tail.Run(ctx) }()
		return tail, func() {
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	}
	bytes := 0
	for whole := false; !whole; bytes += 40 {
		network.Truncate(badnet.Down, bytes)
		tail, stop := run()
		eventually(t, func() bool { return tail.Status().Err != nil || tail.Status().Following })
		whole = tail.Status().Following && bytes > 2000
		stop()
	}
	if connected < 10 { // many are cut before
		t.Errorf("of %d connections %d were told of", bytes/40, connected)
	}
	network.Heal()
	tail, stop := run()
	defer stop()
	eventually(t, func() bool { return tail.Status().Following })
	ids := sqltest.AddNow(t, pool, "a", 1)
	eventually(t, func() bool { return slices.Equal(c.ids(), ids) })
}
