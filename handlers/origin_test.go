package handlers

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
)

// An origin that a setting may name is a scheme and a host, and is written as
// browsers do: to read it again changes nothing.
func FuzzOrigin(f *testing.F) {
	for _, origin := range []string{"https://app.example.com", "HTTPS://APP.example.com:443", "http://[::1]:80", "https://*.example.com", "null", "https://a@b", "https://a/", "https://a?", "https://é.example", "http://\xb5\xfb,"} {
		f.Add(origin)
	}
	f.Fuzz(func(t *testing.T, text string) {
		origin, err := ParseOrigin(text)
		if err != nil {
			return
		}
		if again, err := ParseOrigin(origin); err != nil || again != origin {
			t.Fatalf("%q is %q, and that %q, %v", text, origin, again, err)
		}
		u, err := url.Parse(origin)
		if err != nil || u.Scheme+"://"+u.Host != origin || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
			t.Fatalf("%q is %q", text, origin)
		}
		if strings.ContainsAny(origin, "*\r\n\x00 \t,") || origin != strings.ToLower(origin) {
			t.Fatalf("%q is %q", text, origin)
		}
	})
}

// Whatever a page sends as its origin, method and headers, an answer lets it read only
// if it is the one that is allowed, byte for byte, and a preflight allows only the
// listed methods and headers.
func FuzzCORS(f *testing.F) {
	const trusted = "https://app.example.com"
	for _, origin := range []string{trusted, "null", "https://app.example.com.evil.example", "https://APP.example.com", trusted + ":443", "*", trusted + " ", "https://evil.example, " + trusted} {
		f.Add(origin, "POST", "authorization,content-type", "/events")
		f.Add(origin, "DELETE", "x-evil", "/session")
	}
	h := &handlers{sites: newSites([]string{trusted})}
	reached := h.cors(func(c echo.Context) error { return c.NoContent(http.StatusTeapot) })
	f.Fuzz(func(t *testing.T, origin, method, names, path string) {
		for _, verb := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
			r := &http.Request{Method: verb, URL: &url.URL{Path: path}, Host: "outcrier.example", Header: http.Header{
				"Origin": {origin}, "Access-Control-Request-Method": {method}, "Access-Control-Request-Headers": {names},
			}}
			w := httptest.NewRecorder()
			err := reached(echo.New().NewContext(r, w))
			got := w.Result().Header
			allowed := got.Get("Access-Control-Allow-Origin")
			if allowed != "" && (allowed != trusted || origin != trusted) || got.Get("Access-Control-Allow-Credentials") == "true" && allowed == "" {
				t.Fatalf("%q is allowed as %q", origin, allowed)
			}
			if resources[path] != nil && !strings.Contains(strings.Join(got.Values("Vary"), ","), "Origin") {
				t.Fatal("a cache may give it to others")
			}
			preflight := verb == http.MethodOptions && method != "" && resources[path] != nil
			if !preflight {
				if err != nil || w.Code != http.StatusTeapot {
					t.Fatalf("%s %s by %q: %d, %v", verb, path, origin, w.Code, err)
				}
				continue
			}
			if err == nil && (w.Code != http.StatusNoContent || origin != trusted) {
				t.Fatalf("preflight by %q: %d", origin, w.Code)
			}
			if err != nil {
				continue
			}
			for name := range strings.SplitSeq(names, ",") {
				if name = strings.ToLower(strings.TrimSpace(name)); name != "" && !strings.Contains(" "+strings.Join(sharedHeaders, " ")+" ", " "+name+" ") {
					t.Fatalf("allowed is the header %q", name)
				}
			}
		}
	})
}

// A Host is loopback's only if it is "localhost" or an address of loopback,
// whatever else stands around it.
func FuzzIsLoopback(f *testing.F) {
	for _, host := range []string{"localhost", "localhost:80", "127.0.0.1:8080", "[::1]:80", "::1", "localhost.evil.example", "127.0.0.1.evil.example", "[::ffff:127.0.0.1]", "LOCALHOST", "localhost.", "127.1", "0x7f.1", "[[::1]]", "127.0.0.1@evil.example", "::1%lo", "localhost:@", "localhost:", "::1%00@"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !IsLoopback(host) {
			return
		}
		// As a browser would read the URL that it comes from, if there can be one.
		u, err := url.Parse("http://" + host)
		if err != nil {
			return
		}
		name := u.Hostname()
		address, err := netip.ParseAddr(strings.Trim(name, "[]"))
		if name != "localhost" && (err != nil || !address.IsLoopback()) {
			t.Fatalf("%q is taken for loopback's; its name is %q", host, name)
		}
	})
}

func TestParseHeader(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"X-Request-Id": "x-request-id", "baggage": "baggage", "": "", "a b": "", "a,b": "", "*": "", "Cookie": "", "Sec-Fetch-Site": "", "é": "",
	} {
		if got, err := ParseHeader(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}
