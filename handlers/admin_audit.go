package handlers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/audit"
)

// showNoEvent are the requests that show no event, but for an overview with queries, which
// is recorded by noteRead.
var showNoEvent = []string{"/admin/api/identity", "/admin/api/overview", "/admin/api/trend"}

// onRecord calls do, and records the request of an admin: who asked for what, with which
// outcome. Requests that show no event, which an open page repeats every few seconds, are
// not recorded. An act does not begin before it is on record, and neither does an export,
// which reads more than all other requests together.
func (h *handlers) onRecord(c echo.Context, who identity, do func() error) error {
	if h.Audit == nil || slices.Contains(showNoEvent, c.Path()) {
		return do()
	}
	request := adminRequest(c, who)
	ctx := c.Request().Context()
	var record *audit.AdminRecord
	var err error
	if request.Repeats && c.Path() != "/admin/api/export" {
		record = h.Audit.AdminRequest(request)
	} else {
		request.Repeats = false
		record, err = h.Audit.AdminAct(ctx, request)
	}
	defer record.Ended(audit.AdminOutcome{Why: "the server failed"}) // if do panics
	if err != nil {
		if ctx.Err() == nil { // else the client is gone
			h.unanswered.fails(ctx, recordFailed, err)
		}
		err = fault(http.StatusServiceUnavailable, "nothing was done: the request could not be put on record")
	} else {
		if !request.Repeats {
			h.unanswered.answered(ctx, recordFailed)
		}
		err = do()
	}
	record.Ended(outcome(c, err))
	return err
}

// noteRefusal records an act for which an admin lacks the grant. Identities that have no
// grant at all are in the log only, or anybody could fill the audit.
func (h *handlers) noteRefusal(c echo.Context, who identity, err error) {
	request := adminRequest(c, who)
	if h.Audit == nil || request.Repeats || len(who.granted()) == 0 {
		return
	}
	h.Audit.AdminRequest(request).Ended(outcome(c, err))
}

// noteRead records a read of a route that otherwise shows no event. The function that it
// returns is called after the answer, with the handler's error.
func (h *handlers) noteRead(c echo.Context, who identity) (ended func(error)) {
	record := h.Audit.AdminRequest(adminRequest(c, who))
	return func(err error) { record.Ended(outcome(c, err)) }
}

func adminRequest(c echo.Context, who identity) audit.AdminRequest {
	question := make(map[string]string)
	for i, name := range c.ParamNames() {
		question[name] = c.ParamValues()[i]
	}
	query, _ := url.ParseQuery(c.Request().URL.RawQuery) // malformed parameters are refused
	for name, values := range query {
		if name != "token" && len(values) > 0 {
			question[name] = values[0]
		}
	}
	method := c.Request().Method
	return audit.AdminRequest{
		Subject: who.Subject, ClientAddress: who.address, Request: method + " " + c.Path(), Question: question,
		Repeats: method == http.MethodGet || method == http.MethodHead,
	}
}

// quoted matches the quotations in a problem: they may be of the body, which is not recorded.
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"?|'[^']*'?`)

// outcome returns the outcome of a request; err is the problem to answer with.
func outcome(c echo.Context, err error) audit.AdminOutcome {
	done, _ := c.Get(doneKey).(map[string]any)
	o := audit.AdminOutcome{Done: done}
	var known *echo.HTTPError
	var refusal *auth.Refusal
	switch response := c.Response(); {
	case err != nil && response.Committed:
		o.Status, o.Why = response.Status, "the answer broke off"
	case errors.As(err, &refusal):
		o.Status, o.Why = refusal.Status, refusal.Detail
	case errors.As(err, &known):
		o.Status, o.Why = known.Code, quoted.ReplaceAllString(fmt.Sprint(known.Message), "…")
	case err != nil:
		o.Status, o.Why = http.StatusInternalServerError, "the server failed"
	case !response.Committed:
		o.Why = "the client left before the answer"
	default:
		o.Status = response.Status
	}
	return o
}

// doneKey is the key in the echo context of the values that changed notes.
const doneKey = "outcrier.done"

// changed logs a change by an admin, and notes it for the record of the request. more are
// pairs of a name and an id, a number or another name.
func (h *handlers) changed(c echo.Context, who identity, what string, more ...any) {
	done := map[string]any{"what": what}
	for pair := range slices.Chunk(more, 2) {
		done[pair[0].(string)] = pair[1] //nolint:forcetypeassert // as slog has them
	}
	maps.DeleteFunc(done, func(_ string, value any) bool { return value == "" })
	c.Set(doneKey, done)
	h.Log.InfoContext(c.Request().Context(), "admin changed something", append([]any{"what", what, "subject", who.Subject, "address", who.address}, more...)...)
}

// requests is GET /admin/api/requests: what admins asked and did, the newest first.
func (h *handlers) requests(c echo.Context, _ identity) error {
	return records(h, c, "requests", admin.RequestPage, func(ctx context.Context, before int64) ([]admin.Requested, error) {
		acts, err := choice(c.QueryParams(), "acts", "false", "true")
		if err != nil {
			return nil, err
		}
		return h.Admin.Requests(ctx, admin.RequestSearch{Subject: c.QueryParam("subject"), About: c.QueryParam("about"), Acts: acts, Before: before})
	}, "subject", "about", "acts")
}
