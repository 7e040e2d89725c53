package handlers

import (
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
)

// maxRevocation is the largest body of a revocation, in bytes.
const maxRevocation = 16 << 10

// revoke is POST /admin/api/revocations: it revokes the tokens of a subject, or one token.
func (h *handlers) revoke(c echo.Context, who identity) error {
	var wanted struct {
		Sub, JTI, Reason string
		Until            *time.Time
	}
	if err := h.adminBody(c, maxRevocation, &wanted, "sub or jti, reason, and until if that is known"); err != nil {
		return err
	}
	revocation := outbox.Revocation{Reason: wanted.Reason, By: who.name(), Until: wanted.Until}
	if wanted.Sub != "" {
		revocation.Sub = &wanted.Sub
	}
	if wanted.JTI != "" {
		revocation.JTI = &wanted.JTI
	}
	revocation, err := h.Admin.Revoke(c.Request().Context(), revocation)
	if err != nil {
		return err
	}
	h.changed(c, who, "revoke tokens", "revocation", revocation.ID, "sub", wanted.Sub, "jti", wanted.JTI, "reason", wanted.Reason)
	return c.JSON(http.StatusCreated, revocation)
}

// revocations is GET /admin/api/revocations: the newest first.
func (h *handlers) revocations(c echo.Context, _ identity) error {
	return records(h, c, "revocations", admin.RevocationPage, h.Admin.Revocations)
}
