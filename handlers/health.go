package handlers

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/tail"
)

// healthz is GET /healthz: an answer means that the process is alive.
func (h *handlers) healthz(c echo.Context) error {
	return stated(c, http.StatusOK, map[string]string{"status": "ok"})
}

// stated answers with what is so at this moment: a cache in front of the node, which keeps
// an answer that says nothing of it, would hold a node for ready after it went.
func stated(c echo.Context, status int, state any) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(status, state)
}

// Ready is the answer of /readyz.
type Ready struct {
	Ready bool `json:"ready"`
	// Reason is why the node is not ready.
	Reason string `json:"reason,omitempty"`
	// WakeUp is how the tail learns of commits: "notify", "poll" or, until LISTEN was
	// tested, "testing". While it is not "notify" an event may come up to 100 ms late.
	WakeUp string `json:"wake_up,omitempty"`
	// Note is advice for a tail that polls although it should be notified.
	Note string `json:"note,omitempty"`
}

// withoutKeys reports whether no token can be verified, since the JWKS never came, or is
// too old to be trusted.
func (h *handlers) withoutKeys() bool {
	if h.Access.Sessions == nil {
		return false
	}
	keys := h.Access.Sessions.Status()
	return keys.JWKS && keys.Keys == 0 && keys.Fault != nil
}

// readyz is GET /readyz: a node is ready for streams if its tail follows the table, replays
// can read it, tokens can be verified, and it does not shut down. A tail without LISTEN is
// up to 100 ms slower, but ready: a change at a pooler would otherwise take all nodes out
// at once.
func (h *handlers) readyz(c echo.Context) error {
	status := h.TailStatus()
	var reason string
	switch {
	case h.Streamer.Draining(), h.Draining != nil && h.Draining():
		reason = "the server drains"
	case !status.Following && status.Err != nil:
		reason, _ = outbox.Explain(status.Err)
	case !status.Following:
		reason = "the tail has not caught up yet"
	case h.withoutKeys():
		reason = "the keys to verify tokens are not available: the JWKS can't be fetched"
	case !h.Access.Open && !h.Access.Revocations.Known():
		reason = "the revoked tokens are not known yet: the log says why, if that lasts"
	default:
		if h.Database != nil {
			if fault := h.Database(c.Request().Context()); fault != nil {
				reason, _ = outbox.Explain(fault)
				break
			}
		}
		ready := Ready{Ready: true, WakeUp: "poll"}
		switch status.Listen {
		case tail.ListenWorks:
			ready.WakeUp = "notify"
		case tail.ListenTesting:
			ready.WakeUp = "testing"
		case tail.ListenUnheard:
			ready.Note = "LISTEN is not heard, so the tail polls every 100 ms: through a transaction pooler it needs a direct connection (--direct-url)"
		case tail.ListenQueueFull:
			ready.Note = "writers don't notify, so the tail polls every 100 ms: the notification queue of Postgres is more than half full, since a session that listens stays in a transaction"
		case tail.ListenOff:
		}
		return stated(c, http.StatusOK, ready)
	}
	return stated(c, http.StatusServiceUnavailable, Ready{Reason: reason})
}
