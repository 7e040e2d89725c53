package auth_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/auth"
)

func request(query string, headers ...string) *http.Request {
	r := &http.Request{Method: "GET", URL: &url.URL{Path: "/events", RawQuery: query}, Header: http.Header{}}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestRequestToken_TakesOneTokenOrRefuses(t *testing.T) {
	const (
		authorization = "Authorization"
		cookie        = "Cookie"
	)
	const header, fromCookie, fromQuery = auth.FromHeader, auth.FromCookie, auth.FromQuery
	for name, test := range map[string]struct {
		query   string
		headers []string
		allowed bool // in the query
		token   string
		source  auth.Source
		status  int
		says    string
	}{
		"header":                        {"", []string{authorization, "Bearer a.b.c"}, false, "a.b.c", header, 0, ""},
		"scheme in another case":        {"", []string{authorization, "bEARER a.b.c"}, false, "a.b.c", header, 0, ""},
		"several spaces":                {"", []string{authorization, "Bearer   a.b.c "}, false, "a.b.c", header, 0, ""},
		"cookie":                        {"", []string{cookie, "outcrier_token=a.b.c"}, false, "a.b.c", fromCookie, 0, ""},
		"cookie among others":           {"", []string{cookie, `x=1; outcrier_token="a.b.c"; token=z`}, false, "a.b.c", fromCookie, 0, ""},
		"query":                         {"topic=a&token=a.b.c", nil, true, "a.b.c", fromQuery, 0, ""},
		"the same everywhere":           {"token=a.b.c", []string{authorization, "Bearer a.b.c", cookie, "outcrier_token=a.b.c; outcrier_token=a.b.c"}, true, "a.b.c", header, 0, ""},
		"the same in cookie and query":  {"token=a.b.c&token=a.b.c", []string{cookie, "outcrier_token=a.b.c"}, true, "a.b.c", fromCookie, 0, ""},
		"a cookie taken back":           {"", []string{cookie, "outcrier_token=", authorization, "Bearer a.b.c"}, false, "a.b.c", header, 0, ""},
		"none":                          {"", nil, true, "", 0, 401, "a token is needed"},
		"none but an empty cookie":      {"", []string{cookie, "outcrier_token="}, false, "", 0, 401, "a token is needed"},
		"a cookie in another case":      {"", []string{cookie, "Outcrier_Token=a.b.c"}, false, "", 0, 401, "a token is needed"},
		"a cookie of a longer name":     {"", []string{cookie, "outcrier_token2=a.b.c; xoutcrier_token=a.b.c"}, false, "", 0, 401, "a token is needed"},
		"a cookie in the query":         {"outcrier_token=a.b.c&Token=a.b.c", nil, true, "", 0, 401, "a token is needed"},
		"header and cookie differ":      {"", []string{authorization, "Bearer a.b.c", cookie, "outcrier_token=a.b.d"}, false, "", 0, 400, "different"},
		"two cookies differ":            {"", []string{cookie, "outcrier_token=a.b.c; outcrier_token=a.b.d"}, false, "", 0, 400, "different"},
		"cookies of two lines differ":   {"", []string{cookie, "outcrier_token=a.b.c", cookie, "outcrier_token=a.b.d"}, false, "", 0, 400, "different"},
		"header and query differ":       {"token=a.b.d", []string{authorization, "Bearer a.b.c"}, true, "", 0, 400, "different"},
		"cookie and query differ":       {"token=a.b.d", []string{cookie, "outcrier_token=a.b.c"}, true, "", 0, 400, "different"},
		"two in the query differ":       {"token=a.b.c&token=a.b.d", nil, true, "", 0, 400, "different"},
		"an escaped name in the query":  {"token=a.b.c&t%6fken=a.b.d", nil, true, "", 0, 400, "different"},
		"query where not allowed":       {"token=a.b.c", nil, false, "", 0, 400, "not allowed"},
		"query beside a header":         {"token=a.b.c", []string{authorization, "Bearer a.b.c"}, false, "", 0, 400, "not allowed"},
		"query empty":                   {"token=", nil, true, "", 0, 400, "empty"},
		"query empty beside a header":   {"token", []string{authorization, "Bearer a.b.c"}, true, "", 0, 400, "empty"},
		"query not well-formed":         {"a=%zz&token=a.b.c", nil, true, "", 0, 400, "well-formed"},
		"query with a semicolon":        {"a=1;token=a.b.c", []string{authorization, "Bearer a.b.c"}, true, "", 0, 400, "well-formed"},
		"Bearer alone":                  {"", []string{authorization, "Bearer"}, false, "", 0, 400, "Bearer and a token"},
		"Bearer and a space":            {"", []string{authorization, "Bearer "}, false, "", 0, 400, "Bearer and a token"},
		"Authorization empty":           {"", []string{authorization, ""}, false, "", 0, 400, "Bearer and a token"},
		"Authorization empty, a cookie": {"", []string{authorization, "", cookie, "outcrier_token=a.b.c"}, false, "", 0, 400, "Bearer and a token"},
		"a token without a scheme":      {"", []string{authorization, "a.b.c"}, false, "", 0, 400, "Bearer and a token"},
		"Basic":                         {"", []string{authorization, "Basic YTpi"}, false, "", 0, 400, "Bearer and a token"},
		"Basic beside a cookie":         {"", []string{authorization, "Basic YTpi", cookie, "outcrier_token=a.b.c"}, false, "", 0, 400, "Bearer and a token"},
		"Bearer twice in a line":        {"", []string{authorization, "Bearer a.b.c, Bearer a.b.d"}, false, "", 0, 400, "Bearer and a token"},
		"Bearer Bearer":                 {"", []string{authorization, "Bearer Bearer a.b.c"}, false, "", 0, 400, "Bearer and a token"},
		"a tab":                         {"", []string{authorization, "Bearer\ta.b.c"}, false, "", 0, 400, "Bearer and a token"},
		"a parameter":                   {"", []string{authorization, `Bearer token="a.b.c"`}, false, "", 0, 400, "Bearer and a token"},
		"Authorization twice":           {"", []string{authorization, "Bearer a.b.c", authorization, "Bearer a.b.c"}, false, "", 0, 400, "more than once"},
	} {
		t.Run(name, func(t *testing.T) {
			token, source, err := auth.RequestToken(request(test.query, test.headers...), test.allowed)
			if token != test.token || source != test.source {
				t.Errorf("%q from %d", token, source)
			}
			if test.status == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var refusal *auth.Refusal
			if !errors.As(err, &refusal) || refusal.Status != test.status || !strings.Contains(refusal.Detail, test.says) {
				t.Fatalf("%v, want status %d and something about %q", err, test.status, test.says)
			}
			want := map[int]string{400: `Bearer error="invalid_request"`, 401: "Bearer"}[test.status]
			if got := refusal.Challenge(); !strings.HasPrefix(got, want) || test.status == 401 && got != want || errors.Is(err, auth.ErrNoToken) != (test.status == 401) {
				t.Errorf("%s: %v", got, err)
			}
		})
	}
}

// A request that sets a new cookie still carries the old one.
func TestHeaderToken_LooksAtNothingElse(t *testing.T) {
	r := request("token=a.b.d", "Authorization", "Bearer a.b.c", "Cookie", "outcrier_token=a.b.e")
	if token, source, err := auth.HeaderToken(r); token != "a.b.c" || source != auth.FromHeader || err != nil {
		t.Errorf("%q from %d: %v", token, source, err)
	}
	if token, source, err := auth.HeaderToken(request("token=a")); token != "" || source != 0 || err != nil {
		t.Errorf("%q from %d: %v", token, source, err)
	}
}

func FuzzRequestToken(f *testing.F) {
	f.Add("Bearer a.b.c", "outcrier_token=a.b.c", "token=a.b.c", true)
	f.Add("bearer  a", `outcrier_token="a"; outcrier_token=b`, "t%6fken=a&token", false)
	f.Fuzz(func(t *testing.T, authorization, cookie, query string, allowed bool) {
		token, source, err := auth.RequestToken(request(query, "Authorization", authorization, "Cookie", cookie), allowed)
		switch {
		case (err == nil) != (token != "" && source == auth.FromHeader):
			t.Fatalf("%q from %d: %v", token, source, err)
		case err == nil && (!strings.HasSuffix(strings.TrimRight(authorization, " "), " "+token) || strings.ContainsAny(token, " \t,")):
			t.Fatalf("%q of %q", token, authorization)
		case err != nil && !errors.As(err, new(*auth.Refusal)):
			t.Fatal(err)
		}
		r := request(query, "Cookie", cookie)
		token, source, err = auth.RequestToken(r, allowed)
		switch {
		case err == nil && (token == "" || source == auth.FromHeader || source == auth.FromQuery && !allowed):
			t.Fatalf("%q from %d", token, source)
		case err == nil && source == auth.FromCookie && r.CookiesNamed(auth.Cookie) == nil:
			t.Fatalf("%q of no cookie", token)
		}
	})
}
