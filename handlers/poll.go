package handlers

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/internal/fair"
	"github.com/outcrier/outcrier/sse"
)

// poll is GET /events for clients that accept JSON: a long poll.
func (h *handlers) poll(c echo.Context, who identity, request sse.Request) error {
	limit, err := number(c.QueryParam("limit"), 500, 1, 1000)
	if err != nil {
		return about{fault(http.StatusBadRequest, "limit "+err.Error()), "limit", ""}
	}
	wait, err := boundedDuration(c.QueryParam("wait"), 25*time.Second, time.Minute)
	if err != nil {
		return about{fault(http.StatusBadRequest, "wait "+err.Error()), "wait", ""}
	}
	if !h.enter(who) {
		return tooMany(c, tooManyRetry, errTooMany.Text)
	}
	defer h.leave(who)
	h.Traffic.Polls.Add(1)
	defer h.Traffic.Polls.Add(-1)
	trusted, stop := who.whilePolling(c.Request().Context())
	defer stop()
	ctx, cancel := context.WithTimeoutCause(fair.With(trusted, who.principal()), wait+10*time.Second, errUnavailable)
	defer cancel()
	request.Record = h.recorded(who, nil)
	share, verdict := h.memory(c), fair.Granted
	request.Reserve = func(bytes int) bool {
		verdict = share.Take(int64(bytes))
		return verdict == fair.Granted
	}
	polled, err := h.Streamer.Poll(ctx, request, limit, wait)
	switch {
	case c.Request().Context().Err() != nil:
		return nil // the client is gone
	case trusted.Err() != nil:
		return context.Cause(trusted)
	case errors.Is(err, sse.ErrDraining), errors.Is(err, sse.ErrFull):
		return fault(http.StatusServiceUnavailable, err.Error())
	case errors.Is(err, sse.ErrNoRoom):
		return h.noRoom(c, verdict)
	case err != nil:
		h.unanswered.fails(ctx, pollFailed, err)
		return fault(http.StatusServiceUnavailable, "the database is not available")
	}
	h.unanswered.answered(ctx, pollFailed)
	h.answerPoll(c, polled)
	return nil
}

// answerPoll writes the answer to a poll, and notes for its record whether all of it was sent.
func (h *handlers) answerPoll(c echo.Context, polled sse.Polled) {
	answer := polled.Parts()
	header := c.Response().Header()
	header.Set(echo.HeaderCacheControl, "no-store, no-transform")
	// The cache of a service worker would return the same page again and again.
	header.Add(echo.HeaderVary, "*")
	header.Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	if h.compresses(c) {
		answer = [][]byte{compressed(answer)}
	}
	size := 0
	for _, part := range answer {
		size += len(part)
	}
	header.Set(echo.HeaderContentLength, strconv.Itoa(size))
	sent := polled.Sending()
	c.Response().WriteHeader(http.StatusOK)
	w := bufio.NewWriterSize(c.Response(), pieceBytes)
	for _, part := range answer {
		_, _ = w.Write(part) // Flush has the error
	}
	err := w.Flush()
	if err == nil && h.Audit != nil { // what is on record as sent has left
		err = http.NewResponseController(c.Response().Writer).Flush()
	}
	sent(err == nil) // whatever err is: there is no other answer any more
}

// errUnavailable is the cause of the end of a poll that took too long.
var errUnavailable = errors.New("the database did not answer in time")
