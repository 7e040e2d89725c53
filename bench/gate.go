package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
)

// gate is a tail that stops at each part of a read that has events of a topic, until
// it is let through: so a backlog can be there before it goes on.
type gate struct {
	topic string
	// parts are how many events arrive at a time; each waits for an open.
	parts chan int
	open  chan struct{}
	// ended is closed when the tail has ended.
	ended chan struct{}
}

// newGate starts a tail that ends with ctx, and returns when it follows.
func (b *bench) newGate(ctx context.Context, topic string) (*gate, error) {
	g := &gate{topic: topic, parts: make(chan int), open: make(chan struct{}), ended: make(chan struct{})}
	started := make(chan struct{})
	start := sync.OnceFunc(func() { close(started) })
	follower := &tail.Tail{
		URL: b.target.database, Log: slog.New(slog.DiscardHandler),
		Start:   func(position.Position) { start() },
		Deliver: func(r tail.Read) { g.deliver(ctx, r) },
	}
	go func() {
		defer close(g.ended)
		_ = follower.Run(ctx) // the cause of ctx
	}()
	select {
	case <-started:
		return g, nil
	case <-ctx.Done():
		<-g.ended
		return nil, context.Cause(ctx)
	}
}

// deliver is the tail's.
func (g *gate) deliver(ctx context.Context, r tail.Read) {
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
	case <-ctx.Done():
		return
	}
	select {
	case <-g.open:
	case <-ctx.Done():
	}
}

// next waits until the tail stands at the gate again, with n events.
func (g *gate) next(ctx context.Context) (n int, err error) {
	select {
	case n = <-g.parts:
		return n, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// through lets the tail go on, which stands at the gate.
func (g *gate) through(ctx context.Context) error {
	select {
	case g.open <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
