package handlers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse"
)

// events is GET /events: a stream, or for those who ask for JSON a long poll.
func (h *handlers) events(c echo.Context, who caller) error {
	if hasBody(c) {
		return fault(http.StatusBadRequest, "a body is not read here; topics and all else belong in the query")
	}
	poll, err := wantsJSON(c.Request().Header.Values(echo.HeaderAccept))
	if err != nil {
		return err
	}
	request, err := h.parseRequest(c, poll)
	if err != nil {
		return fault(http.StatusBadRequest, err.Error())
	}
	if err := who.maySubscribe(request.Filter.Topics); err != nil {
		return err
	}
	if poll {
		return h.poll(c, who, request)
	}
	return h.stream(c, who, request)
}

func (h *handlers) stream(c echo.Context, who caller, request sse.Request) error {
	ctx, response := c.Request().Context(), c.Response()
	header := response.Header()
	header.Set(echo.HeaderContentType, "text/event-stream")
	// no-transform: a proxy that compresses holds events back.
	header.Set(echo.HeaderCacheControl, "no-store, no-transform")
	// nginx buffers answers unless told not to.
	header.Set("X-Accel-Buffering", "no")
	if !h.enter(who) {
		h.refused(c, http.StatusTooManyRequests, errTooMany, errTooMany.Text)
		return c.Blob(http.StatusOK, header.Get(echo.HeaderContentType), sse.Refuse(errTooMany, tooManyRetry))
	}
	if r := c.Request(); r.ProtoMajor == 1 && r.TLS == nil && h.Streamer.Running() {
		if socket := takeOver(response); socket != nil {
			// The request ends here, the stream does not.
			h.serve(context.WithoutCancel(ctx), socket, who, request)
			return nil
		}
	}
	// Commits the answer for echo too, which would write its errors into the
	// stream. From here on the writer beneath echo's is used: echo's Flush
	// discards errors.
	response.WriteHeader(http.StatusOK)
	h.serve(ctx, responseWriter{response.Writer, http.NewResponseController(response.Writer)}, who, request)
	return nil
}

// serve serves the stream of a caller who has a place, until it ends or their token
// does.
func (h *handlers) serve(ctx context.Context, w sse.Writer, who caller, request sse.Request) {
	ctx, stop := who.while(ctx)
	started, topics := time.Now(), len(request.Filter.Topics)
	place := caller{account: who.account, address: who.address} // not the grants: streams are many, and last
	subject := who.Subject
	h.Streamer.Serve(ctx, w, request, func(why error) {
		stop()
		h.leave(place)
		h.Log.Info("stream ended", "why", why, "lasted", time.Since(started).Round(time.Millisecond), "topics", topics, "subject", subject, "address", place.address)
	})
}

// hasBody tells whether there is a body. Some proxies announce one in chunks, and
// send none.
func hasBody(c echo.Context) bool {
	request := c.Request()
	if request.ContentLength >= 0 {
		return request.ContentLength > 0
	}
	_, err := io.ReadFull(request.Body, make([]byte, 1))
	_ = http.NewResponseController(c.Response().Writer).SetReadDeadline(time.Time{}) // the body's, not the stream's
	return !errors.Is(err, io.EOF)
}

// tooManyRetry is the mean time after which a stream too many is to try again. It
// is answered 200 nevertheless: any other status would end an EventSource for
// good, also when the user closes the tabs that were too many.
const tooManyRetry = 30 * time.Second

// takeOver takes the connection from net/http, which would keep a goroutine and
// two buffers for it. It returns nil if that can't be.
func takeOver(response *echo.Response) *sse.Socket {
	conn, _, err := http.NewResponseController(response.Writer).Hijack()
	if err != nil {
		return nil
	}
	response.Committed = true
	_ = conn.SetDeadline(time.Time{}) // of the request's header; a closed connection shows soon enough
	// The end of the body is the end of the connection (RFC 9112, 6.3).
	header := response.Header()
	header.Set(echo.HeaderConnection, "close")
	header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 200 OK\r\n")
	_ = header.Write(&head)
	head.WriteString("\r\n")
	return sse.NewSocket(conn, head.Bytes())
}

// responseWriter is an sse.Writer.
type responseWriter struct {
	http.ResponseWriter
	*http.ResponseController
}

// Flush tells which of the two embedded is meant.
func (w responseWriter) Flush() error { return w.ResponseController.Flush() }

func (h *handlers) poll(c echo.Context, who caller, request sse.Request) error {
	limit, err := number(c.QueryParam("limit"), 500, 1, 1000)
	if err != nil {
		return fault(http.StatusBadRequest, "limit "+err.Error())
	}
	wait, err := duration(c.QueryParam("wait"), 25*time.Second, time.Minute)
	if err != nil {
		return fault(http.StatusBadRequest, "wait "+err.Error())
	}
	if !h.enter(who) {
		return tooMany(c, tooManyRetry, errTooMany.Text)
	}
	defer h.leave(who)
	trusted, stop := who.whilePolling(c.Request().Context())
	defer stop()
	ctx, cancel := context.WithTimeoutCause(trusted, wait+10*time.Second, errUnavailable)
	defer cancel()
	polled, err := h.Streamer.Poll(ctx, request, limit, wait)
	switch {
	case c.Request().Context().Err() != nil:
		return nil // nobody is left to answer
	case trusted.Err() != nil:
		return context.Cause(trusted)
	case err != nil:
		h.Log.WarnContext(ctx, "poll failed", "err", err)
		return fault(http.StatusServiceUnavailable, unavailable(err))
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store, no-transform")
	return c.JSONBlob(http.StatusOK, polled.AppendJSON(nil))
}

var errUnavailable = errors.New("the database did not answer in time")

// unavailable is what a client may know of a failure of ours.
func unavailable(err error) string {
	switch {
	case errors.Is(err, sse.ErrDraining), errors.Is(err, sse.ErrFull):
		return err.Error()
	}
	return "the database is not available"
}

// wantsJSON decides between the two forms of an answer.
func wantsJSON(accept []string) (bool, error) {
	var json, stream bool
	for _, field := range accept {
		for media := range strings.SplitSeq(field, ",") {
			media, _, _ = strings.Cut(media, ";")
			switch strings.ToLower(strings.TrimSpace(media)) {
			case "application/json":
				json = true
			case "text/event-stream", "text/*", "*/*", "":
				stream = true
			}
		}
	}
	switch {
	case slices.ContainsFunc(accept, func(a string) bool { return strings.Contains(strings.ToLower(a), "text/event-stream") }):
		return false, nil
	case json:
		return true, nil
	case stream || len(accept) == 0:
		return false, nil
	}
	return false, fault(http.StatusNotAcceptable, "allowed in Accept are text/event-stream for a stream and application/json for a long poll")
}

// lastEventID are the names under which polyfills send the last id in the query.
var lastEventID = []string{"last_event_id", "lastEventId", "Last-Event-ID"}

// parseRequest reads the query. What it does not know it refuses: a misspelt
// filter must not become a stream that stays mute.
func (h *handlers) parseRequest(c echo.Context, poll bool) (request sse.Request, err error) {
	known := slices.Concat([]string{"topic", "type", "from", "format", "names"}, lastEventID)
	if poll {
		known = append(known, "after", "wait", "limit")
	}
	if h.Access.QueryToken {
		known = append(known, "token")
	}
	// echo's own reading leaves out what it can't read.
	query, err := url.ParseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return request, fmt.Errorf("the query is not well-formed: %w", err)
	}
	for name, values := range query {
		if !slices.Contains(known, name) {
			return request, fmt.Errorf("unknown query parameter %q; allowed are %s", name, strings.Join(known, ", "))
		}
		if len(values) > 1 && name != "topic" && name != "type" {
			return request, fmt.Errorf("query parameter %s is given %d times, allowed is once", name, len(values))
		}
	}
	if n := max(len(query["topic"]), len(query["type"])); n > h.Access.Limits.Topics {
		return request, fmt.Errorf("%d topics or types, at most %d are allowed", n, h.Access.Limits.Topics)
	}
	if len(query["topic"]) == 0 {
		return request, errors.New(`no topic: name at least one, as topic=user/42 or, with patterns, topic=user/* or topic=user/**`)
	}
	for _, text := range query["topic"] {
		pattern, err := outbox.ParsePattern(text)
		if err != nil {
			return request, err
		}
		request.Filter.Topics = append(request.Filter.Topics, pattern)
	}
	for _, text := range query["type"] {
		kind, err := outbox.ParseType(text)
		if err != nil {
			return request, err
		}
		request.Filter.Types = append(request.Filter.Types, kind)
	}
	switch format := query.Get("format"); format {
	case "", "cloudevents":
	case "payload":
		request.Format |= sse.Payload
	default:
		return request, fmt.Errorf("format %q is not known; allowed are cloudevents and payload", format)
	}
	switch names := query.Get("names"); names {
	case "", "type":
	case "message":
		request.Format |= sse.Unnamed
	default:
		return request, fmt.Errorf("names %q is not known; allowed are type and message", names)
	}
	request.From, err = parseFrom(c)
	request.Filter.Since = request.From.Since
	return request, err
}

// parseFrom finds where to start. The header wins: a browser that reconnects
// sends it, with the URL as it was first.
func parseFrom(c echo.Context) (sse.From, error) {
	if id := c.Request().Header.Get("Last-Event-ID"); id != "" {
		return sse.From{Position: id}, nil
	}
	for _, name := range append(lastEventID, "after") {
		if id := c.QueryParam(name); id != "" {
			return sse.From{Position: id}, nil
		}
	}
	from := c.QueryParam("from")
	switch from {
	case "", "now":
		return sse.From{}, nil
	case "earliest":
		return sse.From{Earliest: true}, nil
	}
	if back, err := time.ParseDuration(from); err == nil {
		if back <= 0 {
			return sse.From{}, fmt.Errorf("from=%s: a duration back must be positive", from)
		}
		return sse.From{Since: time.Now().Add(-back)}, nil
	}
	if at, err := time.Parse(time.RFC3339Nano, from); err == nil {
		return sse.From{Since: at}, nil
	}
	if id, _, found := strings.Cut(from, "."); found {
		if _, err := strconv.ParseInt(id, 10, 64); err == nil {
			return sse.From{Position: from}, nil
		}
	}
	return sse.From{}, fmt.Errorf(`from=%.100q is not known; allowed are "now", "earliest", a position, an RFC 3339 time like 2026-11-22T02:00:00Z, or a duration back like 1h`, from)
}

// number parses a whole number within bounds.
func number(text string, otherwise, least, most int) (int, error) {
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("must be a whole number from %d to %d, not %.100q", least, most, text)
	}
	return n, nil
}

// duration parses a duration up to most; "0" needs no unit.
func duration(text string, otherwise, most time.Duration) (time.Duration, error) {
	if text == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > most {
		return 0, fmt.Errorf("must be a duration from 0 to %s, like 25s, not %.100q", most, text)
	}
	return d, nil
}
