package handlers

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/auth"
	adminpage "github.com/outcrier/outcrier/handlers/admin"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/catalogue"
)

// adminRoutes adds the admin page, which is open to all, and its API, for which a token
// needs the grant of each route.
func (h *handlers) adminRoutes(e *echo.Echo) {
	page := echo.WrapHandler(adminpage.Handler())
	for _, path := range []string{"/admin", "/admin/static/*"} {
		e.GET(path, page)
		e.HEAD(path, page)
	}
	const read, operate, catalogue = auth.GrantRead, auth.GrantOperate, auth.GrantCatalogue
	h.adminRoute(e, "/admin/api/identity", routes{http.MethodGet: needs(h.whoami, auth.Grants()...)})
	h.adminRoute(e, "/admin/api/overview", routes{http.MethodGet: needs(h.overview, read)})
	h.adminRoute(e, "/admin/api/trend", routes{http.MethodGet: needs(h.trend, read)})
	h.adminRoute(e, "/admin/api/people", routes{http.MethodGet: needs(h.people, read)})
	h.adminRoute(e, "/admin/api/people/sent", routes{http.MethodGet: needs(h.sent, read)})
	h.adminRoute(e, "/admin/api/people/why", routes{http.MethodGet: needs(h.why, read)})
	h.adminRoute(e, "/admin/api/streams", routes{http.MethodGet: needs(h.streams, read), http.MethodDelete: needs(h.endStreams, operate)})
	h.adminRoute(e, "/admin/api/streams/:run/:stream", routes{http.MethodDelete: needs(h.endStream, operate)})
	h.adminRoute(e, "/admin/api/history", routes{http.MethodGet: needs(h.history, read)})
	h.adminRoute(e, "/admin/api/history/:id", routes{http.MethodGet: needs(h.event, read)})
	h.adminRoute(e, "/admin/api/history/:id/receipts", routes{http.MethodGet: needs(h.receipts, read)})
	h.adminRoute(e, "/admin/api/history/:id/again", routes{http.MethodPost: needs(h.again, operate)})
	h.adminRoute(e, "/admin/api/unsent", routes{http.MethodGet: needs(h.unsent, read)})
	h.adminRoute(e, "/admin/api/export", routes{http.MethodGet: needs(h.export, read)})
	h.adminRoute(e, "/admin/api/events", routes{http.MethodPost: needs(h.publish, operate)})
	h.adminRoute(e, "/admin/api/erasures", routes{http.MethodGet: needs(h.erasures, read, auth.GrantErase), http.MethodPost: needs(h.erase, auth.GrantErase)})
	h.adminRoute(e, "/admin/api/catalogue", routes{http.MethodGet: needs(h.editable, read, catalogue), http.MethodPost: needs(h.createType, catalogue)})
	h.adminRoute(e, "/admin/api/catalogue/:type", routes{http.MethodPut: needs(h.changeType, catalogue), http.MethodDelete: needs(h.deleteType, catalogue)})
	h.adminRoute(e, "/admin/api/revocations", routes{http.MethodGet: needs(h.revocations, read, operate), http.MethodPost: needs(h.revoke, operate)})
	h.adminRoute(e, "/admin/api/requests", routes{http.MethodGet: needs(h.requests, read)})
	h.adminRoute(e, "/admin/api/scheduled", routes{http.MethodGet: needs(h.scheduled, read)})
	h.adminRoute(e, "/admin/api/scheduled/:id", routes{http.MethodDelete: needs(h.cancel, operate)})
}

// routes are the routes of one path, by method.
type routes map[string]route

// route is a handler, and the grants one of which a request needs.
type route struct {
	do    func(echo.Context, identity) error
	anyOf []auth.Grant
}

func needs(do func(echo.Context, identity) error, anyOf ...auth.Grant) route { return route{do, anyOf} }

// adminRoute adds a path. An identity without a grant for any of its methods is refused
// whatever the method is.
func (h *handlers) adminRoute(e *echo.Echo, path string, at routes) {
	if get, ok := at[http.MethodGet]; ok {
		at[http.MethodHead] = get // net/http leaves out the body
	}
	allowed := slices.Sorted(maps.Keys(at))
	var either []auth.Grant
	for _, method := range allowed {
		either = append(either, at[method].anyOf...)
	}
	slices.Sort(either)
	other := needs(func(c echo.Context, _ identity) error {
		c.Response().Header().Set(echo.HeaderAllow, strings.Join(allowed, ", "))
		return echo.ErrMethodNotAllowed
	}, slices.Compact(either)...)
	e.Any(path, h.asAdmin(func(c echo.Context) route {
		if route, ok := at[c.Request().Method]; ok {
			return route
		}
		return other
	}))
}

// asAdmin calls the route of a request if its identity has the grant, and keeps the answer
// out of caches.
func (h *handlers) asAdmin(of func(echo.Context) route) echo.HandlerFunc {
	return h.withIdentity(func(c echo.Context, who identity) error {
		// Before anything is recorded, or read from the database.
		if may, err := h.mayOpen(c, who, false); !may {
			return err
		}
		route := of(c)
		if err := who.may(route.anyOf...); err != nil {
			h.noteRefusal(c, who, err)
			return err
		}
		c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
		return h.onRecord(c, who, func() error {
			err := route.do(c, who)
			// A fault of the client is answered in any case: a body that comes too slowly ends
			// the request's context as well.
			var known *echo.HTTPError
			if err != nil && !errors.As(err, &known) && c.Request().Context().Err() != nil {
				return nil // the client is gone
			}
			return h.adminFault(c, err)
		})
	})
}

// adminFault returns the answer to an error of package outbox.
func (h *handlers) adminFault(c echo.Context, err error) error {
	reason, refused := outbox.Refused(err)
	var known *echo.HTTPError
	switch {
	case err == nil:
		h.unanswered.answered(c.Request().Context(), questionFailed(c.Path()))
		return nil
	case errors.As(err, &known):
		return err
	case errors.Is(err, admin.ErrSearch):
		return fault(http.StatusBadRequest, strings.TrimPrefix(err.Error(), admin.ErrSearch.Error()+": "))
	case refused:
		return fault(http.StatusUnprocessableEntity, reason)
	case errors.Is(err, admin.ErrMayNotErase):
		return fault(http.StatusForbidden, err.Error())
	case errors.Is(err, catalogue.ErrExists), errors.Is(err, catalogue.ErrChanged):
		return fault(http.StatusConflict, err.Error())
	}
	h.unanswered.fails(c.Request().Context(), questionFailed(c.Path()), err)
	switch {
	case errors.Is(err, admin.ErrTooSlow):
		return fault(http.StatusServiceUnavailable, "the database did not answer in time: ask for less, or later")
	case errors.Is(err, outbox.ErrNotMigrated):
		return fault(http.StatusServiceUnavailable, "the schema is older than this server: run outcrier migrate up")
	}
	return fault(http.StatusServiceUnavailable, "the database is not available")
}

// records answers with a page of numbered records under a name, the newest first. The next
// page begins before the number of the last one; page is how many records a full one has.
// known are further parameters of the query, which read looks at.
func records[T any](h *handlers, c echo.Context, name string, page int, read func(ctx context.Context, before int64) ([]T, error), known ...string) error {
	query, err := queryOf(c, append(known, "before")...)
	if err != nil {
		return err
	}
	before, err := whole("before", query.Get("before"))
	if err != nil {
		return err
	}
	list, err := read(c.Request().Context(), before)
	return h.answer(c, map[string]any{name: list, "more": len(list) == page}, err)
}
