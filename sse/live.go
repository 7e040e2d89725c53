package sse

import (
	"context"

	"github.com/outcrier/outcrier/sse/hub"
	"github.com/outcrier/outcrier/sse/wire"
)

// The second phase: the frames that the hub queues.

// live follows the hub, and replays when the stream is behind.
func (t *stream) live(ctx context.Context) error {
	for {
		follow := t.follow
		if t.request.Batch > 0 {
			follow = t.followWindows
		}
		if err := follow(ctx); err != nil {
			return err
		}
		// The stream is behind: its queue is gone, and the events are replayed from the
		// table.
		received := t.joined.at
		w, restarted := t.sub.Rejoin()
		if restarted {
			var err error
			if received, w, err = t.revalidate(ctx, received, w); err != nil {
				return err
			}
		}
		if err := t.replay(ctx, received, w); err != nil {
			return err
		}
	}
}

// always is a channel from which there is always something to receive.
var always = func() <-chan struct{} { c := make(chan struct{}); close(c); return c }()

// follow sends the frames that the hub queues until the stream is behind or parked.
func (t *stream) follow(ctx context.Context) error {
	var frames []*wire.Frame
	for {
		t.clearCalls()
		taken, state, more := t.sub.Take(frames[:0])
		frames = taken
		if len(frames) > 0 {
			t.borrow()
		}
		t.putAll(frames)
		clear(frames)
		if state != hub.Behind && t.inbox.hasMessages() {
			isBehind, err := t.changeLive(ctx)
			if err != nil {
				return err
			}
			if isBehind {
				state = hub.Behind
			}
		}
		if err := t.flush(); err != nil {
			return err
		}
		wake := t.sub.Wake()
		switch {
		case state == hub.Behind:
			return nil
		case more:
			wake = always
		case t.park():
			return errParked
		}
		select {
		case <-wake:
		case <-t.inbox.awake():
		case <-t.heartbeat.C:
			t.beat()
		case <-t.draining:
			t.endLater()
		case <-t.end:
			return t.sendGoodbye(ErrDraining)
		case <-t.over:
			return t.sendGoodbye(*t.why.Load())
		case <-ctx.Done():
			return t.sendGoodbye(context.Cause(ctx))
		}
	}
}

// putAll appends the frames that are new to the stream to its buffer.
func (t *stream) putAll(frames []*wire.Frame) {
	for _, f := range frames {
		if !t.joined.admit(f) {
			continue
		}
		if t.put(f); t.deliveredAt == 0 {
			t.deliveredAt = f.Read.At.Sub(t.pool.began)
		}
	}
}

// put appends a frame that was admitted.
func (t *stream) put(f *wire.Frame) {
	if t.joined.ahead {
		t.buf = t.encoder.FrameAt(t.buf, f, t.joined.at)
	} else {
		t.buf = t.encoder.Frame(t.buf, f)
	}
	t.sent = t.joined.at
	t.count(f.Event)
}

// beat keeps the stream alive, and the reader's position up to date: a quiet
// stream must not be resumed from where it began.
func (t *stream) beat() {
	if w, idle := t.sub.Idle(); idle {
		t.joined.idle(w)
	}
	t.putHeartbeat(t.joined.at)
}
