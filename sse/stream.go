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

// stream is one stream while it is served. One goroutine at a time has it: its
// own, or a hand of the crew; see park.
type stream struct {
	*Streamer
	w       Writer
	request Request
	sub     *Subscription
	// batch, when not nil, has events written in batches.
	batch *batch
	gzip  compressed
	// chunked has each write framed as a chunk, complete the last one followed by the
	// last chunk.
	chunked, complete bool
	// joined is where the stream stands in the hub's frames, once it is live.
	joined handover
	// told is the last id that the reader was sent.
	told outbox.Position
	recorded
	heartbeat *time.Timer
	// draining is the Streamer's until the stream has noticed; then end is due
	// when it must end.
	draining <-chan struct{}
	end      <-chan time.Time
	// buf is what is to be written next, behind room for a chunk's header; empty
	// between writes. text is the way to append to it.
	buf   []byte
	ended func(error)
	parked
}

// Serve writes a stream until it ends, and then calls ended, once, with the
// reason: the cause of ctx, a failed write, ErrStalled, ErrDraining, ErrLeft or
// ErrFull. A cause that is a Goodbye is told to the reader. When w is a Socket,
// Serve returns as soon as the stream is live, and ended is called by another
// goroutine. The headers were sent before, or are what the Socket begins with.
func (s *Streamer) Serve(ctx context.Context, w Writer, request Request, ended func(error)) {
	refused := s.enter()
	gzip := compressed{on: request.Format&Gzip != 0}
	batch := newBatch(&request)
	t := &stream{Streamer: s, w: w, request: request, batch: batch, gzip: gzip, draining: s.draining, heartbeat: time.NewTimer(s.Heartbeat), ended: ended}
	t.number.Store(request.Number)
	if conn, ok := w.(connection); ok {
		t.conn, t.chunked, t.over = conn, conn.chunks(), make(chan struct{})
		if ctx.Done() != nil {
			t.uncancel = context.AfterFunc(ctx, func() { t.endNow(context.Cause(ctx)) })
		}
		if err := s.crew.enter(t); err != nil {
			t.finish(ctx, err)
			return
		}
	}
	t.goOn(ctx, t.run(ctx, refused))
}

// goOn ends the stream, or leaves it to the crew.
func (t *stream) goOn(ctx context.Context, err error) {
	if !errors.Is(err, errParked) {
		t.finish(ctx, err)
	}
}

// finish is the end of the stream.
func (t *stream) finish(ctx context.Context, err error) {
	if t.heartbeat != nil {
		t.heartbeat.Stop()
	}
	if t.sub != nil { // nil when the reader left before
		t.sub.Close()
	}
	if t.conn != nil {
		if socket, ok := t.conn.(*Socket); ok && errors.Is(err, os.ErrDeadlineExceeded) {
			socket.abort()
		}
		if t.uncancel != nil {
			t.uncancel()
		}
		t.crew.leave(t)
	}
	t.leave()
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		if err = ErrStalled; t.why.Load() != nil {
			err = *t.why.Load() // which has shortened the time
		}
	}
	t.closeRecord(err)
	t.counts.ended(reason(err, t.torn))
	if t.conn == nil {
		t.ended(err)
		return
	}
	// Not by a hand of the crew: ended may wait, for a log that nobody reads.
	go t.ended(err)
}

// run is the life of a stream, in its order.
func (t *stream) run(ctx context.Context, refused error) error {
	t.open()
	t.buf = append(t.text(), firstLine...)
	if refused != nil {
		return t.goodbye(refused)
	}
	// The headers leave on their own, with the first byte, by which Firefox takes a
	// stream for open: some proxies hold what comes with the headers until more comes.
	if err := t.flush(); err != nil {
		return err
	}

	w, err := t.subscribe(ctx)
	if err != nil {
		return err
	}
	given, w, err := t.hello(ctx, w)
	if err != nil {
		return err
	}
	if err := t.replay(ctx, given, w); err != nil {
		return err
	}
	if !t.request.Filter.Since.IsZero() {
		t.record.Live(t.joined.at)
	}
	t.request.From, t.request.Filter.Since = From{}, time.Time{} // where it started, no more
	t.event("live", t.joined.at, struct{}{})
	return t.live(ctx)
}

// subscribe takes a place at the hub.
func (t *stream) subscribe(ctx context.Context) (w outbox.Position, err error) {
	subscribe := func(ctx context.Context) (err error) {
		t.sub, w, err = t.Hub.subscribe(ctx, &Subscription{stream: t, filter: t.request.Filter, format: t.request.Format})
		return err
	}
	if t.Hub.Started() {
		return w, subscribe(ctx)
	}
	return w, t.persist(ctx, "subscribe", subscribe)
}

// live follows the hub, and replays when it is behind.
func (t *stream) live(ctx context.Context) error {
	for {
		follow := t.follow
		if t.batch != nil {
			follow = t.followBatches
		}
		if err := follow(ctx); err != nil {
			return err
		}
		// Behind: what was queued is gone, and is replayed from the table.
		given := t.joined.at
		w, restarted := t.sub.rejoin()
		if restarted {
			var err error
			if given, w, err = t.rejudge(ctx, given, w); err != nil {
				return err
			}
		}
		if err := t.replay(ctx, given, w); err != nil {
			return err
		}
	}
}

// beside calls fn with the hub's position, w, until it succeeds, and returns the one
// that it succeeded with. Where the database is not the one that the hub's tail reads,
// one of them will soon be another.
func (t *stream) beside(ctx context.Context, what string, w outbox.Position, fn func(context.Context, outbox.Position) error) (outbox.Position, error) {
	var last error
	err := t.persist(ctx, what, func(ctx context.Context) error {
		if errors.Is(last, outbox.ErrApart) {
			w, _ = t.sub.rejoin()
		}
		last = fn(ctx, w)
		return last
	})
	return w, err
}

// hello finds where the stream starts and tells the reader. It returns that, and the
// hub's position beside it.
func (t *stream) hello(ctx context.Context, w outbox.Position) (outbox.Position, outbox.Position, error) {
	given, remembered := t.remembered(t.request.From, w)
	var gap *outbox.Gap
	if !remembered {
		var err error
		w, err = t.beside(ctx, "find the start", w, func(ctx context.Context, w outbox.Position) (err error) {
			given, gap, err = t.start(ctx, t.request, w)
			return err
		})
		if err != nil {
			return given, w, err
		}
	}
	if t.request.Record != nil {
		t.record, t.request.Record = t.request.Record(given), nil
		t.number.Store(t.record.Number())
	}
	t.greet(given, t.request.From.Position != "", gap)
	return given, w, nil
}

// rejudge asks whether the stream can still go on from given, and tells the
// reader only if it can't. It returns from where, and the hub's position beside it.
func (t *stream) rejudge(ctx context.Context, given, w outbox.Position) (outbox.Position, outbox.Position, error) {
	var gap *outbox.Gap
	var judged outbox.Position
	w, err := t.beside(ctx, "verify a position", w, func(ctx context.Context, w outbox.Position) (err error) {
		judged, gap, err = t.judge(ctx, given, t.request.Filter, w)
		return err
	})
	given = judged
	if err == nil && gap != nil {
		if gap.Reason != outbox.Trimmed { // judge has skipped what lies between
			if t.events > 0 {
				t.note(time.Since(t.crew.began)) // persist has written them
			}
			t.record.Jumped(given)
		}
		t.greet(given, true, gap)
	}
	return given, w, err
}

// replay sends what w holds and the stream was not given, page by page, and joins
// the stream to the hub there.
func (t *stream) replay(ctx context.Context, given, w outbox.Position) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pages := pages{stream: t}
	defer pages.close()
	legs := given.Legs(w)
	if len(legs) > 0 {
		t.counts.replays.Add(1)
	}
	for len(legs) > 0 {
		leg := legs[0]
		page, err := pages.next(ctx, leg)
		if errors.Is(err, outbox.ErrTrimmed) {
			if given, w, err = t.rejudge(ctx, given, w); err != nil {
				return err
			}
			legs = given.Legs(w)
			continue
		}
		if err != nil {
			return err
		}
		put, err := t.putPage(ctx, &pages, &page, &legs[0], &given)
		if err != nil {
			return err
		}
		t.hand()
		if !put {
			continue // from where it stands
		}
		legs[0].Advance(page.table)
		if legs[0].After = page.after; page.done {
			given, legs = leg.To, legs[1:]
		}
		if len(legs) > 0 {
			if err := t.send(ctx); err != nil {
				return err
			}
		}
	}
	t.joined = join(given, w)
	return nil
}

// putPage puts the events of a page of leg into the buffer. It stops, and returns false,
// where they may have been erased since the page was read. given is then, as always, the
// position after the last event that was put, and the leg goes on behind that.
func (t *stream) putPage(ctx context.Context, pages *pages, page *page, leg *outbox.Leg, given *outbox.Position) (whole bool, err error) {
	defer page.table.Free()
	defer clear(page.frames)
	// Memory or table: a page is of the one or the other.
	events := page.table.Events
	n := len(events)
	at := func(i int) *outbox.Event { return &events[i] }
	if len(page.frames) > 0 {
		n, at = len(page.frames), func(i int) *outbox.Event { return page.frames[i].Event }
	}
	for i := range n {
		e := at(i)
		var field []byte
		size := len(e.Payload)
		if t.batch != nil {
			if len(page.frames) > 0 {
				field = page.frames[i].within(t.request.Format, t.request.MaxData).data()
			} else {
				field = appendHeadWithin(nil, e, t.request.Format, t.request.MaxData)
			}
			size = len(field)
		}
		if t.batch == nil && len(page.frames) > 0 {
			t.borrow() // it has room for the page, which is to be let go before the write
		} else if err := t.room(ctx, size); err != nil {
			return false, err
		}
		// Those of one id are put together: a leg does not go on between them.
		if (i == 0 || at(i-1).ID != e.ID) && pages.stale(page) {
			return false, nil
		}
		*given = leg.At(claim(e.ID, i+1 < n && at(i+1).ID == e.ID))
		leg.After = e.ID
		switch {
		case t.batch != nil:
			t.gather(e, *given, field)
			continue
		case len(page.frames) > 0:
			t.addAt(page.frames[i], *given)
		default:
			t.buf = appendEnd(appendHeadWithin(t.text(), e, t.request.Format, t.request.MaxData), t.Hub.Keys, *given)
		}
		t.told = *given
		t.count(e)
	}
	return true, nil
}

// always is a channel from which there is always something to receive.
var always = func() <-chan struct{} { c := make(chan struct{}); close(c); return c }()

// follow sends what the hub hands out until the stream is behind or parked.
func (t *stream) follow(ctx context.Context) error {
	var frames []*Frame
	for {
		t.answer()
		taken, state, more := t.sub.take(frames[:0])
		frames = taken
		if len(frames) > 0 {
			t.borrow()
		}
		t.put(frames)
		clear(frames)
		if err := t.flush(); err != nil {
			return err
		}
		wake := (<-chan struct{})(t.sub.wake)
		switch {
		case state == behind:
			return nil
		case more:
			wake = always
		case t.park():
			return errParked
		}
		select {
		case <-wake:
		case <-t.heartbeat.C:
			t.beat()
		case <-t.draining:
			t.endLater()
		case <-t.end:
			return t.goodbye(ErrDraining)
		case <-t.over:
			return t.goodbye(*t.why.Load())
		case <-ctx.Done():
			return t.goodbye(context.Cause(ctx))
		}
	}
}

// put appends what is new to the stream to its buffer.
func (t *stream) put(frames []*Frame) {
	for _, f := range frames {
		if !t.joined.admit(f) {
			continue
		}
		if t.joined.ahead {
			t.addAt(f, t.joined.at)
		} else {
			t.add(f)
		}
		t.told = t.joined.at
		if t.count(f.Event); t.since == 0 {
			t.since = f.read.at.Sub(t.crew.began)
		}
	}
}

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
	calls.Go(call)
	for {
		var err error
		select {
		case err = <-done:
			switch {
			case err == nil:
				return nil
			case ctx.Err() != nil:
				return t.goodbye(context.Cause(ctx))
			}
			pause := retry.NextBackOff()
			t.Log.WarnContext(ctx, "stream waits for the database", "to", what, "err", err, "retry_in", pause)
			again = time.After(pause)
		case <-again:
			again = nil
			calls.Go(call)
		case <-t.heartbeat.C:
			t.beatAt(t.told)
			if err := t.flush(); err != nil {
				return err
			}
		case <-t.over:
			return t.goodbye(*t.why.Load())
		case <-t.draining:
			t.endLater()
		case <-t.end:
			return t.goodbye(ErrDraining)
		case <-ctx.Done():
			return t.goodbye(context.Cause(ctx))
		}
	}
}
