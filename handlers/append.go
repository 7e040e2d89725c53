package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/internal/fair"
	"github.com/outcrier/outcrier/outbox"
)

// append is POST /events: it appends one event or an array of them, each in CloudEvents'
// JSON format or our own, in one transaction.
func (h *handlers) append(c echo.Context, who identity) error {
	if h.Streamer.Draining() {
		return fault(http.StatusServiceUnavailable, "the server drains")
	}
	// What needs no body is decided before one is read.
	if err := who.mayPublishAnything(); err != nil {
		return err
	}
	request := c.Request()
	if err := h.maySend(c, who, max(0, request.ContentLength)); err != nil {
		return err
	}
	body, err := h.readBody(c, h.MaxBody, mediaTypes...)
	if err != nil {
		return err
	}
	if request.ContentLength < 0 {
		if err := h.maySend(c, who, int64(len(body))); err != nil {
			return err
		}
	}
	drafts, err := parseDrafts(body, request.Header.Get("Idempotency-Key"))
	if err != nil {
		return fault(http.StatusBadRequest, err.Error())
	}
	if err := who.mayPublish(drafts); err != nil {
		return err
	}
	if err := h.maySchedule(drafts); err != nil {
		return err
	}
	if err := h.mayPublishNow(c, who, len(drafts)); err != nil {
		return err
	}
	ids, err := h.Append(publishing(fair.With(request.Context(), who.principal()), who), drafts)
	if err != nil {
		return h.notAppended(c, err)
	}
	h.unanswered.answered(request.Context(), appendFailed)
	h.Traffic.Appends.Add(1)
	h.Traffic.Appended.Add(int64(len(ids)))
	return c.JSON(http.StatusCreated, Appended{ids})
}

// ErrScheduled is returned by Config.Append when more events of a principal would be
// scheduled than Limits.Scheduled.
var ErrScheduled = errors.New("too many events are scheduled")

// scheduledRetry is when to try again.
const scheduledRetry = time.Minute

// notAppended returns the answer to an append that failed.
func (h *handlers) notAppended(c echo.Context, err error) error {
	var state interface{ SQLState() string }
	code := ""
	if errors.As(err, &state) {
		code = state.SQLState()
	}
	reason, refused := outbox.Refused(err)
	switch {
	case errors.Is(err, ErrScheduled):
		return tooMany(c, scheduledRetry, fmt.Sprintf("too many scheduled events of this principal wait for their time: allowed are %d (--max-scheduled)", h.Access.Limits.Scheduled))
	case refused && code == uniqueViolation: // the dedup key is another event's
		return fault(http.StatusConflict, reason)
	case refused:
		return fault(http.StatusUnprocessableEntity, reason)
	case code == serializationFailure || code == deadlockDetected:
		h.Log.DebugContext(c.Request().Context(), "append failed", "err", err)
		return fault(http.StatusServiceUnavailable, "the events were not appended: another append claimed the same key at this moment; send the request again")
	}
	if c.Request().Context().Err() != nil {
		return nil // the client is gone, which is no fault of the node
	}
	h.unanswered.fails(c.Request().Context(), appendFailed, err)
	return fault(http.StatusServiceUnavailable, "the events were not appended: the database is not available")
}

// SQLSTATEs that decide the answer to an append.
const (
	uniqueViolation      = "23505"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
)

var mediaTypes = []string{"application/json", "application/cloudevents+json", "application/cloudevents-batch+json"}

// Appended is the answer to an append.
type Appended struct {
	// IDs has an id for each event, in their order: the event's, or for one to be delivered
	// later that of the scheduled event.
	IDs []int64 `json:"ids"`
}
