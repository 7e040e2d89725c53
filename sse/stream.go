package sse

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse/wire"
)

// stream is one stream while it is served. One goroutine at a time has it: its
// own, or a worker of the pool; see park.
type stream struct {
	*Streamer
	w       Writer
	request Request
	sub     *Subscription
	encoder wire.Encoder
	// inbox has what the client of a WebSocket has sent; nil for SSE.
	inbox *inbox
	// chunked has each write framed as a chunk, complete the last one followed by the
	// last chunk.
	chunked, complete bool
	// joined is where the stream stands in the hub's frames, once it is live.
	joined handover
	// told is the last position that was sent to the reader.
	told outbox.Position
	recorded
	heartbeat *time.Timer
	// draining is the Streamer's until the stream has noticed; then end is due
	// when it must end.
	draining <-chan struct{}
	end      <-chan time.Time
	// buf has the bytes to be written next, started by begin; empty between writes.
	buf   []byte
	ended func(error)
	parked
}

// Serve writes a stream until it ends, and then calls ended, once, with the reason: the
// cause of ctx, a failed write, ErrStalled, ErrDraining, ErrLeft or ErrFull. A cause that
// is a Goodbye is sent to the reader. When w is a Socket, Serve returns as soon as the
// stream is live, and ended is called by another goroutine. The headers were sent before,
// or the Socket begins with them.
func (s *Streamer) Serve(ctx context.Context, w Writer, request Request, ended func(error)) {
	refused := s.enter()
	t := &stream{Streamer: s, w: w, draining: s.draining, ended: ended}
	t.number.Store(request.Number)
	conn, onConnection := w.(connection)
	if onConnection {
		t.conn, t.chunked, t.inbox, t.over = conn, conn.chunks(), conn.inbox(), make(chan struct{})
		if err := s.pool.register(t); err != nil {
			_ = conn.Close() // nothing was sent on it
			s.leave()
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			ended(err)
			return
		}
	}
	t.encoder = t.newEncoder(&request)
	t.request, t.heartbeat = request, time.NewTimer(s.Heartbeat)
	if onConnection {
		if ctx.Done() != nil {
			t.uncancel = context.AfterFunc(ctx, func() { t.endNow(context.Cause(ctx)) })
		}
		if err := s.pool.listen(t); err != nil {
			t.finish(ctx, err)
			return
		}
	}
	t.goOn(ctx, t.run(ctx, refused))
}

// newEncoder returns the encoder that a request asks for. It changes the format to the one
// whose frames the encoder uses.
func (t *stream) newEncoder(request *Request) (e wire.Encoder) {
	options := wire.Encoding{Format: request.Format, MaxData: request.MaxData, Batch: request.Batch > 0, Keys: t.Hub.Keys}
	if t.inbox != nil {
		request.Batch, options.Ping = 0, t.inbox.ping
	}
	e, request.Format = wire.NewEncoder(options)
	return e
}

// goOn ends the stream, or leaves it to the pool.
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
	isStalled := errors.Is(err, os.ErrDeadlineExceeded)
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case isStalled:
		if err = ErrStalled; t.conn != nil && t.why.Load() != nil {
			err = *t.why.Load() // which has shortened the time
		}
	}
	t.closeRecord(err)
	t.counts.ended(reason(err, t.torn))
	if t.conn == nil {
		t.leave()
		t.ended(err)
		return
	}
	if t.uncancel != nil {
		t.uncancel()
	}
	// Not by a worker: it may take time to close a connection, and ended may block, on a
	// log that is not read.
	t.pool.goroutines.Go(func() {
		if isStalled {
			t.conn.abort()
		} else if t.complete && t.inbox != nil && !t.pool.stopping.Load() {
			t.conn.linger()
		}
		_ = t.conn.Close() // nothing more is to be sent
		t.leave()
		t.pool.remove(t)
		t.ended(err)
	})
}

// run is the life of a stream, in its order.
func (t *stream) run(ctx context.Context, refused error) error {
	t.buf = t.encoder.Open(t.buf)
	if t.inbox != nil && t.inbox.failed != nil {
		return t.goodbye(t.inbox.failed)
	}
	if refused != nil {
		return t.goodbye(refused)
	}
	// The headers leave on their own, with the first byte, after which Firefox regards a
	// stream as open: some proxies hold bytes that come with the headers until more come.
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
	t.notice(wire.Notice{Name: "live", At: t.joined.at, Data: struct{}{}})
	return t.live(ctx)
}

// subscribe takes a place at the hub.
func (t *stream) subscribe(ctx context.Context) (w outbox.Position, err error) {
	subscribe := func(ctx context.Context) (err error) {
		t.sub, w, err = t.Hub.subscribe(ctx, &Subscription{reader: t, filter: t.request.Filter, format: t.request.Format})
		return err
	}
	if t.Hub.Started() {
		return w, subscribe(ctx)
	}
	return w, t.persist(ctx, "subscribe", subscribe)
}

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

// beside calls fn with the hub's position, w, until it succeeds, and returns the position
// of the last call. If the database is not the one that the hub's tail reads, one of the
// two will soon change.
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

// hello resolves where the stream starts and sends the hello. It returns the start, and the
// hub's position at that time.
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
	t.openRecord(given)
	t.greet(given, t.request.From.Position != "", gap)
	return given, w, nil
}

// greet puts the hello into the buffer.
func (t *stream) greet(given outbox.Position, resumed bool, gap *outbox.Gap) {
	hello := wire.Hello{Resumed: resumed, Position: t.Hub.Keys.Seal(given), Node: t.Node, Heartbeat: t.Heartbeat.Milliseconds(), Gap: wire.NewGap(gap)}
	if gap != nil {
		hello.Resumed = "gap"
		t.counts.gap(gap.Reason)
	}
	t.notice(wire.Notice{Name: "hello", At: given, Data: hello, Retry: &t.Retry})
}

// rejudge validates the stream's position again, and sends another hello only if there is a
// gap. It returns where to go on, and the hub's position at that time.
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
				t.note(time.Since(t.pool.began)) // persist has written them
			}
			t.record.Jumped(given)
		}
		t.greet(given, true, gap)
	}
	return given, w, err
}

// replay sends the events of w that the stream lacks, page by page, and joins the stream to
// the hub there.
func (t *stream) replay(ctx context.Context, given, w outbox.Position) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	pages := pages{stream: t}
	defer pages.close()
	defer cancel()
	legs := t.legs(given, w)
	if len(legs) > 0 {
		t.counts.replays.Add(1)
	}
	for len(legs) > 0 {
		if t.inbox.hasMessages() {
			if given, w, err = t.changeInReplay(ctx, given, w); err != nil {
				return err
			}
			pages.restart()
			legs = t.legs(given, w)
			continue
		}
		leg := legs[0]
		page, err := pages.next(ctx, leg)
		if errors.Is(err, outbox.ErrTrimmed) {
			if given, w, err = t.rejudge(ctx, given, w); err != nil {
				return err
			}
			legs = t.legs(given, w)
			continue
		}
		if err != nil {
			return err
		}
		put, err := t.putPage(ctx, &pages, &page, &legs[0], &given)
		if err != nil {
			return err
		}
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

// legs returns the legs to replay: none for a stream without topics.
func (t *stream) legs(given, w outbox.Position) []outbox.Leg {
	if len(t.request.Filter.Topics) == 0 {
		return nil
	}
	return given.Legs(w)
}

// putPage puts the events of a page of leg into the buffer. It stops, and returns false,
// where they may have been erased since the page was read. given is then, as always, the
// position after the last event that was put, and the leg goes on after that.
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
	fromMemory := len(page.frames) > 0
	t.borrow()
	for i := range n {
		e := at(i)
		var f *wire.Frame
		if fromMemory {
			// There is room for the page, which is to be let go before the write.
			f = page.frames[i]
			t.buf, _ = t.encoder.Room(t.buf, f, e)
		} else if err := t.room(ctx, nil, e); err != nil {
			return false, err
		}
		// Those of one id are put together: a leg does not go on between them.
		if (i == 0 || at(i-1).ID != e.ID) && pages.stale(page) {
			return false, nil
		}
		*given = leg.At(wire.ResumeID(e.ID, i+1 < n && at(i+1).ID == e.ID))
		leg.After = e.ID
		if fromMemory {
			t.buf = t.encoder.FrameAt(t.buf, f, *given)
		} else {
			t.buf = t.encoder.Event(t.buf, e, *given)
		}
		t.told = *given
		t.count(e)
	}
	return true, nil
}

// always is a channel from which there is always something to receive.
var always = func() <-chan struct{} { c := make(chan struct{}); close(c); return c }()

// follow sends the frames that the hub queues until the stream is behind or parked.
func (t *stream) follow(ctx context.Context) error {
	var frames []*wire.Frame
	for {
		t.answer()
		taken, state, more := t.sub.take(frames[:0])
		frames = taken
		if len(frames) > 0 {
			t.borrow()
		}
		t.putAll(frames)
		clear(frames)
		if state != behind && t.inbox.hasMessages() {
			isBehind, err := t.changeLive(ctx)
			if err != nil {
				return err
			}
			if isBehind {
				state = behind
			}
		}
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
		case <-t.inbox.awake():
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

// putAll appends the frames that are new to the stream to its buffer.
func (t *stream) putAll(frames []*wire.Frame) {
	for _, f := range frames {
		if !t.joined.admit(f) {
			continue
		}
		if t.put(f); t.since == 0 {
			t.since = f.Read.At.Sub(t.pool.began)
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
	t.told = t.joined.at
	t.count(f.Event)
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
				return t.goodbye(context.Cause(ctx))
			}
			if t.outage.fails(ctx, t.Log, what, err, !waits); !waits {
				waits = true
				defer t.outage.ends(ctx, t.Log)
			}
			again = time.After(retry.NextBackOff())
		case <-again:
			again = nil
			calls.Go(call)
		case <-t.heartbeat.C:
			t.beatAt(t.told)
			if err := t.flush(); err != nil {
				return err
			}
		case <-t.inbox.awake():
			if err := t.flush(); err != nil { // which answers a ping; messages wait
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
