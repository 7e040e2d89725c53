package sse

import (
	"context"
	"time"

	"github.com/outcrier/outcrier/sse/hub"
	"github.com/outcrier/outcrier/sse/wire"
)

// followWindows is follow for a stream with batches: it takes frames from the hub when the
// window is over that began with the first of them. Such a stream is never parked, since it
// waits for its own timer.
func (t *stream) followWindows(ctx context.Context) error {
	window := time.NewTimer(t.request.Batch)
	window.Stop()
	defer window.Stop()
	waiting := false
	for {
		t.clearCalls()
		if err := t.flush(); err != nil {
			return err
		}
		select {
		case <-t.sub.Wake():
			if !waiting {
				waiting = true
				window.Reset(t.request.Batch)
			}
		case <-window.C:
			waiting = false
			if isBehind, err := t.takeWindow(ctx); isBehind || err != nil {
				return err
			}
		case <-t.heartbeat.C:
			t.beat()
		case <-t.draining:
			t.endLater()
		case <-t.end:
			if _, err := t.takeWindow(ctx); err != nil { // the frames so far
				return err
			}
			return t.sendGoodbye(ErrDraining)
		case <-t.over:
			return t.sendGoodbye(*t.why.Load())
		case <-ctx.Done():
			return t.sendGoodbye(context.Cause(ctx))
		}
	}
}

// takeWindow puts all waiting frames into the buffer, and reports whether the stream is
// behind. It is also behind if events were erased since they were taken, which may be long
// before they are written.
func (t *stream) takeWindow(ctx context.Context) (isBehind bool, err error) {
	var frames []*wire.Frame
	for {
		erasures := t.Hub.Erasures()
		taken, state, more := t.sub.Take(frames[:0])
		frames = taken
		for _, f := range frames {
			if err := t.room(ctx, f, f.Event); err != nil {
				return false, err
			}
			if t.Hub.Erasures() != erasures {
				state = hub.Behind
				break
			}
			if t.joined.admit(f) {
				t.put(f)
			}
		}
		clear(frames)
		if more && state != hub.Behind {
			continue
		}
		return state == hub.Behind, t.flush()
	}
}
