package handlers

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/internal/fair"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse"
	"github.com/outcrier/outcrier/sse/wire"
)

// oneSegment calls next only if the path's id is one segment: echo matches all that
// follows.
func (h *handlers) oneSegment(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		switch {
		case !strings.Contains(c.Param("id"), "/"):
			return next(c)
		case h.Home != nil:
			return echo.WrapHandler(h.Home)(c)
		}
		return echo.ErrNotFound
	}
}

// one is GET /events/:id: one event, in the form of a poll. An event on a topic that is not
// granted is answered like one that does not exist.
func (h *handlers) one(c echo.Context, who identity) error {
	known := []string{"format"}
	if h.Access.QueryToken {
		known = append(known, "token")
	}
	query, err := queryOf(c, known...)
	if err != nil {
		return err
	}
	format, err := parseFormat(query.Get("format"))
	if err != nil {
		return badRequest(err)
	}
	id, err := strconv.ParseInt(c.Param("id"), 10, 64)
	if err != nil || id < 1 {
		return fault(http.StatusBadRequest, fmt.Sprintf("an event's id is a whole number above 0, not %.100q", c.Param("id")))
	}
	if !h.enter(who) {
		return tooMany(c, tooManyRetry, errTooMany.Text)
	}
	defer h.leave(who)
	if may, err := h.mayOpen(c, who, false); !may {
		return err
	}
	ctx := fair.With(c.Request().Context(), who.principal())
	event, before, after, found, err := h.Streamer.Event(ctx, id)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil // the client is gone
	case err != nil:
		h.unanswered.fails(ctx, eventFailed, err)
		return fault(http.StatusServiceUnavailable, "the database is not available")
	}
	h.unanswered.answered(ctx, eventFailed)
	if !found || who.maySubscribe([]outbox.Pattern{outbox.Pattern(event.Topic)}) != nil {
		return fault(http.StatusNotFound, fmt.Sprintf("no event %d is held, or its topic is not granted", id))
	}
	if verdict := h.memory(c).Take(int64(len(event.Payload))); verdict != fair.Granted {
		return h.noRoom(c, verdict)
	}
	body := wire.AppendEvent(nil, &event, format)
	if verdict := h.memory(c).Take(int64(len(body))); verdict != fair.Granted {
		return h.noRoom(c, verdict)
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store, no-transform") // it may be erased
	media := "application/cloudevents+json"
	if format == wire.Payload {
		media = echo.MIMEApplicationJSON
	}
	sent := func(bool) {}
	if record := h.recorded(who, nil); record != nil && c.Request().Method == http.MethodGet {
		sent = sse.Sending(record(before, outbox.Filter{Topics: []outbox.Pattern{outbox.Pattern(event.Topic)}}), after, 1, id)
	}
	err = c.Blob(http.StatusOK, media, body)
	if err == nil && h.Audit != nil {
		err = http.NewResponseController(c.Response().Writer).Flush()
	}
	sent(err == nil)
	return nil
}
