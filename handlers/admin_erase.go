package handlers

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/outbox/admin"
)

// erasures is GET /admin/api/erasures: the erasures and redactions, the newest first.
func (h *handlers) erasures(c echo.Context, _ identity) error {
	return records(h, c, "erasures", admin.ErasurePage, h.Admin.Erasures)
}

// erase is POST /admin/api/erasures. The body is not logged.
func (h *handlers) erase(c echo.Context, who identity) error {
	var erasing admin.Erasing
	if err := h.adminBody(c, maxAdminBody, &erasing, "id or pattern, payload and reason"); err != nil {
		return err
	}
	events, err := h.Admin.Erase(c.Request().Context(), erasing, who.name())
	if err != nil {
		return err
	}
	if events == 0 && erasing.ID > 0 {
		return notHeld(erasing.ID)
	}
	what := "erase"
	if erasing.Payload != nil {
		what = "redact"
	}
	more := []any{"pattern", string(erasing.Pattern), "events", events, "reason", erasing.Reason}
	if erasing.ID > 0 {
		more = append(more, "event", erasing.ID)
	}
	h.changed(c, who, what, more...)
	return c.JSON(http.StatusCreated, map[string]int64{"events": events})
}
