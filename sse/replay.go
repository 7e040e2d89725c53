package sse

import (
	"context"
	"errors"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/sse/wire"
)

// The first phase: from where the stream starts to the hub.

// hello resolves where the stream starts and sends the hello. It returns the start, and the
// hub's position at that time.
func (t *stream) hello(ctx context.Context, w position.Position) (position.Position, position.Position, error) {
	received, remembered := t.remembered(t.request.From, w)
	var gap *position.Gap
	if !remembered {
		var err error
		w, err = t.persistAt(ctx, "find the start", w, func(ctx context.Context, w position.Position) (err error) {
			received, gap, err = t.resolveStart(ctx, t.request, w)
			return err
		})
		if err != nil {
			return received, w, err
		}
	}
	t.openRecord(received)
	t.putHello(received, t.request.From.Position != "", gap)
	return received, w, nil
}

// putHello puts the hello into the buffer.
func (t *stream) putHello(received position.Position, resumed bool, gap *position.Gap) {
	hello := wire.Hello{Resumed: resumed, Position: t.Hub.Keys.Seal(received), Node: t.Node, Heartbeat: t.Heartbeat.Milliseconds(), Gap: wire.NewGap(gap)}
	if gap != nil {
		hello.Resumed = "gap"
		t.counts.gap(gap.Reason)
	}
	t.putNotice(wire.Notice{Name: "hello", At: received, Data: hello, Retry: &t.Retry})
}

// replay sends the events of w that the stream lacks, page by page, and joins the stream to
// the hub there.
func (t *stream) replay(ctx context.Context, received, w position.Position) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	pages := pages{stream: t}
	defer pages.close()
	defer cancel()
	stretches := t.stretches(received, w)
	if len(stretches) > 0 {
		t.counts.replays.Add(1)
	}
	for len(stretches) > 0 {
		if t.inbox.hasMessages() {
			if received, w, err = t.changeInReplay(ctx, received, w); err != nil {
				return err
			}
			pages.restart()
			stretches = t.stretches(received, w)
			continue
		}
		stretch := stretches[0]
		page, err := pages.next(ctx, stretch)
		if errors.Is(err, replay.ErrTrimmed) {
			if received, w, err = t.revalidate(ctx, received, w); err != nil {
				return err
			}
			stretches = t.stretches(received, w)
			continue
		}
		if err != nil {
			return err
		}
		put, err := t.putPage(ctx, &pages, &page, &stretches[0], &received)
		if err != nil {
			return err
		}
		if !put {
			continue // from its position
		}
		stretches[0].Advance(page.table)
		if stretches[0].After = page.after; page.done {
			// A range that completes a read ends with that read's last event, which its own
			// end does not name.
			last := received.EventID
			received, stretches = stretch.To, stretches[1:]
			received.EventID = max(received.EventID, last)
		}
		if len(stretches) > 0 {
			if err := t.send(ctx); err != nil {
				return err
			}
		}
	}
	t.joined = newJoin(received, w)
	return nil
}

// stretches returns the stretches to replay: none for a stream without topics.
func (t *stream) stretches(received, w position.Position) []replay.Range {
	if len(t.request.Filter.Topics) == 0 {
		return nil
	}
	return replay.Ranges(received, w)
}

// putPage puts the events of a page of stretch into the buffer. It stops, and returns false,
// where they may have been erased since the page was read. received is then, as always, the
// position after the last event that was put, and the stretch goes on after that.
func (t *stream) putPage(ctx context.Context, pages *pages, page *page, stretch *replay.Range, received *position.Position) (whole bool, err error) {
	defer page.table.Free()
	defer clear(page.frames)
	fromMemory := len(page.frames) > 0
	t.borrow()
	for i := range page.len() {
		e := page.event(i)
		var f *wire.Frame
		if fromMemory {
			// The whole page fits into the buffer, so that it can be released before the write.
			f = page.frames[i]
			t.buf, _ = t.encoder.Room(t.buf, f, e)
		} else if err := t.room(ctx, nil, e); err != nil {
			return false, err
		}
		// Those of one id are put together: a stretch does not go on between them.
		if !page.tied(i-1) && pages.stale(page) {
			return false, nil
		}
		*received = stretch.At(wire.ResumeID(e.ID, page.tied(i)))
		stretch.After = e.ID
		if fromMemory {
			t.buf = t.encoder.FrameAt(t.buf, f, *received)
		} else {
			t.buf = t.encoder.Event(t.buf, e, *received)
		}
		t.sent = *received
		t.count(e)
	}
	return true, nil
}

// revalidate validates the stream's position again, and sends another hello only if there is a
// gap. It returns where to go on, and the hub's position at that time.
func (t *stream) revalidate(ctx context.Context, received, w position.Position) (position.Position, position.Position, error) {
	var gap *position.Gap
	var validated position.Position
	w, err := t.persistAt(ctx, "validate a position", w, func(ctx context.Context, w position.Position) (err error) {
		validated, gap, err = t.validate(ctx, received, t.request.Filter, w)
		return err
	})
	received = validated
	if err == nil && gap != nil {
		if gap.Reason != position.Trimmed { // validate has skipped what lies between
			if t.unrecorded > 0 {
				t.noteProgress(time.Since(t.pool.began)) // persist has written them
			}
			t.record.Jumped(received)
		}
		t.putHello(received, true, gap)
	}
	return received, w, err
}

// room sends the buffer if the encoder has no room for another event.
func (t *stream) room(ctx context.Context, f *wire.Frame, e *outbox.Event) error {
	var full bool
	if t.buf, full = t.encoder.Room(t.buf, f, e); !full {
		return nil
	}
	err := t.send(ctx)
	t.borrow()
	return err
}

// send is flush for a stream that has more to write: as that may take hours, a stream that
// has to end does so here.
func (t *stream) send(ctx context.Context) error {
	if err := t.flush(); err != nil {
		return err
	}
	select {
	case <-t.draining:
		t.endLater()
		return nil
	case <-t.end:
		return t.sendGoodbye(ErrDraining)
	case <-t.over:
		return t.sendGoodbye(*t.why.Load())
	case <-ctx.Done():
		return t.sendGoodbye(context.Cause(ctx))
	default:
		return nil
	}
}
