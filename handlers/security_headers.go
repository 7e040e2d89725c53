package handlers

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// policy is the Content-Security-Policy of every answer that does not set its own. These
// answers are not pages: if a browser renders one by mistake, it may do nothing.
const policy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// securityHeaders runs before all routes. It sets the response headers of every answer, and
// enforces the limits of every request.
func (h *handlers) securityHeaders(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		request, header := c.Request(), c.Response().Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Content-Security-Policy", policy)
		header.Set("Referrer-Policy", "no-referrer") // the query may hold a token
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		if request.TLS != nil && !IsLoopback(request.Host) {
			header.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if request.ContentLength != 0 {
			// For each read of the body, also of the rest that a handler does not read.
			_ = http.NewResponseController(c.Response().Writer).SetReadDeadline(time.Now().Add(h.Access.Limits.BodyTime))
		}
		if most := h.Access.Limits.URLBytes; most > 0 && len(request.RequestURI) > most {
			return fault(http.StatusRequestURITooLong, fmt.Sprintf("path and query may have at most %d bytes", most))
		}
		// An attacker's name can be made to resolve to loopback, and then a page of that
		// name has the same origin (DNS rebinding).
		if h.Access.Open && !IsLoopback(request.Host) {
			return fault(http.StatusMisdirectedRequest, "this server needs no token, and so answers only to localhost and addresses of loopback")
		}
		return next(c)
	}
}

// IsLoopback reports whether a request's Host, with or without a port, is a name that can
// only mean this machine.
func IsLoopback(host string) bool {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil && port != "" {
			return false
		}
		host = name
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && address.Zone() == "" && address.IsLoopback()
}
