package handlers

import (
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/outbox"
)

// history is GET /admin/api/history: a page of events, the newest first.
func (h *handlers) history(c echo.Context, _ caller) error {
	query, err := asked(c, "topic", "type", "from", "until", "text", "cursor", "limit")
	if err != nil {
		return err
	}
	search := outbox.Search{
		Topic: outbox.Pattern(query.Get("topic")), Type: query.Get("type"), Text: query.Get("text"), Cursor: query.Get("cursor"),
	}
	if search.From, err = moment("from", query.Get("from")); err != nil {
		return err
	}
	if search.Until, err = moment("until", query.Get("until")); err != nil {
		return err
	}
	if search.Limit, err = number(query.Get("limit"), 50, 1, 200); err != nil {
		return fault(http.StatusBadRequest, "limit "+err.Error())
	}
	found, err := h.Admin.Search(c.Request().Context(), search)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, found)
}

// event is GET /admin/api/history/:id.
func (h *handlers) event(c echo.Context, _ caller) error {
	if _, err := asked(c); err != nil {
		return err
	}
	id, err := whole("the event's id", c.Param("id"))
	if err != nil {
		return err
	}
	event, found, err := h.Admin.Event(c.Request().Context(), id)
	if err != nil {
		return err
	}
	if !found {
		return fault(http.StatusNotFound, fmt.Sprintf("no event %d is held: it was never committed, or is past retention", id))
	}
	return c.JSON(http.StatusOK, event)
}

// receipts is GET /admin/api/history/:id/receipts: who was sent the event. Another
// page begins behind run and stream of the last one.
func (h *handlers) receipts(c echo.Context, _ caller) error {
	query, err := asked(c, "run", "stream")
	if err != nil {
		return err
	}
	var numbers [3]int64
	for i, text := range []string{c.Param("id"), query.Get("run"), query.Get("stream")} {
		if numbers[i], err = whole([]string{"the event's id", "run", "stream"}[i], text); err != nil {
			return err
		}
	}
	receipts, err := h.Admin.Receipts(c.Request().Context(), numbers[0], numbers[1], numbers[2])
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, struct {
		Receipts []outbox.Receipt `json:"receipts"`
		// More is set when a full page was read.
		More bool `json:"more"`
		// Audit tells whether this node records its streams: without, it makes
		// no receipts.
		Audit bool `json:"audit"`
	}{receipts, len(receipts) == outbox.ReceiptPage, h.Audit != nil})
}

// streams is GET /admin/api/streams.
func (h *handlers) streams(c echo.Context, _ caller) error {
	query, err := asked(c, "state", "subject", "node", "cursor")
	if err != nil {
		return err
	}
	search := outbox.StreamSearch{Subject: query.Get("subject"), Node: query.Get("node"), Cursor: query.Get("cursor")}
	switch state := query.Get("state"); state {
	case "", "open":
	case "ended":
		search.Ended = true
	default:
		return fault(http.StatusBadRequest, fmt.Sprintf("state %.100q is not known; allowed are open and ended", state))
	}
	found, err := h.Admin.Streams(c.Request().Context(), search)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, found)
}

// scheduled is GET /admin/api/scheduled: what waits, the next first. Another page
// begins behind deliver_at and id of the last one.
func (h *handlers) scheduled(c echo.Context, _ caller) error {
	query, err := asked(c, "deliver_at", "id")
	if err != nil {
		return err
	}
	after, err := moment("deliver_at", query.Get("deliver_at"))
	if err != nil {
		return err
	}
	id, err := whole("id", query.Get("id"))
	if err != nil {
		return err
	}
	if after.IsZero() {
		after = time.Unix(0, 0)
	}
	planned, err := h.Admin.Planned(c.Request().Context(), after, id)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, struct {
		Scheduled []outbox.Planned `json:"scheduled"`
		More      bool             `json:"more"`
	}{planned, len(planned) == outbox.PlannedPage})
}
