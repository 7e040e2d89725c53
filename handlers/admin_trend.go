package handlers

import (
	"cmp"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
)

// trend is GET /admin/api/trend: events over time, by type or topic.
func (h *handlers) trend(c echo.Context, _ identity) error {
	query, err := queryOf(c, "by", "topic", "type", "from")
	if err != nil {
		return err
	}
	search := admin.TrendSearch{By: cmp.Or(query.Get("by"), "type"), Topic: outbox.Pattern(query.Get("topic")), Type: query.Get("type")}
	if search.From, err = moment("from", query.Get("from")); err != nil {
		return err
	}
	trend, err := h.Admin.Trend(c.Request().Context(), search)
	return h.answer(c, trend, err)
}
