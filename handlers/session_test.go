package handlers_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse/ssetest"
)

func TestSession_MakesATokenACookieAndTakesItBack(t *testing.T) {
	t.Parallel()
	n := closed(t, nil)
	a := do(t, "POST", n.url+"/session", "", append(bearer(ann), "Cookie", "outcrier_token=the.old.one", "Sec-Fetch-Site", "same-origin")...)
	if a.status != http.StatusNoContent || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	cookie := must(http.ParseSetCookie(a.header.Get("Set-Cookie")))
	if cookie.Name != "outcrier_token" || cookie.Value != ann || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Secure || cookie.Path != "/" || cookie.Domain != "" {
		t.Errorf("%+v", cookie)
	}
	if life := time.Duration(cookie.MaxAge) * time.Second; life > time.Hour || life < 50*time.Minute {
		t.Errorf("it lives %v", life)
	}
	ssetest.Open(t, n.events("topic=a"), "Cookie", "outcrier_token="+cookie.Value, "Sec-Fetch-Site", "same-origin").Until("outcrier.live")

	a = do(t, "DELETE", n.url+"/session", "", "Cookie", "outcrier_token="+ann, "Sec-Fetch-Site", "same-origin")
	if gone := must(http.ParseSetCookie(a.header.Get("Set-Cookie"))); a.status != http.StatusNoContent || gone.Value != "" || gone.MaxAge >= 0 || !gone.HttpOnly {
		t.Errorf("%d: %+v", a.status, gone)
	}
	do(t, "GET", n.events("topic=a"), "", "Cookie", "outcrier_token=").wantProblem(t, 401, "a token is needed")
}

func TestSession_RefusesWhatIsNoCookie(t *testing.T) {
	t.Parallel()
	n := closed(t, nil)
	many := make([]outbox.Pattern, 10)
	for i := range many {
		many[i] = outbox.Pattern(strings.Repeat("a", 250))
	}
	long := mint("ann", time.Hour, many...)
	a := do(t, "POST", n.url+"/session", "", bearer(long)...)
	a.wantProblem(t, 400, "a cookie can have")
	if a.header.Get("Set-Cookie") != "" {
		t.Error("it is set all the same")
	}
	do(t, "GET", n.url+"/session", "").wantProblem(t, 405, "POST", "DELETE")
}

// The cookie is Secure where the browser came by TLS, to us or to a proxy that we
// believe.
func TestSession_CookieIsSecureOverTLS(t *testing.T) {
	t.Parallel()
	proxied := func(access *handlers.Access) {
		access.Proxies.Networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	}
	for name, test := range map[string]struct {
		change  func(*handlers.Access)
		headers []string
		secure  bool
	}{
		"plain":                         {nil, nil, false},
		"a client's word":               {nil, []string{"X-Forwarded-Proto", "https"}, false},
		"a proxy's word":                {proxied, []string{"X-Forwarded-Proto", "https", "X-Forwarded-For", "192.0.2.1"}, true},
		"a client's word before":        {proxied, []string{"X-Forwarded-Proto", "https, http"}, false},
		"the other header of the proxy": {proxied, []string{"Forwarded", "for=192.0.2.1;proto=https"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := do(t, "POST", closed(t, test.change).url+"/session", "", append(bearer(ann), test.headers...)...)
			if cookie := must(http.ParseSetCookie(a.header.Get("Set-Cookie"))); cookie.Secure != test.secure {
				t.Errorf("%+v", cookie)
			}
			if a.header.Get("Strict-Transport-Security") != "" {
				t.Error("HSTS without TLS")
			}
		})
	}
	n := newNode(t, func(n *node) { n.access, n.start = closedAccess(), (*httptest.Server).StartTLS })
	request := must(http.NewRequestWithContext(t.Context(), "POST", n.url+"/session", nil))
	request.Host = "events.example.com"
	request.Header.Set("Authorization", "Bearer "+ann)
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if cookies := response.Cookies(); len(cookies) != 1 || !cookies[0].Secure {
		t.Errorf("%v", cookies)
	}
	if got := response.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
		t.Errorf("HSTS is %q", got)
	}
}

// TestSession_TellsAPageWhoseCookieTheBrowserWouldDrop has pages of another site sign in.
// Browsers take the cookie only if it is SameSite=None, which has to be Secure.
func TestSession_TellsAPageWhoseCookieTheBrowserWouldDrop(t *testing.T) {
	t.Parallel()
	const app = "https://app.example.org"
	for name, test := range map[string]struct {
		shared  bool
		headers []string
		problem string
		site    http.SameSite
	}{
		"another site":                   {false, []string{"Sec-Fetch-Site", "cross-site"}, "--cross-site-cookie", 0},
		"another site over HTTP":         {true, []string{"Sec-Fetch-Site", "cross-site"}, "HTTPS", 0},
		"another site, as it is to be":   {true, []string{"Sec-Fetch-Site", "cross-site", "X-Forwarded-Proto", "https", "X-Forwarded-For", "192.0.2.1"}, "", http.SameSiteNoneMode},
		"the same site":                  {false, []string{"Sec-Fetch-Site", "same-site"}, "", http.SameSiteLaxMode},
		"the same site over HTTP":        {true, []string{"Sec-Fetch-Site", "same-site"}, "", http.SameSiteLaxMode},
		"no browser, or one of long ago": {false, nil, "", http.SameSiteLaxMode},
	} {
		t.Run(name, func(t *testing.T) {
			n := closed(t, func(access *handlers.Access) {
				access.Origins, access.CrossSiteCookie = []string{app}, test.shared
				access.Proxies.Networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
			})
			for _, method := range []string{"POST", "DELETE"} {
				a := do(t, method, n.url+"/session", "", append(append(bearer(ann), "Origin", app), test.headers...)...)
				if test.problem != "" {
					a.wantProblem(t, 403, "the browser would drop the cookie", test.problem)
					if a.header.Get("Set-Cookie") != "" {
						t.Errorf("%s: it is set all the same", method)
					}
					continue
				}
				cookie := must(http.ParseSetCookie(a.header.Get("Set-Cookie")))
				if none := test.site == http.SameSiteNoneMode; a.status != http.StatusNoContent || cookie.SameSite != test.site || cookie.Partitioned != none || none && !cookie.Secure {
					t.Errorf("%s: %d %+v", method, a.status, cookie)
				}
			}
		})
	}
}
