package handlers

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/internal/fair"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/sse"
	"github.com/outcrier/outcrier/sse/wire"
)

// events is GET /events: a stream, or for clients that accept JSON a long poll.
func (h *handlers) events(c echo.Context, who identity) error {
	if hasBody(c) {
		return fault(http.StatusBadRequest, "this request takes no body: put topics and everything else into the query")
	}
	isSocket := upgrades(c.Request())
	poll, err := wantsJSON(c.Request().Header.Values(echo.HeaderAccept))
	if isSocket {
		poll, err = false, checkHandshake(c) // whatever it accepts
	}
	if err != nil {
		return err
	}
	request, err := h.parseRequest(c, poll)
	if err != nil {
		return badRequest(err)
	}
	if err := who.maySubscribe(request.Filter.Topics); err != nil {
		return err
	}
	if c.Request().Method == http.MethodHead {
		return head(c, poll)
	}
	if may, err := h.mayOpen(c, who, !poll); !may {
		return err
	}
	switch {
	case isSocket:
		return h.socket(c, who, request)
	case poll:
		return h.poll(c, who, request)
	}
	return h.stream(c, who, request)
}

// head answers a valid request with the headers of a GET, without opening a stream or
// waiting.
func head(c echo.Context, poll bool) error {
	header := c.Response().Header()
	if poll {
		header.Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
		header.Set(echo.HeaderCacheControl, "no-store, no-transform")
		header.Add(echo.HeaderVary, "*")
	} else {
		streamHeader(header)
	}
	return c.NoContent(http.StatusOK)
}

// badRequest returns a fault with the error's text, and the parameter or topic that it is
// about.
func badRequest(err error) error {
	var what about
	errors.As(err, &what) // otherwise about nothing in particular
	what.error = fault(http.StatusBadRequest, err.Error())
	return what
}

func (h *handlers) stream(c echo.Context, who identity, request sse.Request) error {
	ctx, response := c.Request().Context(), c.Response()
	if !flushes(response.Writer) {
		return errors.New("this response can't be streamed: its http.ResponseWriter, a middleware's, has neither Flush nor Unwrap")
	}
	if !h.enter(who) {
		h.refused(c, http.StatusTooManyRequests, errTooMany, errTooMany.Text)
		return turnAway(c, errTooMany, tooManyRetry)
	}
	streamHeader(response.Header())
	if h.compresses(c) {
		request.Format |= wire.Gzip
	}
	if r := c.Request(); r.ProtoMajor == 1 && r.TLS == nil && h.Streamer.Running() {
		if socket := takeOver(r, response); socket != nil {
			// The request ends here, the stream does not.
			h.serve(context.WithoutCancel(ctx), socket, who, who.while, request, &h.Traffic.HTTP1, func(error) {})
			return nil
		}
	}
	// Commits the answer for echo too, which would otherwise write its errors into the
	// stream. From here on the writer inside echo's is used: echo's Flush discards errors.
	response.WriteHeader(http.StatusOK)
	var why error
	h.serve(ctx, responseWriter{response.Writer, http.NewResponseController(response.Writer)}, who, who.while, request, h.Traffic.over(c.Request()), func(ended error) { why = ended })
	if !sse.Orderly(why) {
		panic(http.ErrAbortHandler) // otherwise net/http would make it look complete
	}
	return nil
}

// flushes reports whether what is written to w can be sent on at once, as http.ResponseController
// does it. A writer around another can no more than that one, whatever methods it has.
func flushes(w http.ResponseWriter) bool {
	for {
		switch inner := w.(type) {
		case interface{ Unwrap() http.ResponseWriter }:
			w = inner.Unwrap()
		case http.Flusher, interface{ FlushError() error }:
			return true
		default:
			return false
		}
	}
}

func streamHeader(header http.Header) {
	header.Set(echo.HeaderContentType, "text/event-stream; charset=utf-8")
	// The cache of a service worker stores no answer with this header, and so never replays
	// an old stream.
	header.Add(echo.HeaderVary, "*")
	// no-transform: a proxy that compresses holds events back.
	header.Set(echo.HeaderCacheControl, "no-store, no-transform")
	// nginx buffers answers without this header.
	header.Set("X-Accel-Buffering", "no")
}

// turnAway answers with a stream that ends at once and says when to come back: any other
// status than 200 would end an EventSource for good, and a page can't see why a WebSocket
// was refused. retry is the mean time.
func turnAway(c echo.Context, why *wire.Goodbye, retry time.Duration) error {
	if upgrades(c.Request()) {
		if conn, _, err := upgrade(c); err == nil {
			sse.RefuseWebSocket(conn, why, retry)
		}
		return nil
	}
	streamHeader(c.Response().Header())
	return c.Blob(http.StatusOK, c.Response().Header().Get(echo.HeaderContentType), sse.Refuse(why, retry))
}

// serve serves an admitted stream until it ends or, by while, its token does, and then
// calls ended with the reason. Meanwhile open counts the stream.
func (h *handlers) serve(ctx context.Context, w sse.Writer, who identity, while func(context.Context) (context.Context, func()), request sse.Request, open *atomic.Int64, ended func(why error)) {
	open.Add(1)
	ctx, stop := while(ctx)
	ctx = fair.With(ctx, who.principal())
	started, topics := time.Now(), len(request.Filter.Topics)
	place := identity{limitKey: who.limitKey, address: who.address} // not the grants: streams are many, and last
	subject := who.Subject
	if h.Audit != nil {
		// An admin can end a recorded stream.
		cancellable, cancel := context.WithCancelCause(ctx)
		end, forget := func() { cancel(errEnded) }, stop
		ctx, stop = cancellable, func() { cancel(nil); forget() }
		request.Record = h.recorded(who, end)
	} else if h.Admin != nil {
		listed, number, remove := h.listed(ctx, who, request.Filter)
		forget := stop
		ctx, request.Number, stop = listed, number, func() { remove(); forget() }
		if change := request.Change; change != nil {
			request.Change = func(ctx context.Context, asked sse.Change, topics []outbox.Pattern) ([]outbox.Pattern, []wire.Refused) {
				now, refused := change(ctx, asked, topics)
				h.unaudited.follow(number, now)
				return now, refused
			}
		}
	}
	h.Streamer.Serve(ctx, w, request, func(why error) {
		stop()
		open.Add(-1)
		h.leave(place)
		h.Log.Info("stream ended", "why", why, "lasted", time.Since(started).Round(time.Millisecond), "topics", topics, "subject", subject, "address", place.address)
		ended(why)
	})
}

// recorded begins the audit's record of a stream or poll that begins now, and again when
// the topics of a WebSocket change; nil where there is no audit. An admin can end it with
// end, unless that is nil.
func (h *handlers) recorded(who identity, end func()) func(position.Position, outbox.Filter) *audit.StreamRecord {
	if h.Audit == nil {
		return nil
	}
	began, subject, address := time.Now(), who.Subject, who.address
	return func(from position.Position, filter outbox.Filter) *audit.StreamRecord {
		at := began
		if began = (time.Time{}); at.IsZero() {
			at = time.Now()
		}
		return h.Audit.Opened(audit.Stream{Subject: subject, ClientAddress: address, Filter: filter, From: from, At: at, End: end})
	}
}

// hasBody reports whether there is a body. Some proxies announce a chunked one, and send
// none.
func hasBody(c echo.Context) bool {
	request := c.Request()
	if request.ContentLength >= 0 {
		return request.ContentLength > 0
	}
	_, err := io.ReadFull(request.Body, make([]byte, 1))
	_ = http.NewResponseController(c.Response().Writer).SetReadDeadline(time.Time{}) // the body's, not the stream's
	return !errors.Is(err, io.EOF)
}

// tooManyRetry is the mean time after which a client over its limit of streams should try
// again: by then the user may have closed some tabs.
const tooManyRetry = 30 * time.Second

// wantsJSON decides between the two forms of an answer.
func wantsJSON(accept []string) (bool, error) {
	var json, stream bool
	for _, field := range accept {
		for media := range strings.SplitSeq(field, ",") {
			media, _, _ = strings.Cut(media, ";")
			switch strings.ToLower(strings.TrimSpace(media)) {
			case "text/event-stream":
				return false, nil
			case "application/json":
				json = true
			case "text/*", "*/*", "":
				stream = true
			}
		}
	}
	switch {
	case json:
		return true, nil
	case stream || len(accept) == 0:
		return false, nil
	}
	return false, fault(http.StatusNotAcceptable, "allowed in Accept are text/event-stream for a stream and application/json for a long poll")
}
