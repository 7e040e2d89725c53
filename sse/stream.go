package sse

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/sse/hub"
	"github.com/outcrier/outcrier/sse/wire"
)

// stream is one stream while it is served: its phases, its position and its topics. Its
// writer has the bytes to be sent. One goroutine at a time has a stream: its own, or a
// worker of the pool; see park.
type stream struct {
	writer
	request Request
	sub     *hub.Subscription
	// inbox has what the client of a WebSocket has sent; nil for SSE.
	inbox *inbox
	// joined is the position of the stream in the hub's frames, once it is live.
	joined join
	// draining is the Streamer's until the stream has noticed that it is closed; then end
	// fires when the stream must end.
	draining <-chan struct{}
	end      <-chan time.Time
	ended    func(error)
}

// Serve writes a stream until it ends, and then calls ended, once, with the reason: the
// cause of ctx, a failed write, ErrStalled, ErrDraining, ErrLeft or ErrFull. A cause that
// is a Goodbye is sent to the reader. When w is a Socket, Serve returns as soon as the
// stream is live, and ended is called by another goroutine. The headers were sent before,
// or the Socket begins with them.
func (s *Streamer) Serve(ctx context.Context, w Writer, request Request, ended func(error)) {
	refused := s.countIn()
	t := &stream{writer: writer{Streamer: s, to: w}, draining: s.draining, ended: ended}
	t.number.Store(request.Number)
	conn, onConnection := w.(connection)
	if onConnection {
		t.conn, t.chunked, t.inbox, t.over = conn, conn.chunks(), conn.inbox(), make(chan struct{})
		if err := s.pool.register(t); err != nil {
			_ = conn.Close() // nothing was sent on it
			s.countOut()
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
	t.finishUnlessParked(ctx, t.run(ctx, refused))
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

// finishUnlessParked ends the stream, unless the pool has it.
func (t *stream) finishUnlessParked(ctx context.Context, err error) {
	if !errors.Is(err, errParked) {
		t.finish(ctx, err)
	}
}

// finish ends the stream.
func (t *stream) finish(ctx context.Context, err error) {
	if t.heartbeat != nil {
		t.heartbeat.Stop()
	}
	if t.sub != nil { // nil when the reader left before
		t.sub.Close()
	}
	isStalled := errors.Is(err, os.ErrDeadlineExceeded)
	err = t.cause(ctx, err, isStalled)
	t.closeRecord(err)
	t.counts.ended(reason(err, t.torn))
	if t.conn == nil {
		t.countOut()
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
		t.countOut()
		t.pool.remove(t)
		t.ended(err)
	})
}

// cause returns why a stream ends whose goroutine or worker met err.
func (t *stream) cause(ctx context.Context, err error, isStalled bool) error {
	// Over HTTP/2 a deadline that passes cancels the request, as a reader that leaves does.
	canceled := ctx.Err() != nil && (!isStalled || t.conn != nil || !errors.Is(context.Cause(ctx), context.Canceled))
	switch {
	case canceled:
		return context.Cause(ctx)
	case isStalled && t.conn != nil && t.why.Load() != nil:
		return *t.why.Load() // which has shortened the time
	case isStalled:
		return ErrStalled
	}
	return err
}

// run serves a stream: its phases in their order.
func (t *stream) run(ctx context.Context, refused error) error {
	t.buf = t.encoder.Open(t.buf)
	if t.inbox != nil && t.inbox.failed != nil {
		return t.sendGoodbye(t.inbox.failed)
	}
	if refused != nil {
		return t.sendGoodbye(refused)
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
	received, w, err := t.hello(ctx, w)
	if err != nil {
		return err
	}
	if err := t.replay(ctx, received, w); err != nil {
		return err
	}
	if !t.request.Filter.Since.IsZero() {
		t.record.Live(t.joined.at)
	}
	t.request.From, t.request.Filter.Since = From{}, time.Time{} // where it started, no more
	t.putNotice(wire.Notice{Name: "live", At: t.joined.at, Data: struct{}{}})
	return t.live(ctx)
}

// subscribe takes a place at the hub.
func (t *stream) subscribe(ctx context.Context) (w position.Position, err error) {
	subscribe := func(ctx context.Context) (err error) {
		t.sub, w, err = t.Hub.Subscribe(ctx, t.request.Filter, t.request.Format, t)
		return err
	}
	if t.Hub.Started() {
		return w, subscribe(ctx)
	}
	return w, t.persist(ctx, "subscribe", subscribe)
}
