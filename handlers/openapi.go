package handlers

import (
	_ "embed"
	"net/http"

	"github.com/labstack/echo/v4"
)

//go:embed openapi.yaml
var openapi []byte

// describe is GET /openapi.yaml.
func (h *handlers) describe(c echo.Context) error {
	return c.Blob(http.StatusOK, "application/yaml", openapi)
}
