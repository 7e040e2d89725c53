package handlers

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// healthz tells that the process answers.
func (h *handlers) healthz(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "ok"})
}

// Ready is the answer of /readyz.
type Ready struct {
	Ready bool `json:"ready"`
	// Reason is why the node is not ready.
	Reason string `json:"reason,omitempty"`
}

// readyz tells whether the node should be given streams: its tail follows the
// table, LISTEN is proven, and it does not drain.
func (h *handlers) readyz(c echo.Context) error {
	status := h.TailStatus()
	var reason string
	switch {
	case h.Streamer.Draining(), h.Leaving != nil && h.Leaving():
		reason = "the server drains"
	case !status.Following && status.Err != nil:
		h.Log.DebugContext(c.Request().Context(), "not ready", "err", status.Err)
		reason = "the database is not available"
	case !status.Following:
		reason = "the tail has not caught up yet"
	case !status.Listening:
		reason = "LISTEN is not heard: through a transaction pooler it needs a direct connection (--direct-url), or say --wake=poll"
	default:
		return c.JSON(http.StatusOK, Ready{Ready: true})
	}
	return c.JSON(http.StatusServiceUnavailable, Ready{Reason: reason})
}
