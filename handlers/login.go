package handlers

import (
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/outbox"
)

// loginRoutes are those by which admins sign in at a provider.
func (h *handlers) loginRoutes(e *echo.Echo) {
	get := func(path string, handler echo.HandlerFunc) {
		e.Match([]string{http.MethodGet, http.MethodHead}, path, handler)
	}
	get("/admin/signin", h.waysIn)
	if h.Access.Login == nil {
		return
	}
	get("/admin/login", h.beginLogin)
	get("/admin/callback", h.finishLogin)
	e.POST("/admin/logout", h.logout)
}

// waysIn is GET /admin/signin: whether there is a provider to sign in at, for the page.
func (h *handlers) waysIn(c echo.Context) error {
	var login any // null without a provider
	if h.Access.Login != nil {
		login = "/admin/login"
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusOK, map[string]any{"login": login})
}

// signInRate and signInsAtOnce are how many attempts to sign in one address may begin or
// finish, per second and at once: they have no principal yet, and each may ask the provider.
const signInRate, signInsAtOnce = 5, 100

func (h *handlers) maySignIn(c echo.Context) error {
	if delay := h.signIns.delay(h.Access.Proxies.client(c.Request()).key(), 1); delay > 0 {
		return tooMany(c, delay, "too many attempts to sign in: allowed are "+perSecond(signInRate)+" from one address")
	}
	return nil
}

// beginLogin is GET /admin/login.
func (h *handlers) beginLogin(c echo.Context) error {
	if err := h.maySignIn(c); err != nil {
		return err
	}
	to, cookie, err := h.Access.Login.Begin(c.Request().Context())
	if err != nil {
		return err
	}
	return redirect(c, to, cookie)
}

// finishLogin is GET /admin/callback.
func (h *handlers) finishLogin(c echo.Context) error {
	if err := h.maySignIn(c); err != nil {
		return err
	}
	cookies, err := h.Access.Login.Finish(c.Request())
	if err != nil {
		return err
	}
	return redirect(c, "/admin", cookies...)
}

func redirect(c echo.Context, to string, cookies ...*http.Cookie) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	for _, cookie := range cookies {
		c.SetCookie(cookie)
	}
	return c.Redirect(http.StatusSeeOther, to)
}

// logout is POST /admin/logout.
func (h *handlers) logout(c echo.Context) error {
	if err := h.sites.mayAct(c.Request()); err != nil {
		return err
	}
	h.endLogin(c)
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.NoContent(http.StatusNoContent)
}

// endLogin removes the cookie of a request's session, and revokes the session, so that no
// node accepts a copy of the cookie.
func (h *handlers) endLogin(c echo.Context) {
	login, request := h.Access.Login, c.Request()
	if login == nil || !login.Carried(request) {
		return
	}
	c.SetCookie(login.SignOut())
	identity, err := login.Authenticate(request)
	if err != nil || h.Admin == nil {
		return // the session has ended already
	}
	_, err = h.Admin.Revoke(request.Context(), outbox.Revocation{JTI: &identity.TokenID, Reason: "signed out", By: identity.Subject, Until: &identity.Expires})
	if err != nil {
		h.Log.WarnContext(request.Context(), "session of an admin not revoked", "subject", identity.Subject, "err", err)
	}
}

// authenticate returns who a request is from. At the admin page's routes a session of the
// provider counts before the cookie that streams have, and after a token in Authorization.
func (h *handlers) authenticate(r *http.Request) (auth.Identity, error) {
	login := h.Access.Login
	if login == nil || !strings.HasPrefix(r.URL.Path, "/admin/") || r.Header.Get(echo.HeaderAuthorization) != "" || !login.Carried(r) {
		return h.Access.Authenticate(r)
	}
	identity, ended := login.Authenticate(r)
	if ended == nil {
		return identity, nil
	}
	identity, err := h.Access.Authenticate(r)
	if errors.Is(err, auth.ErrNoToken) {
		err = ended
	}
	return identity, err
}
