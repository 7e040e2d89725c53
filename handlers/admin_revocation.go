package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/outbox"
)

// maxRevocation is the largest body of a revocation, in bytes.
const maxRevocation = 16 << 10

// revoke is POST /admin/api/revocations: it revokes the tokens of a subject, or one token.
func (h *handlers) revoke(c echo.Context, who identity) error {
	if _, err := asked(c); err != nil {
		return err
	}
	body, err := h.readBody(c, maxRevocation, "application/json")
	if err != nil {
		return err
	}
	var wanted struct {
		Sub, JTI, Reason string
		Until            *time.Time
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err = decoder.Decode(&wanted); err == nil {
		err = nothingMore(decoder)
	}
	const form = "a revocation has sub or jti, reason, and until if that is known"
	switch {
	case errors.Is(err, io.EOF):
		return fault(http.StatusBadRequest, "the body is empty: "+form)
	case err != nil:
		return fault(http.StatusBadRequest, strings.TrimPrefix(jsonFault(err).Error(), "json: ")+"; "+form)
	}
	revocation := outbox.Revocation{Reason: wanted.Reason, By: who.name(), Until: wanted.Until}
	if wanted.Sub != "" {
		revocation.Sub = &wanted.Sub
	}
	if wanted.JTI != "" {
		revocation.JTI = &wanted.JTI
	}
	if revocation, err = h.Admin.Revoke(c.Request().Context(), revocation); err != nil {
		return err
	}
	h.changed(c, who, "revoke tokens", "revocation", revocation.ID, "sub", wanted.Sub, "jti", wanted.JTI, "reason", wanted.Reason)
	return c.JSON(http.StatusCreated, revocation)
}

// revocations is GET /admin/api/revocations: the newest first.
func (h *handlers) revocations(c echo.Context, _ identity) error {
	return records(h, c, "revocations", outbox.RevocationPage, h.Admin.Revocations)
}
