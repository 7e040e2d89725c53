package sse

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/outcrier/outcrier/outbox"
)

// stream is one stream while it is served.
type stream struct {
	*Streamer
	w       Writer
	request Request
	sub     *Subscription
	// told is the last id that the reader was sent.
	told      outbox.Position
	heartbeat *time.Timer
	// draining is the Streamer's until the stream has noticed; then end is due
	// when it must end.
	draining <-chan struct{}
	end      <-chan time.Time
	// buf is what is to be written next; empty between writes.
	buf []byte
}

// Serve writes a stream until it ends, and returns why: the cause of ctx, a
// failed write, ErrStalled, ErrDraining or ErrFull. The headers were sent
// before.
func (s *Streamer) Serve(ctx context.Context, w Writer, request Request) error {
	refused := s.enter()
	defer s.leave()
	t := &stream{Streamer: s, w: w, request: request, draining: s.draining, heartbeat: time.NewTimer(s.Heartbeat)}
	defer t.heartbeat.Stop()
	err := t.run(ctx, refused)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrStalled
	}
	return err
}

// run is the life of a stream, in its order.
func (t *stream) run(ctx context.Context, refused error) error {
	// Firefox takes a stream for open only when its first byte has come.
	t.buf = append(t.buf, ": outcrier\n"...)
	t.buf = appendRetry(t.buf, t.Retry)
	t.buf = append(t.buf, '\n')
	if err := t.flush(); err != nil {
		return err
	}
	if refused != nil {
		return t.goodbye(refused)
	}

	defer func() {
		if t.sub != nil { // also when the reader left just then
			t.sub.Close()
		}
	}()
	var w outbox.Position
	err := t.persist(ctx, "subscribe", func(ctx context.Context) (err error) {
		t.sub, w, err = t.Hub.Subscribe(ctx, t.request.Filter, t.request.Format)
		return err
	})
	if err != nil {
		return err
	}

	given, err := t.hello(ctx, w)
	if err != nil {
		return err
	}
	for live := false; ; {
		if given, err = t.replay(ctx, given, w); err != nil {
			return err
		}
		joined := join(given, w)
		if !live {
			live = true
			t.request.Filter.Since = time.Time{} // where it started, no more
			t.event("live", joined.at, struct{}{})
		}
		if err := t.follow(ctx, &joined); err != nil {
			return err
		}
		// Behind: what was queued is gone, and is replayed from the table.
		given = joined.at
		var restarted bool
		if w, restarted = t.sub.rejoin(); restarted {
			if given, err = t.rejudge(ctx, given, w); err != nil {
				return err
			}
		}
	}
}

// hello finds where the stream starts and tells the reader.
func (t *stream) hello(ctx context.Context, w outbox.Position) (given outbox.Position, err error) {
	var gap *outbox.Gap
	err = t.persist(ctx, "find the start", func(ctx context.Context) (err error) {
		given, gap, err = t.start(ctx, t.request.From, w)
		return err
	})
	if err != nil {
		return given, err
	}
	t.greet(given, t.request.From.Position != "", gap)
	return given, t.flush()
}

// rejudge asks whether the stream can still go on from given, and tells the
// reader only if it can't.
func (t *stream) rejudge(ctx context.Context, given, w outbox.Position) (outbox.Position, error) {
	var gap *outbox.Gap
	err := t.persist(ctx, "verify a position", func(ctx context.Context) (err error) {
		given, gap, err = t.judge(ctx, given, w)
		return err
	})
	if err == nil && gap != nil {
		t.greet(given, true, gap)
		err = t.flush()
	}
	return given, err
}

// replayPage is how many events a stream asks for at a time.
const replayPage = 500

// replay sends what w holds and the stream was not given, page by page.
func (t *stream) replay(ctx context.Context, given, w outbox.Position) (outbox.Position, error) {
	legs := given.Legs(w)
	for len(legs) > 0 {
		leg := legs[0]
		var page outbox.Page
		var trimmed bool
		err := t.persist(ctx, "replay", func(ctx context.Context) (err error) {
			page, err = t.Past.Replay(ctx, leg, t.request.Filter, replayPage)
			if trimmed = errors.Is(err, outbox.ErrTrimmed); trimmed {
				return nil
			}
			return err
		})
		if err != nil {
			return given, err
		}
		if trimmed {
			if given, err = t.rejudge(ctx, given, w); err != nil {
				return given, err
			}
			legs = given.Legs(w)
			continue
		}
		for i := range page.Events {
			e := &page.Events[i]
			given = leg.At(e.ID)
			if err := t.room(len(e.Payload)); err != nil {
				return given, err
			}
			t.buf = appendID(t.buf, given)
			t.buf = appendBody(t.buf, e, t.request.Format)
		}
		if err := t.flush(); err != nil {
			return given, err
		}
		legs[0].After = page.After
		if page.Done {
			given, legs = leg.To, legs[1:]
		}
		t.told = given
	}
	return given, nil
}

// follow sends what the hub queues until the stream is behind.
func (t *stream) follow(ctx context.Context, joined *handover) error {
	for {
		frames, behind := t.sub.take()
		for _, f := range frames {
			if !joined.admit(f) {
				continue
			}
			body := f.body[t.request.Format]
			if err := t.room(len(body)); err != nil {
				return err
			}
			if joined.ahead {
				t.buf = appendID(t.buf, joined.at)
			} else {
				t.buf = append(t.buf, f.id...)
			}
			t.buf = append(t.buf, body...)
			t.told = joined.at
		}
		if err := t.flush(); err != nil {
			return err
		}
		if behind {
			return nil
		}
		select {
		case <-t.sub.wake:
		case <-t.heartbeat.C:
			if hub, idle := t.sub.idle(); idle {
				joined.idle(hub)
			}
			if err := t.beat(joined.at); err != nil {
				return err
			}
		case <-t.draining:
			t.endLater()
		case <-t.end:
			return t.goodbye(ErrDraining)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// persist calls fn until it succeeds, and keeps the stream alive meanwhile: when
// the database is gone, streams wait for it.
func (t *stream) persist(ctx context.Context, what string, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	var calls sync.WaitGroup
	call := func() { done <- fn(ctx) }
	defer calls.Wait()
	defer cancel()
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = 100*time.Millisecond, 2*time.Second
	var again <-chan time.Time
	calls.Go(call)
	for {
		var err error
		select {
		case err = <-done:
			if err == nil || ctx.Err() != nil {
				return err
			}
			pause := retry.NextBackOff()
			t.Log.WarnContext(ctx, "stream waits for the database", "to", what, "err", err, "retry_in", pause)
			again = time.After(pause)
		case <-again:
			again = nil
			calls.Go(call)
		case <-t.heartbeat.C:
			if err := t.beat(t.told); err != nil {
				return err
			}
		case <-t.draining:
			t.endLater()
		case <-t.end:
			return t.goodbye(ErrDraining)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
