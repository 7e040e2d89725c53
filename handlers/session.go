package handlers

import (
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/auth"
)

// maxCookieBytes is how much of name and value browsers keep (RFC 6265bis, 5.6).
const maxCookieBytes = 4096

// signIn is POST /session: it makes the bearer token a cookie, which a plain
// EventSource sends. The cookie of before is not looked at, it is to be replaced.
func (h *handlers) signIn(c echo.Context) error {
	request := c.Request()
	if err := h.sites.mayAct(request); err != nil {
		return err
	}
	if h.Access.Open {
		return c.NoContent(http.StatusNoContent) // no token is needed
	}
	token, _, err := auth.HeaderToken(request)
	if err != nil {
		return err
	}
	if token == "" {
		return &auth.Refusal{Status: http.StatusUnauthorized, Detail: "a token is needed, in Authorization"}
	}
	who, err := h.verify(request.Context(), caller{}, token)
	if err != nil {
		return err
	}
	if most := maxCookieBytes - len(auth.Cookie); len(token) > most {
		return fault(http.StatusBadRequest, fmt.Sprintf("the token has %d bytes, a cookie can have %d", len(token), most))
	}
	h.setCookie(c, token, int(time.Until(who.Expires).Seconds()))
	return c.NoContent(http.StatusNoContent)
}

// signOut is DELETE /session. The token stays good for who kept it; the cookie is
// gone.
func (h *handlers) signOut(c echo.Context) error {
	if err := h.sites.mayAct(c.Request()); err != nil {
		return err
	}
	h.setCookie(c, "", -1)
	return c.NoContent(http.StatusNoContent)
}

// setCookie keeps the cookie from scripts, and from what pages of other sites make
// a browser send.
func (h *handlers) setCookie(c echo.Context, token string, seconds int) {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	c.SetCookie(&http.Cookie{ //nolint:gosec // Secure where the client came by TLS: without it the browser would not keep it
		Name: auth.Cookie, Value: token, Path: "/", MaxAge: seconds,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: h.Access.Proxies.peer(c.Request()).https,
	})
}
