package handlers

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
)

// searchParameters are those of a search.
var searchParameters = []string{"topic", "type", "from", "until", "text", "cursor", "limit"}

// search reads the parameters of a search.
func search(query url.Values) (s admin.Search, err error) {
	s = admin.Search{
		Topic: outbox.Pattern(query.Get("topic")), Type: query.Get("type"), Text: query.Get("text"), Cursor: query.Get("cursor"),
	}
	if s.From, err = moment("from", query.Get("from")); err != nil {
		return s, err
	}
	s.Until, err = moment("until", query.Get("until"))
	return s, err
}

// history is GET /admin/api/history: a page of events, the newest first.
func (h *handlers) history(c echo.Context, _ identity) error { return h.found(c, h.Admin.Search) }

// unsent is GET /admin/api/unsent: events that no stream received.
func (h *handlers) unsent(c echo.Context, _ identity) error { return h.found(c, h.Admin.Unsent) }

// found answers with a page of events.
func (h *handlers) found(c echo.Context, find func(context.Context, admin.Search) (admin.Found, error)) error {
	query, err := queryOf(c, searchParameters...)
	if err != nil {
		return err
	}
	search, err := search(query)
	if err != nil {
		return err
	}
	if search.Limit, err = number(query.Get("limit"), 50, 1, 200); err != nil {
		return fault(http.StatusBadRequest, "limit "+err.Error())
	}
	found, err := find(c.Request().Context(), search)
	return h.answer(c, found, err)
}

// event is GET /admin/api/history/:id.
func (h *handlers) event(c echo.Context, _ identity) error {
	if _, err := queryOf(c); err != nil {
		return err
	}
	id, err := whole("the event's id", c.Param("id"))
	if err != nil {
		return err
	}
	event, found, err := h.Admin.Event(c.Request().Context(), id)
	if err == nil && !found {
		err = notHeld(id)
	}
	return h.answer(c, event, err)
}

// receipts is GET /admin/api/history/:id/receipts: the streams that received the event. The
// next page begins after run and stream of the last one.
func (h *handlers) receipts(c echo.Context, _ identity) error {
	query, err := queryOf(c, "run", "stream")
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
	// audit is false where this node does not record its streams, and so makes no receipts.
	return h.answer(c, map[string]any{"receipts": receipts, "more": len(receipts) == admin.ReceiptPage, "audit": h.Audit != nil}, err)
}

// streams is GET /admin/api/streams. A node that keeps no audit knows its own.
func (h *handlers) streams(c echo.Context, _ identity) error {
	query, err := queryOf(c, "state", "subject", "node", "reason", "slow", "order", "cursor")
	if err != nil {
		return err
	}
	search := admin.StreamSearch{Subject: query.Get("subject"), Node: query.Get("node"), Reason: query.Get("reason"), Cursor: query.Get("cursor")}
	var errs [3]error
	search.Ended, errs[0] = choice(query, "state", "open", "ended")
	search.Slow, errs[1] = choice(query, "slow", "false", "true")
	search.BySent, errs[2] = choice(query, "order", "time", "sent")
	if err := cmp.Or(errs[:]...); err != nil {
		return err
	}
	if h.Audit == nil {
		return h.answer(c, h.unaudited.find(search, h.Streamer.Node, h.slow()), nil)
	}
	found, err := h.Admin.Streams(c.Request().Context(), search)
	return h.answer(c, found, err)
}

// slow returns for how long the readers of this node's slow streams have not kept up.
func (h *handlers) slow() map[int64]float64 {
	slow := map[int64]float64{}
	for _, s := range h.Streamer.Slow(slowAfter, slowListed) {
		slow[s.Number] = s.For.Seconds()
	}
	return slow
}

// scheduled is GET /admin/api/scheduled: the scheduled events, the next first. The next
// page begins after deliver_at and id of the last one.
func (h *handlers) scheduled(c echo.Context, _ identity) error {
	query, err := queryOf(c, "topic", "type", "failed", "deliver_at", "id")
	if err != nil {
		return err
	}
	search := admin.PlannedSearch{Topic: outbox.Pattern(query.Get("topic")), Type: query.Get("type"), After: time.Unix(0, 0)}
	if search.Failed, err = choice(query, "failed", "false", "true"); err != nil {
		return err
	}
	after, err := moment("deliver_at", query.Get("deliver_at"))
	if err != nil {
		return err
	}
	if !after.IsZero() {
		search.After = after
	}
	if search.ID, err = whole("id", query.Get("id")); err != nil {
		return err
	}
	planned, err := h.Admin.Planned(c.Request().Context(), search)
	return h.answer(c, map[string]any{"scheduled": planned, "more": len(planned) == admin.PlannedPage}, err)
}
