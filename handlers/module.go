package handlers

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// module serves a file of the browser module. It is the same for everyone: pages of all
// origins may load it, and caches may keep it.
func module(kind string, content []byte) echo.HandlerFunc {
	sum := sha256.Sum256(content)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	return func(c echo.Context) error {
		header := c.Response().Header()
		header.Set(echo.HeaderContentType, kind)
		header.Set("ETag", tag)
		// A node of another version may answer at the same address.
		header.Set(echo.HeaderCacheControl, "public, max-age=600")
		header.Set(echo.HeaderAccessControlAllowOrigin, "*")
		header.Set("Cross-Origin-Resource-Policy", "cross-origin")
		http.ServeContent(c.Response(), c.Request(), "", time.Time{}, bytes.NewReader(content))
		return nil
	}
}
