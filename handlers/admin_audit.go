package handlers

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/outbox"
)

var showNoEvent = []string{"/admin/api/identity", "/admin/api/overview", "/admin/api/trend"}

// noteRequest has a request of an admin recorded before it is answered: who asked for what.
// What shows no event and a page that is open asks for every few seconds is not.
func (h *handlers) noteRequest(c echo.Context, who identity) {
	if h.Audit == nil || slices.Contains(showNoEvent, c.Path()) {
		return
	}
	question := make(map[string]string)
	for i, name := range c.ParamNames() {
		question[name] = c.ParamValues()[i]
	}
	query, _ := url.ParseQuery(c.Request().URL.RawQuery) // what of it is not well-formed is refused
	for name, values := range query {
		if name != "token" && len(values) > 0 {
			question[name] = values[0]
		}
	}
	method := c.Request().Method
	h.Audit.AdminRequest(outbox.AdminRequest{
		Subject: who.Subject, ClientAddress: who.address, Request: method + " " + c.Path(), Question: question,
		Repeats: method == http.MethodGet || method == http.MethodHead,
	})
}
