package handlers

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/client"
)

const (
	forScripts = "text/javascript; charset=utf-8"
	// A node of another version may answer at the same address.
	aWhile = "public, max-age=600"
	// The name of a part has a hash of its content.
	forGood = "public, max-age=31536000, immutable"
)

// module serves a file of the browser module. It is the same for everyone: pages of all
// origins may load it, and caches may keep it.
func module(kind, cache string, content []byte) echo.HandlerFunc {
	sum := sha256.Sum256(content)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	return func(c echo.Context) error {
		header := c.Response().Header()
		header.Set(echo.HeaderContentType, kind)
		header.Set("ETag", tag)
		header.Set(echo.HeaderCacheControl, cache)
		header.Set(echo.HeaderAccessControlAllowOrigin, "*")
		header.Set("Cross-Origin-Resource-Policy", "cross-origin")
		http.ServeContent(c.Response(), c.Request(), "", time.Time{}, bytes.NewReader(content))
		return nil
	}
}

// moduleParts are the files that the module loads when they are needed, by name.
var moduleParts = sync.OnceValue(func() map[string]echo.HandlerFunc {
	all := map[string]echo.HandlerFunc{}
	for name, content := range client.Parts() {
		all[name] = module(forScripts, forGood, content)
	}
	return all
})

// part answers GET /client/:part. Paths that are no part's may be Home's.
func (h *handlers) part(c echo.Context) error {
	serve, is := moduleParts()[c.Param("part")]
	get := slices.Contains([]string{http.MethodGet, http.MethodHead}, c.Request().Method)
	switch {
	case is && get:
		return serve(c)
	case is:
		c.Response().Header().Set(echo.HeaderAllow, "GET, HEAD")
		return echo.ErrMethodNotAllowed
	case h.Home != nil:
		return echo.WrapHandler(h.Home)(c)
	}
	return echo.ErrNotFound
}
