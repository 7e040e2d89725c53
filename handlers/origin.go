package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"golang.org/x/net/http/httpguts"
)

// ParseOrigin returns an origin as browsers write it (RFC 6454, section 6.2): the
// scheme and the host in lower case, and the port unless it is the scheme's own.
func ParseOrigin(text string) (string, error) {
	const want = "want scheme://host or scheme://host:port, like https://app.example.com"
	u, err := url.Parse(text)
	switch {
	case strings.Contains(text, "*"):
		return "", errors.New(want + `: with credentials every origin has to be named, "*" can't be`)
	case text == "null":
		return "", errors.New(want + `: "null" is every sandboxed page of anyone`)
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return "", errors.New(want)
	case !hostname.MatchString(u.Hostname()):
		return "", errors.New(want + ": a name of letters, digits, dots and hyphens, beyond ASCII as xn--…, or an address")
	case u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(text, "?#"):
		return "", errors.New(want + ", and nothing after it")
	}
	host := strings.ToLower(u.Host)
	if port := u.Port(); port == "" || port == map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return u.Scheme + "://" + host, nil
}

// hostname matches a name or an address as browsers write it in an origin; such text needs
// no escapes anywhere.
var hostname = regexp.MustCompile(`^[0-9A-Za-z._-]+$|^[0-9A-Fa-f:.]+$`)

// sites decides which pages of other sites are trusted.
type sites struct {
	origins []string
	crossed *http.CrossOriginProtection
}

func newSites(origins []string) sites {
	s := sites{origins, http.NewCrossOriginProtection()}
	for _, origin := range origins {
		if err := s.crossed.AddTrustedOrigin(origin); err != nil {
			panic(err) // ParseOrigin's are good
		}
	}
	return s
}

// mayAct refuses a request that changes something and that a page of an untrusted site
// made.
func (s sites) mayAct(r *http.Request) error {
	if s.crossed.Check(r) != nil {
		return errCrossSite
	}
	return nil
}

// mayUseCookie refuses a cookie that the browser sent by itself for a page of an untrusted
// site, for reading too: the page could not see the answer, but it could use up its
// visitor's streams.
func (s sites) mayUseCookie(r *http.Request) error {
	return s.mayAct(&http.Request{Method: http.MethodPost, Header: r.Header, Host: r.Host, URL: r.URL})
}

var errCrossSite = fault(http.StatusForbidden, "the request was made by a page of another site, which is not among the origins that are allowed (--allow-origin)")

// resources are the paths that pages of other origins may be allowed to read, with
// their methods.
var resources = map[string][]string{
	"/events":     {http.MethodGet, http.MethodHead, http.MethodPost},
	"/events/:id": {http.MethodGet, http.MethodHead},
	"/session":    {http.MethodPost, http.MethodDelete},
	"/catalogue":  {http.MethodGet, http.MethodHead},
}

// methodsOf returns the methods of the resource at a path, none if there is no such
// resource.
func methodsOf(path string) []string {
	if id, is := strings.CutPrefix(path, "/events/"); is && !strings.Contains(id, "/") {
		path = "/events/:id"
	}
	return resources[path]
}

// sharedHeaders are the request headers that pages of allowed origins may set: those that
// this package reads, and those that scripts for tracing add to every request.
var sharedHeaders = []string{"authorization", "content-type", "idempotency-key", "last-event-id", "traceparent", "tracestate"}

// ParseHeader returns a request header's name in lower case.
func ParseHeader(text string) (string, error) {
	name := strings.ToLower(text)
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return "", errors.New("want the name of a header, like X-Request-Id")
	case name == "*":
		return "", errors.New(`with credentials every header has to be named, "*" can't be`)
	case name == "cookie" || strings.HasPrefix(name, "sec-") || strings.HasPrefix(name, "proxy-"):
		return "", errors.New("pages can't send this header, whatever is allowed")
	}
	return name, nil
}

// cors answers browsers that ask for pages of other origins (Fetch standard, 3.3).
func (h *handlers) cors(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		request, header := c.Request(), c.Response().Header()
		methods := methodsOf(request.URL.Path)
		if methods == nil || len(h.sites.origins) == 0 {
			return next(c)
		}
		// Also on answers without CORS headers: a cache must not give them to other origins.
		header.Add(echo.HeaderVary, echo.HeaderOrigin)
		asked := request.Header.Get(echo.HeaderAccessControlRequestMethod)
		preflight := request.Method == http.MethodOptions && asked != ""
		given := request.Header.Values(echo.HeaderOrigin)
		if len(given) != 1 || !slices.Contains(h.sites.origins, given[0]) {
			if preflight {
				return fault(http.StatusForbidden, "this origin is not allowed")
			}
			return next(c)
		}
		header.Set(echo.HeaderAccessControlAllowOrigin, given[0])
		header.Set(echo.HeaderAccessControlAllowCredentials, "true")
		if !preflight {
			header.Set(echo.HeaderAccessControlExposeHeaders, "Retry-After, WWW-Authenticate")
			return next(c)
		}
		if !slices.Contains(methods, asked) {
			return fault(http.StatusForbidden, fmt.Sprintf("other origins may not use the method %.20q here", asked))
		}
		allowed := slices.Concat(sharedHeaders, h.Access.Headers)
		for name := range strings.SplitSeq(request.Header.Get(echo.HeaderAccessControlRequestHeaders), ",") {
			if name = strings.ToLower(strings.TrimSpace(name)); name != "" && !slices.Contains(allowed, name) {
				return fault(http.StatusForbidden, fmt.Sprintf("other origins may not send the header %.40q here", name))
			}
		}
		header.Add(echo.HeaderVary, echo.HeaderAccessControlRequestMethod+", "+echo.HeaderAccessControlRequestHeaders)
		header.Set(echo.HeaderAccessControlAllowMethods, strings.Join(methods, ", "))
		header.Set(echo.HeaderAccessControlAllowHeaders, strings.Join(allowed, ", "))
		header.Set(echo.HeaderAccessControlMaxAge, "600")
		return c.NoContent(http.StatusNoContent)
	}
}
