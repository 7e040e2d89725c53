package handlers_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/handlers"
)

// send writes text as it is on a connection of its own, and returns the answer and
// what else came until the server closed it.
func (n *node) send(t *testing.T, text string) (answer, string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(conn, text); err != nil && !strings.Contains(err.Error(), "reset") && !strings.Contains(err.Error(), "broken pipe") {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.Header.Get("Content-Type") == streamMedia && response.ContentLength < 0 {
		_ = conn.Close() // first: Body.Close reads what still comes
		return answer{response.StatusCode, response.Header, "a stream, which does not end"}, ""
	}
	if response.StatusCode == http.StatusNoContent {
		return answer{response.StatusCode, response.Header, ""}, ""
	}
	body, err := io.ReadAll(response.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(reader)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection was not closed")
	}
	return answer{response.StatusCode, response.Header, string(body)}, string(rest)
}

// ask is the text of a request.
func (n *node) ask(line string, lines ...string) string {
	lines = append([]string{line + " HTTP/1.1", "Host: " + strings.TrimPrefix(n.url, "http://"), "Connection: close"}, lines...)
	if !slices.Contains(lines, "") {
		lines = append(lines, "", "")
	}
	return strings.Join(lines, "\r\n")
}

// app is the one site whose pages may read.
const app = "https://app.example.com"

// attacked is a node that is asked in every bad way, and one event that ann may not
// read.
func attacked(t *testing.T, change func(*handlers.Access)) *node {
	n := newNode(t, func(n *node) {
		n.access = closedAccess()
		n.access.Origins = []string{app}
		n.access.Limits = handlers.Limits{URLBytes: 16 << 10, Topics: 256}
		if change != nil {
			change(&n.access)
		}
		n.start = func(server *httptest.Server) {
			server.Config.MaxHeaderBytes = 32 << 10
			server.Config.ReadHeaderTimeout = time.Second
			server.Start()
		}
	})
	n.add(t, "b/secret")
	n.seen(t, 1)
	return n
}

// attack is a request, and what must come of it.
type attack struct {
	line   string
	lines  []string // of the header; after an empty one, the body
	status int
	says   string // within the body
	// also looks at what the status does not tell.
	also func(t *testing.T, a answer)
}

func (n *node) attack(t *testing.T, attacks map[string]attack) {
	stored := n.count(t)
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			a, rest := n.send(t, n.ask(attack.line, attack.lines...))
			if a.status != attack.status || !strings.Contains(a.body, attack.says) {
				t.Errorf("%d %s, want %d and something about %q", a.status, a.body, attack.status, attack.says)
			}
			if rest != "" {
				t.Errorf("a second answer: %q", rest)
			}
			if strings.Contains(a.body, "test.added") || strings.Contains(a.body, "<script") {
				t.Errorf("it says %s", a.body)
			}
			if got := a.header.Get("Access-Control-Allow-Origin"); got != "" && got != app {
				t.Errorf("%s may read it", got)
			}
			if a.status < 400 && strings.HasPrefix(attack.line, "POST /events") {
				stored++
			}
			if attack.also != nil {
				attack.also(t, a)
			}
		})
	}
	if got := n.count(t); got != stored {
		t.Errorf("%d events are stored, want %d", got, stored)
	}
	eventually(t, func() bool { return n.streamer.Open() == 0 })
}

func without(header string) func(*testing.T, answer) {
	return func(t *testing.T, a answer) {
		if got := a.header.Values(header); got != nil {
			t.Errorf("%s is %q", header, got)
		}
	}
}

const (
	allowOrigin = "Access-Control-Allow-Origin"
	jsonBody    = "Content-Type: application/json"
	acceptJSON  = "Accept: application/json"
	event       = `{"topic":"a","type":"t"}`
	crossSite   = "Sec-Fetch-Site: cross-site"
)

var (
	length    = fmt.Sprintf("Content-Length: %d", len(event))
	asAnn     = "Authorization: Bearer " + ann
	cookieAnn = "Cookie: outcrier_token=" + ann
	asEve     = "Authorization: Bearer " + mint("eve", time.Hour, "**")
	cookieEve = "Cookie: outcrier_token=" + mint("eve", time.Hour, "**")
)

const pollA = "GET /events?topic=a&wait=0"

func TestAccess_AttacksFromOtherOrigins(t *testing.T) {
	t.Parallel()
	attacks := map[string]attack{
		"the origin that is allowed": {pollA, []string{asAnn, acceptJSON, "Origin: " + app}, 200, "events", func(t *testing.T, a answer) {
			if a.header.Get(allowOrigin) != app || a.header.Get("Access-Control-Allow-Credentials") != "true" || !slices.Contains(a.header.Values("Vary"), "Origin") {
				t.Errorf("%v", a.header)
			}
		}},
		"two origins": {pollA, []string{asAnn, acceptJSON, "Origin: " + app, "Origin: " + app}, 200, "events", without(allowOrigin)},
		"preflight of the origin that is allowed": {"OPTIONS /events", []string{"Origin: " + app, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type,idempotency-key,last-event-id"}, 204, "", func(t *testing.T, a answer) {
			if a.header.Get("Access-Control-Allow-Methods") != "GET, HEAD, POST" || strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "*") {
				t.Errorf("%v", a.header)
			}
		}},
		"preflight of a script for tracing":  {"OPTIONS /events", []string{"Origin: " + app, "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: authorization,traceparent,tracestate"}, 204, "", nil},
		"preflight of a method not listed":   {"OPTIONS /events", []string{"Origin: " + app, "Access-Control-Request-Method: PUT"}, 403, `\"PUT\"`, without("Access-Control-Allow-Methods")},
		"preflight of a header not listed":   {"OPTIONS /events", []string{"Origin: " + app, "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: last-event-id,x-forwarded-for"}, 403, "x-forwarded-for", without("Access-Control-Allow-Headers")},
		"preflight of a path that is no use": {"OPTIONS /healthz", []string{"Origin: " + app, "Access-Control-Request-Method: GET"}, 204, "", without(allowOrigin)},
		"preflight of nobody's page":         {"OPTIONS /session", []string{"Origin: null", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization"}, 403, "origin", without(allowOrigin)},

		"POST by cookie from another site":              {"POST /events", []string{cookieAnn, crossSite, "Origin: https://evil.example", jsonBody, length, "", event}, 403, "another site", nil},
		"POST by cookie from another site, old browser": {"POST /events", []string{cookieAnn, "Origin: https://evil.example", jsonBody, length, "", event}, 403, "another site", nil},
		"POST by cookie from a sandboxed page":          {"POST /events", []string{cookieAnn, "Origin: null", jsonBody, length, "", event}, 403, "another site", nil},
		"POST by cookie from a sister domain":           {"POST /events", []string{cookieAnn, "Sec-Fetch-Site: same-site", "Origin: https://blog.example.com", jsonBody, length, "", event}, 403, "another site", nil},
		"POST by cookie as a form of text":              {"POST /events", []string{cookieAnn, "Sec-Fetch-Site: same-origin", "Content-Type: text/plain", length, "", event}, 415, "Content-Type", nil},
		"POST by cookie from the site that is allowed":  {"POST /events", []string{cookieAnn, crossSite, "Origin: " + app, jsonBody, length, "", event}, 201, "ids", nil},
		"POST by cookie from our own page":              {"POST /events", []string{cookieAnn, "Sec-Fetch-Site: same-origin", jsonBody, length, "", event}, 201, "ids", nil},
		"stream by cookie for another site's page":      {"GET /events?topic=a", []string{cookieAnn, crossSite, "Sec-Fetch-Mode: no-cors"}, 403, "another site", nil},
		"stream by cookie as a link on another site":    {"GET /events?topic=a", []string{cookieAnn, crossSite, "Sec-Fetch-Mode: navigate"}, 403, "another site", nil},
		"poll by cookie from an old browser":            {pollA, []string{cookieAnn, acceptJSON, "Origin: https://evil.example"}, 403, "another site", without(allowOrigin)},

		"POST /session by the cookie alone":           {"POST /session", []string{cookieAnn, "Sec-Fetch-Site: same-origin", "Content-Length: 0"}, 401, "Authorization", without("Set-Cookie")},
		"POST /session from another site":             {"POST /session", []string{asEve, crossSite, "Origin: https://evil.example", "Content-Length: 0"}, 403, "another site", without("Set-Cookie")},
		"POST /session from a sister domain":          {"POST /session", []string{asEve, "Sec-Fetch-Site: same-site", "Content-Length: 0"}, 403, "another site", without("Set-Cookie")},
		"POST /session with a token that is no good":  {"POST /session", []string{"Authorization: Bearer a.b.c", "Content-Length: 0"}, 401, "token", without("Set-Cookie")},
		"POST /session with the token in the query":   {"POST /session?token=" + ann, []string{"Content-Length: 0"}, 401, "Authorization", without("Set-Cookie")},
		"DELETE /session from another site":           {"DELETE /session", []string{cookieAnn, crossSite, "Origin: https://evil.example"}, 403, "another site", without("Set-Cookie")},
		"a cookie tossed beside the right one":        {pollA, []string{cookieAnn + "; " + strings.TrimPrefix(cookieEve, "Cookie: "), acceptJSON}, 400, "several different tokens", nil},
		"a cookie tossed on a line of its own":        {pollA, []string{cookieEve, cookieAnn, acceptJSON}, 400, "several different tokens", nil},
		"a cookie beside another token in the header": {pollA, []string{asAnn, cookieEve, acceptJSON}, 400, "several different tokens", nil},
	}
	for name, origin := range map[string]string{
		"another origin": "https://evil.example", "no origin of its own": "null", "a name that ends so": "https://evil-app.example.com",
		"a name that begins so": app + ".evil.example", "a user that is called so": app + "@evil.example", "another scheme": "http://app.example.com",
		"another port": app + ":8443", "a dot behind": app + ".", "another case": "https://APP.example.com", "a path behind": app + "/", "a star": "*",
	} {
		attacks[name] = attack{pollA, []string{asAnn, acceptJSON, "Origin: " + origin}, 200, "events", func(t *testing.T, a answer) {
			without(allowOrigin)(t, a)
			without("Access-Control-Allow-Credentials")(t, a)
			if !slices.Contains(a.header.Values("Vary"), "Origin") {
				t.Error("a cache may give it to others")
			}
		}}
		attacks["preflight of "+name] = attack{"OPTIONS /events", []string{"Origin: " + origin, "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: authorization"}, 403, "origin", without(allowOrigin)}
	}
	attacked(t, nil).attack(t, attacks)
}

func TestAccess_AttacksByTokenAndTopic(t *testing.T) {
	t.Parallel()
	pollOf := func(topic string) string { return "GET /events?wait=0&from=earliest&topic=" + topic }
	withAnn := []string{asAnn, acceptJSON}
	attacked(t, nil).attack(t, map[string]attack{
		"token in the query where it is off":   {"GET /events?topic=a&token=" + ann, nil, 400, "not allowed here", nil},
		"the same beside a header":             {"GET /events?topic=a&token=" + ann, []string{asAnn}, 400, "not allowed here", nil},
		"token in the query, its name escaped": {"GET /events?topic=a&%74oken=" + ann, nil, 400, "not allowed here", nil},
		"token under the name of OAuth":        {"GET /events?topic=a&access_token=" + ann, nil, 401, "a token is needed", nil},
		"token in a body":                      {"GET /events?topic=a", []string{asAnn, "Content-Length: 3", "", "a=b"}, 400, "body", nil},
		"Authorization twice":                  {pollA, []string{asAnn, asEve, acceptJSON}, 400, "more than once", nil},
		"a password in place of a token":       {pollA, []string{"Authorization: Basic YW5uOmFubg==", acceptJSON}, 400, "Bearer", nil},
		"a header that a proxy might set":      {pollA, []string{"X-Forwarded-User: ann", "X-Remote-User: admin", acceptJSON}, 401, "a token is needed", nil},
		"a token of 9 kB":                      {pollA, []string{"Authorization: Bearer " + strings.Repeat("a", 9<<10), acceptJSON}, 401, "8192", nil},
		"everything":                           {pollOf("**"), withAnn, 403, `topic \"**\"`, nil},
		"one segment":                          {pollOf("*"), withAnn, 403, `topic \"*\"`, nil},
		"a topic that goes up":                 {pollOf("a/../b/secret"), withAnn, 200, `"events":[]`, nil},
		"a topic that goes up, escaped":        {pollOf("a%2f..%2fb%2fsecret"), withAnn, 200, `"events":[]`, nil},
		"a topic escaped twice":                {pollOf("b%252fsecret"), withAnn, 403, "b%2fsecret", nil},
		"a topic in another case":              {pollOf("A"), withAnn, 403, `topic \"A\"`, nil},
		"a letter that looks alike":            {pollOf("%D0%B0"), withAnn, 403, "а", nil},
		"a letter of full width":               {pollOf("%EF%BD%81"), withAnn, 403, "topic", nil},
		"a NUL behind":                         {pollOf("a%00/../b"), withAnn, 400, "control", nil},
		"a letter written too long":            {pollOf("%C1%A1"), withAnn, 400, "UTF-8", nil},
		"an empty segment":                     {pollOf("a//b"), withAnn, 400, "empty segments", nil},
		"a list of topics in one":              {pollOf("a,b/secret"), withAnn, 403, "a,b/secret", nil},
		"topics that the last one hides":       {pollOf("b/secret&topic=a"), withAnn, 403, `b/`, func(t *testing.T, a answer) { without("Content-Location")(t, a) }},
		"a topic in the manner of PHP":         {"GET /events?topic=a&topic[]=b/secret", withAnn, 400, "topic[]", nil},
		"from twice":                           {pollOf("a&from=now"), withAnn, 400, "once", nil},
		"300 topics":                           {pollOf("a" + strings.Repeat("&topic=a", 299)), withAnn, 400, "at most 256", nil},
		"300 types":                            {pollOf("a" + strings.Repeat("&type=t", 300)), withAnn, 400, "at most 256", nil},
		"a huge topic":                         {pollOf("a/" + strings.Repeat("b", 9000)), withAnn, 400, "at most 255", nil},
		"a position that claims another's":     {"GET /events?topic=b/secret&wait=0&after=1.AQeFiwM", withAnn, 403, "b/", nil},
		"Last-Event-ID of 20 kB":               {pollA, append(slices.Clone(withAnn), "Last-Event-ID: "+strings.Repeat("9", 20<<10)), 200, "malformed", nil},
		"markup as a parameter's name":         {"GET /events?topic=a&%3Cscript%3Ealert(1)%3C/script%3E=1", withAnn, 400, `\u003cscript`, wantInert},
		"markup as a path":                     {"GET /%3Cscript%3Ealert(1)%3C/script%3E", nil, 404, `\u003cscript`, wantInert},
		"markup as a format":                   {pollOf("a&format=%3Cscript%3E"), withAnn, 400, `\u003cscript`, wantInert},
		"a line break into a header":           {"GET /events?topic=%0D%0ASet-Cookie:%20outcrier_token=eve", withAnn, 400, "control", without("Set-Cookie")},
		"a line break into WWW-Authenticate": {pollOf("b%22%2C%20Basic%20realm%3D%22x"), withAnn, 403, "topic", func(t *testing.T, a answer) {
			if got := a.header.Values("WWW-Authenticate"); len(got) != 1 || strings.Count(got[0], `"`) != 4 {
				t.Errorf("WWW-Authenticate is %q", got)
			}
		}},
		"publish on another's topic":        {"POST /events", []string{asAnn, jsonBody, "Content-Length: 24", "", `{"topic":"b","type":"t"}`}, 403, `topic \"b\"`, nil},
		"publish one bad among good":        {"POST /events", []string{asAnn, jsonBody, "Content-Length: 51", "", "[" + event + "," + `{"topic":"b","type":"t"}` + "]"}, 403, `topic \"b\"`, nil},
		"publish with topic given twice":    {"POST /events", []string{asAnn, jsonBody, "Content-Length: 36", "", `{"topic":"a","topic":"b","type":"t"}`}, 403, `topic \"b\"`, nil},
		"publish the server's own type":     {"POST /events", []string{asAnn, jsonBody, "Content-Length: 40", "", `{"topic":"a","type":"outcrier.goodbye"}  `[:40]}, 422, "outcrier.", nil},
		"publish a type with a line break":  {"POST /events", []string{asAnn, jsonBody, "Content-Length: 41", "", `{"topic":"a","type":"t\nevent: evil"}     `[:41]}, 422, "control", nil},
		"publish a topic with a line break": {"POST /events", []string{asAnn, jsonBody, "Content-Length: 40", "", `{"topic":"a/\r\ndata: evil","type":"t"}  `[:40]}, 422, "control", nil},
	})
}

// wantInert: a browser that is shown the answer renders and runs nothing.
func wantInert(t *testing.T, a answer) {
	if a.header.Get("Content-Type") != "application/problem+json" || a.header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%v", a.header)
	}
}

func TestAccess_AttacksOnQueryTokens(t *testing.T) {
	t.Parallel()
	eve := mint("eve", time.Hour, "**")
	attacked(t, queried).attack(t, map[string]attack{
		"the right one":                 {pollA + "&token=" + ann, []string{acceptJSON}, 200, "events", nil},
		"two tokens in the query":       {pollA + "&token=" + ann + "&token=" + eve, []string{acceptJSON}, 400, "several different tokens", nil},
		"the same twice":                {pollA + "&token=" + ann + "&token=" + ann, []string{acceptJSON}, 400, "once", nil},
		"another in the header":         {pollA + "&token=" + eve, []string{asAnn, acceptJSON}, 400, "several different tokens", nil},
		"another in the cookie":         {pollA + "&token=" + eve, []string{cookieAnn, acceptJSON}, 400, "several different tokens", nil},
		"hidden behind a semicolon":     {pollA + ";token=" + eve, []string{asAnn, acceptJSON}, 400, "not well-formed", nil},
		"hidden behind a broken escape": {pollA + "&x=%zz&token=" + eve, []string{asAnn, acceptJSON}, 400, "not well-formed", nil},
		"an empty one":                  {pollA + "&token=", []string{asAnn, acceptJSON}, 400, "empty", nil},
	})
}
