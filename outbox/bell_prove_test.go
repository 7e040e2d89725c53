package outbox_test

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// Where new connections hang, as those to a full pool do, the tail has one that is
// well: nobody waits for the proof of its bell.
func TestBell_ProofThatHangsDelaysNoEvents(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	pool := outboxtest.Pool(t, database)
	through, network := behind(t, database)
	hole, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // and nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hole.Close() })
	c := &collector{}
	tail := &outbox.Tail{
		URL: through + "&connect_timeout=60", Silence: time.Minute, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Start: func(outbox.Position) { network.To(hole.Addr().String()) },
		Deliver: func(r outbox.Read) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.reads = append(c.reads, r)
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait() // nor does the end wait
	defer cancel()
	running.Go(func() { _ = tail.Run(ctx) })
	eventually(t, func() bool { return tail.Status().Following })
	ids := addNow(t, pool, "a", 1)
	eventually(t, func() bool { return slices.Equal(c.ids(), ids) })
	if listen := tail.Status().Listen; listen != outbox.ListenProving {
		t.Errorf("LISTEN is %s", listen)
	}
}
