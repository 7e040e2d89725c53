package sse

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
)

// persist calls fn until it succeeds, and keeps the stream alive meanwhile: when
// the database is gone, streams wait for it.
func (t *stream) persist(ctx context.Context, what string, fn func(context.Context) error) error {
	if err := t.flush(); err != nil { // the reader has what there is so far
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	var calls sync.WaitGroup
	call := func() { done <- fn(ctx) }
	defer calls.Wait()
	defer cancel()
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = 100*time.Millisecond, 2*time.Second
	var again <-chan time.Time
	waits := false
	calls.Go(call)
	for {
		var err error
		select {
		case err = <-done:
			switch {
			case err == nil:
				return nil
			case ctx.Err() != nil:
				return t.sendGoodbye(context.Cause(ctx))
			}
			if t.waiters.fails(ctx, t.Log, what, err, !waits); !waits {
				waits = true
				defer t.waiters.ends(ctx, t.Log)
			}
			again = time.After(retry.NextBackOff())
		case <-again:
			again = nil
			calls.Go(call)
		case <-t.heartbeat.C:
			t.putHeartbeat(t.sent)
			if err := t.flush(); err != nil {
				return err
			}
		case <-t.inbox.awake():
			if err := t.flush(); err != nil { // which answers a ping; messages wait
				return err
			}
		case <-t.over:
			return t.sendGoodbye(*t.why.Load())
		case <-t.draining:
			t.endLater()
		case <-t.end:
			return t.sendGoodbye(ErrDraining)
		case <-ctx.Done():
			return t.sendGoodbye(context.Cause(ctx))
		}
	}
}

// persistAt calls fn with the hub's position, w, until it succeeds, and returns the position
// of the last call. If the database is not the one that the hub's tail reads, one of the
// two will soon change.
func (t *stream) persistAt(ctx context.Context, what string, w position.Position, fn func(context.Context, position.Position) error) (position.Position, error) {
	var last error
	err := t.persist(ctx, what, func(ctx context.Context) error {
		if errors.Is(last, replay.ErrApart) {
			w, _ = t.sub.Rejoin()
		}
		last = fn(ctx, w)
		return last
	})
	return w, err
}
