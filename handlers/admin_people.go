package handlers

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
)

// people is GET /admin/api/people: the subjects that begin with prefix.
func (h *handlers) people(c echo.Context, _ identity) error {
	query, err := queryOf(c, "prefix", "after")
	if err != nil {
		return err
	}
	people, err := h.Admin.People(c.Request().Context(), query.Get("prefix"), query.Get("after"))
	// audit is false where this node does not record its streams, and so knows nobody.
	return h.answer(c, map[string]any{"people": people, "more": len(people) == admin.PeoplePage, "audit": h.Audit != nil}, err)
}

// sent is GET /admin/api/people/sent: the events that a person received, the newest first.
func (h *handlers) sent(c echo.Context, _ identity) error {
	query, err := queryOf(c, "subject", "topic", "from", "until", "before")
	if err != nil {
		return err
	}
	search := admin.SentSearch{Subject: query.Get("subject"), Topic: outbox.Pattern(query.Get("topic"))}
	if search.From, err = moment("from", query.Get("from")); err != nil {
		return err
	}
	if search.Until, err = moment("until", query.Get("until")); err != nil {
		return err
	}
	if search.Before, err = whole("before", query.Get("before")); err != nil {
		return err
	}
	found, err := h.Admin.Sent(c.Request().Context(), search)
	return h.answer(c, found, err)
}

// why is GET /admin/api/people/why: whether a person received an event, and if not, why.
func (h *handlers) why(c echo.Context, _ identity) error {
	query, err := queryOf(c, "subject", "event")
	if err != nil {
		return err
	}
	id, err := whole("event", query.Get("event"))
	if err != nil {
		return err
	}
	if id == 0 || !query.Has("subject") {
		return fault(http.StatusBadRequest, "subject and event must be given")
	}
	why, err := h.Admin.Why(c.Request().Context(), query.Get("subject"), id)
	return h.answer(c, why, err)
}

// endStreams is DELETE /admin/api/streams?subject=…: all that are open of one subject.
func (h *handlers) endStreams(c echo.Context, who identity) error {
	query, err := queryOf(c, "subject")
	if err != nil {
		return err
	}
	subject := query.Get("subject")
	if subject == "" {
		return fault(http.StatusBadRequest, "subject must be given")
	}
	streams := 0
	if h.Audit == nil {
		streams = h.unaudited.end(0, subject)
	} else if streams, err = h.Admin.EndStreams(c.Request().Context(), subject, who.name()); err != nil {
		return err
	}
	h.changed(c, who, "end all streams of a subject", "of", subject, "streams", streams)
	return c.JSON(http.StatusAccepted, map[string]int{"streams": streams})
}
