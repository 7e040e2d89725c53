package handlers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/auth"
	adminpage "github.com/outcrier/outcrier/handlers/admin"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/audit"
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
	return h.as(func(c echo.Context, who identity) error {
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
		h.unanswered.answered(c.Request().Context(), h.Log, questionFailed(c.Path()))
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
	h.unanswered.log(c.Request().Context(), h.Log, questionFailed(c.Path()), err)
	switch {
	case errors.Is(err, admin.ErrTooSlow):
		return fault(http.StatusServiceUnavailable, "the database did not answer in time: ask for less, or later")
	case errors.Is(err, outbox.ErrNotMigrated):
		return fault(http.StatusServiceUnavailable, "the schema is older than this server: run outcrier migrate up")
	}
	return fault(http.StatusServiceUnavailable, "the database is not available")
}

// queryOf parses the query, and refuses unknown and repeated parameters.
func queryOf(c echo.Context, known ...string) (url.Values, error) {
	query, err := parameters(c, known)
	if err != nil {
		return nil, badRequest(err)
	}
	return query, nil
}

// choice reads a parameter that has two values; without it, it is the first of them.
func choice(query url.Values, name, first, second string) (isSecond bool, err error) {
	switch given := query.Get(name); given {
	case "", first:
		return false, nil
	case second:
		return true, nil
	default:
		return false, fault(http.StatusBadRequest, fmt.Sprintf("%s %.100q is not known; allowed are %s and %s", name, given, first, second))
	}
}

// whole parses a whole number that is not negative; 0 if the text is empty.
func whole(name, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, fault(http.StatusBadRequest, fmt.Sprintf("%s must be a whole number, not %.100q", name, text))
	}
	return n, nil
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

// moment parses a time; zero if the text is empty.
func moment(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return at, fault(http.StatusBadRequest, fmt.Sprintf("%s must be an RFC 3339 time like 2026-11-22T02:00:00Z, not %.100q", name, text))
	}
	return at, nil
}

// Overview is the answer to GET /admin/api/overview.
type Overview struct {
	admin.Overview
	// Node is the node that answers, and About its state.
	Node  string      `json:"node"`
	About audit.About `json:"about"`
	// Samples are the last ten minutes of all nodes that keep an audit, or else of this
	// one, the oldest first.
	Samples []audit.Sample `json:"samples"`
	// OpenHere is how many streams are open at this node.
	OpenHere int `json:"streams_here"`
	// Following and Listening are of its tail.
	Following bool `json:"following"`
	Listening bool `json:"listening"`
	// Audit reports whether it records its streams.
	Audit bool `json:"audit"`
	Whoami
}

// Whoami is the answer to GET /admin/api/identity, and part of the overview.
type Whoami struct {
	// Subject is the subject of the token; Expires is nil where no token is needed.
	Subject string     `json:"subject"`
	Expires *time.Time `json:"expires"`
	// Grants are those of admins that the identity has.
	Grants []auth.Grant `json:"grants"`
}

func newWhoami(who identity) Whoami {
	w := Whoami{Subject: who.Subject, Grants: who.granted()}
	if !who.Expires.IsZero() {
		w.Expires = &who.Expires
	}
	return w
}

// whoami is GET /admin/api/identity: with it the page hides actions that would be refused.
func (h *handlers) whoami(c echo.Context, who identity) error {
	_, err := queryOf(c)
	return h.answer(c, newWhoami(who), err)
}

func (h *handlers) overview(c echo.Context, who identity) (err error) {
	if _, err := queryOf(c); err != nil {
		return err
	}
	state, err := h.Admin.Overview(c.Request().Context())
	if err != nil {
		return err
	}
	// What a transaction runs may have the values of the events that it appends.
	if slices.ContainsFunc(state.Open, func(open admin.OpenTransaction) bool { return open.Query != nil }) {
		ended := h.noteRead(c, who)
		defer func() { ended(err) }()
	}
	tail := h.TailStatus()
	answer := Overview{
		Overview: state, Node: h.Streamer.Node, About: h.Sampler.About(), Following: tail.Following, Listening: tail.Listening,
		OpenHere: h.Streamer.Open(), Audit: h.Audit != nil, Whoami: newWhoami(who),
	}
	answer.Samples = mergeSamples(state.Nodes)
	if h.Audit == nil || len(answer.Samples) == 0 {
		answer.Samples = answer.About.Samples
	}
	return h.answer(c, answer, nil)
}

// mergeSamples puts the samples of several nodes into one row. Streams are added. Events are
// not, since each node reads every event, and of the lags the largest counts.
func mergeSamples(nodes []admin.Node) []audit.Sample {
	by := map[int64]audit.Sample{}
	for _, node := range nodes {
		if node.About == nil {
			continue
		}
		for _, s := range node.About.Samples {
			at := s.At.Unix()
			sum := by[at]
			by[at] = audit.Sample{At: s.At, Events: max(sum.Events, s.Events), Streams: sum.Streams + s.Streams, Lag: max(sum.Lag, s.Lag)}
		}
	}
	samples := slices.Collect(maps.Values(by))
	slices.SortFunc(samples, func(a, b audit.Sample) int { return a.At.Compare(b.At) })
	// The newest samples of some nodes may still be missing.
	if n := len(samples); n > 2 && len(nodes) > 1 {
		samples = samples[:n-1]
	}
	return samples
}
