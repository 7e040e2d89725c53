package handlers

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/auth"
)

// Problem is the body of every error answer: problem JSON (RFC 9457).
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail describes the fault and what would be allowed.
	Detail string `json:"detail,omitempty"`
	// Topic is the refused topic, and Parameter the wrong parameter of the query, so that a
	// client can leave it out and go on with the others.
	Topic     string `json:"topic,omitempty"`
	Parameter string `json:"parameter,omitempty"`
	// Grants are those of admins of which one is needed, and missing.
	Grants []auth.Grant `json:"grants,omitempty"`
}

// about is an error about a parameter of the query, or a topic.
type about struct {
	error
	parameter, topic string
}

func (a about) Unwrap() error { return a.error }

// fault returns an error whose detail the client gets.
func fault(status int, detail string) error {
	return echo.NewHTTPError(status, detail)
}

// statusOf returns how an error is answered, and the refusal that it is, if it is one.
func statusOf(err error) (status int, detail string, refusal *auth.Refusal) {
	status = http.StatusInternalServerError
	var known *echo.HTTPError
	if errors.As(err, &known) {
		status = known.Code
		if text, ok := known.Message.(string); ok && text != http.StatusText(status) {
			detail = text
		}
	}
	if errors.As(err, &refusal) {
		status, detail = refusal.Status, refusal.Detail
	}
	return status, detail, refusal
}

// problem answers with an error. An answer that was begun is cut off instead: after the
// status line there is no error answer, and its reader must not take it for complete.
func (h *handlers) problem(err error, c echo.Context) {
	if c.Response().Committed {
		panic(http.ErrAbortHandler)
	}
	status, detail, refusal := statusOf(err)
	request, header := c.Request(), c.Response().Header()
	var missing []auth.Grant
	if refusal != nil {
		missing = refusal.Grants
		if challenge := refusal.Challenge(); challenge != "" {
			header.Set(echo.HeaderWWWAuthenticate, challenge)
		}
	}
	var what about
	errors.As(err, &what) // otherwise about nothing in particular
	h.refused(c, status, err, detail)
	switch {
	case status == http.StatusNotFound && detail == "":
		detail = "no such path: " + request.URL.Path
	case status == http.StatusMethodNotAllowed && detail == "":
		detail = request.Method + " is not allowed here; allowed are: " + header.Get(echo.HeaderAllow)
	case status >= 500 && status != http.StatusServiceUnavailable && refusal == nil:
		// A 503 is intended: the code that answers with it has logged the cause.
		h.Log.ErrorContext(request.Context(), "request failed", "method", request.Method, "path", request.URL.Path, "status", status, "err", err)
	}
	if status == http.StatusServiceUnavailable {
		header.Set(echo.HeaderRetryAfter, "2")
	}
	header.Set(echo.HeaderCacheControl, "no-store")
	if request.ContentLength != 0 && request.ProtoMajor == 1 {
		// net/http would wait for the rest of the body before it sends an answer.
		header.Set(echo.HeaderConnection, "close")
	}
	// Strings and a number can't fail. Their quotes of the request may be long, and six times
	// as long in JSON: an answer that is not read must not hold more than its request.
	body, _ := json.Marshal(Problem{"about:blank", http.StatusText(status), status, short(detail), short(what.topic), short(what.parameter), missing})
	if request.Method == http.MethodHead {
		body = nil
	}
	if err := c.Blob(status, "application/problem+json", body); err != nil {
		h.Log.DebugContext(request.Context(), "error answer not written", "err", err)
	}
}

// problemText is the longest text of a problem, in bytes.
const problemText = 1000

// short cuts a text to problemText.
func short(text string) string {
	if len(text) <= problemText {
		return text
	}
	return strings.ToValidUTF8(text[:problemText], "") + "…"
}
