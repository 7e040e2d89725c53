package bench

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/outcrier/outcrier/outbox"
)

// gate is a tail that stops at each part of a read that has events of a topic, until
// it is let through: so a backlog can be there before it goes on.
type gate struct {
	ctx   context.Context //nolint:containedctx // of the tail's goroutine
	stop  context.CancelFunc
	topic string
	// parts are how many events arrive at a time; each waits for an open.
	parts chan int
	open  chan struct{}
	ended chan struct{}
}

// gateLimit is how long a tail may take for anything.
const gateLimit = 5 * time.Minute

// newGate starts a tail, and returns when it follows. The caller must close it.
func (b *bench) newGate(ctx context.Context, topic string) (*gate, error) {
	ctx, stop := context.WithTimeoutCause(ctx, gateLimit, fmt.Errorf("the tail took more than %v", gateLimit))
	g := &gate{ctx: ctx, stop: stop, topic: topic, parts: make(chan int), open: make(chan struct{}), ended: make(chan struct{})}
	started := make(chan struct{})
	start := sync.OnceFunc(func() { close(started) })
	tail := &outbox.Tail{
		URL: b.target.database, Log: slog.New(slog.DiscardHandler),
		Start:   func(outbox.Position) { start() },
		Deliver: g.deliver,
	}
	go func() {
		defer close(g.ended)
		_ = tail.Run(ctx) // the cause of ctx
	}()
	select {
	case <-started:
		return g, nil
	case <-ctx.Done():
		g.close()
		return nil, context.Cause(ctx)
	}
}

// deliver is the tail's.
func (g *gate) deliver(r outbox.Read) {
	n := 0
	for i := range r.Events {
		if r.Events[i].Topic == g.topic {
			n++
		}
	}
	if n == 0 {
		return
	}
	select {
	case g.parts <- n:
	case <-g.ctx.Done():
		return
	}
	select {
	case <-g.open:
	case <-g.ctx.Done():
	}
}

// next waits until the tail stands at the gate again, with n events.
func (g *gate) next() (n int, err error) {
	select {
	case n = <-g.parts:
		return n, nil
	case <-g.ctx.Done():
		return 0, context.Cause(g.ctx)
	}
}

// through lets the tail go on, which stands at the gate.
func (g *gate) through() error {
	select {
	case g.open <- struct{}{}:
		return nil
	case <-g.ctx.Done():
		return context.Cause(g.ctx)
	}
}

// close ends the tail.
func (g *gate) close() {
	g.stop()
	<-g.ended
}
