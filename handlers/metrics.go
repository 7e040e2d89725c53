package handlers

import (
	"net/http"
	"sync/atomic"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/auth"
)

// Traffic counts the streams, polls and appends of the routes.
type Traffic struct {
	// HTTP1 and HTTP2 are the streams that are open over the one and the other, WebSocket
	// those on WebSockets, Polls the long polls that wait.
	HTTP1, HTTP2, WebSocket, Polls atomic.Int64
	// Appends counts the requests that appended, Appended the events.
	Appends, Appended atomic.Int64
}

// over returns the count of streams of a request's protocol.
func (t *Traffic) over(r *http.Request) *atomic.Int64 {
	if r.ProtoMajor >= 2 {
		return &t.HTTP2
	}
	return &t.HTTP1
}

// metrics is GET /metrics. Metrics name no topic and no person, but show how busy the
// business is.
func (h *handlers) metrics(c echo.Context, who identity) error {
	if err := who.may(auth.GrantMetrics); err != nil {
		return err
	}
	return h.metricsOpen(c)
}

func (h *handlers) metricsOpen(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return h.count(c, h.Metrics)
}
