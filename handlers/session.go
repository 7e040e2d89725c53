package handlers

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/auth"
)

// signIn is POST /session: it puts the bearer token into a cookie, which a plain
// EventSource sends.
func (h *handlers) signIn(c echo.Context) error {
	request := c.Request()
	if err := h.sites.mayAct(request); err != nil {
		return err
	}
	switch {
	case h.Access.Open:
		return c.NoContent(http.StatusNoContent) // no token is needed
	case h.Access.Sessions == nil:
		return echo.ErrNotFound // the application has sessions of its own
	}
	cookie, err := h.Access.Sessions.SignIn(request, h.https(request))
	if err != nil {
		return err
	}
	if err := h.allowCrossSite(request, cookie); err != nil {
		return err
	}
	return answerCookie(c, cookie)
}

// signOut is DELETE /session: it removes the cookie, and does not revoke the token itself.
func (h *handlers) signOut(c echo.Context) error {
	request := c.Request()
	if err := h.sites.mayAct(request); err != nil {
		return err
	}
	h.endLogin(c)
	if h.Access.Sessions == nil && !h.Access.Open {
		return echo.ErrNotFound
	}
	cookie := auth.SignOut(h.https(request))
	if err := h.allowCrossSite(request, cookie); err != nil {
		return err
	}
	return answerCookie(c, cookie)
}

// allowCrossSite makes the cookie work for pages of other sites too, if that is configured. It
// refuses a page of another site whose browser would drop the cookie, since the page can't
// see that.
func (h *handlers) allowCrossSite(r *http.Request, cookie *http.Cookie) error { //nolint:gosec // SignIn and SignOut have set it all
	shared := h.Access.CrossSiteCookie && cookie.Secure // browsers accept no other
	switch {
	case shared:
		cookie.SameSite, cookie.Partitioned = http.SameSiteNoneMode, true
	case r.Header.Get("Sec-Fetch-Site") != "cross-site": // Fetch Metadata, 2.3
	case h.Access.CrossSiteCookie:
		return fault(http.StatusForbidden, "the browser would drop the cookie: for a page of another site it has to come by HTTPS")
	default:
		return fault(http.StatusForbidden, "the browser would drop the cookie, because the page is of another site: set --cross-site-cookie, or send the token with each request")
	}
	return nil
}

// https reports whether the client uses TLS.
func (h *handlers) https(r *http.Request) bool { return h.Access.Proxies.client(r).https }

func answerCookie(c echo.Context, cookie *http.Cookie) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	c.SetCookie(cookie)
	return c.NoContent(http.StatusNoContent)
}
