package outcrier

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/outcrier/outcrier/outbox/upkeep"
)

// errStopped ends the workers of a node whose streams have ended.
var errStopped = errors.New("stopped")

// drainGrace is how long Run waits for streams beyond DrainTime.
const drainGrace = time.Second

// Run works until ctx ends, drains unless Drain did, and returns when every goroutine of
// the node has ended: nil, or why one of them failed. It is called once. Shut the server
// down after Run or Drain has returned, so that it answers until the drain is over.
func (n *Node) Run(ctx context.Context) error {
	if !n.started.CompareAndSwap(false, true) {
		return errors.New("run the node: it runs or has run already")
	}
	defer close(n.ended)
	if n.config.Pool == nil {
		defer n.pool.Close()
	}
	// The workers that serve streams go on until all streams have ended.
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	group, work := errgroup.WithContext(work)
	for _, run := range n.workers() {
		group.Go(func() error { return run(work) })
	}
	group.Go(func() error {
		select {
		case <-ctx.Done():
		case <-work.Done():
			return context.Cause(work)
		}
		n.beginDrain(ctx)
		draining, cancel := context.WithDeadline(work, n.drainBegan.Add(n.config.DrainDelay+n.config.DrainTime+drainGrace))
		defer cancel()
		if err := n.Drain(draining); err != nil && work.Err() == nil {
			n.logger().WarnContext(ctx, "streams are cut off", "streams", n.streamer.Open())
		}
		stop(errStopped)
		return nil
	})
	if err := group.Wait(); !errors.Is(err, errStopped) {
		return err
	}
	return nil
}

// workers returns the node's background tasks.
func (n *Node) workers() []func(context.Context) error {
	c := n.config
	workers := []func(context.Context) error{n.tail.Run, n.streamer.Run}
	if !c.Open { // where all is granted to everybody, no token is revoked
		workers = append(workers, n.revoked.Run)
	}
	if !c.FollowOnly {
		workers = append(workers,
			upkeep.Schedule{Pool: n.pool, Schema: c.Schema, Activity: n.tail.Activity, Log: c.Logger}.Run,
			upkeep.Retention{Pool: n.pool, Schema: c.Schema, Keep: c.Retention, Rules: c.TopicRetention, AuditKeep: c.AuditRetention, Log: c.Logger}.Run)
	}
	if n.sampler != nil {
		workers = append(workers, n.sampler.Run)
	}
	if n.audit != nil {
		workers = append(workers, n.audit.Run)
	}
	if c.Tokens != nil {
		workers = append(workers, c.Tokens.Run)
	}
	return workers
}

// Drain ends all streams in order and returns when none is open: GET /readyz fails at once,
// after DrainDelay every stream gets a goodbye, spread over DrainTime, and a new stream
// gets one that sends it to another node. It returns the cause of ctx if that ends first.
// The node works on until the context of Run ends.
func (n *Node) Drain(ctx context.Context) error {
	n.beginDrain(ctx)
	delay := time.NewTimer(time.Until(n.drainBegan.Add(n.config.DrainDelay)))
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-n.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	n.streamer.Drain()
	select {
	case <-n.streamer.Drained():
		return nil
	case <-n.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// beginDrain starts the drain at the first call: from then on GET /readyz fails.
func (n *Node) beginDrain(ctx context.Context) {
	n.drain.Do(func() {
		n.drainBegan = time.Now()
		n.draining.Store(true)
		level, streams := slog.LevelDebug, n.streamer.Open()
		if streams > 0 || n.config.DrainDelay > 0 {
			level = slog.LevelInfo
		}
		n.logger().Log(ctx, level, "drain", "streams", streams, "delay", n.config.DrainDelay)
	})
}
