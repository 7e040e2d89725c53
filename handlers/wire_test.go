package handlers_test

import (
	"strings"
	"testing"
)

// Requests that net/http refuses, or that it may read differently from a proxy.
func TestAccess_AttacksOnTheWire(t *testing.T) {
	t.Parallel()
	n := attacked(t, nil)
	hidden := "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	n.attack(t, map[string]attack{
		"HEAD":                                {"HEAD /events?topic=a", []string{asAnn}, 200, "", nil},
		"HEAD of what is not granted":         {"HEAD /events?topic=b/secret", []string{asAnn}, 403, "", nil},
		"OPTIONS of nobody":                   {"OPTIONS /events", nil, 204, "", without(allowOrigin)},
		"TRACE, which would tell headers":     {"TRACE /events", []string{cookieAnn, asAnn}, 405, "TRACE", func(t *testing.T, a answer) { a.wantWithout(t, ann) }},
		"CONNECT":                             {"CONNECT evil.example:443", []string{asAnn}, 404, "", nil},
		"PUT":                                 {"PUT /events", []string{asAnn, jsonBody, length, "", event}, 405, "PUT", nil},
		"a method that is made up":            {"EVIL /events", []string{asAnn}, 405, "EVIL", nil},
		"another method by header":            {"GET /events", []string{asAnn, "X-HTTP-Method-Override: POST", jsonBody}, 400, "no topic", nil},
		"another path by header":              {"GET /healthz", []string{"X-Original-URL: /events", "X-Rewrite-URL: /events"}, 200, "ok", nil},
		"a slash behind":                      {"GET /events/?topic=a", nil, 404, "no such path", nil},
		"two slashes before":                  {"GET //events?topic=a", nil, 404, "no such path", nil},
		"a path that goes up":                 {"GET /healthz/../events?topic=a", nil, 404, "no such path", nil},
		"a dot in the path":                   {"GET /./events?topic=a", nil, 404, "no such path", nil},
		"a path escaped":                      {"GET /%65vents?topic=a", nil, 404, "no such path", nil},
		"a slash escaped":                     {"GET /healthz%2f..%2fevents?topic=a", nil, 404, "no such path", nil},
		"a NUL in the path":                   {"GET /events%00?topic=a", nil, 404, "no such path", nil},
		"a parameter of the path":             {"GET /events;a=b?topic=a", nil, 404, "no such path", nil},
		"a path in another case":              {"GET /EVENTS?topic=a", nil, 404, "no such path", nil},
		"a whole URL of another host":         {"GET http://evil.example/events?topic=a", nil, 401, "a token is needed", nil},
		"an upgrade to WebSocket":             {pollA, []string{asAnn, acceptJSON, "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="}, 200, "events", without("Upgrade")},
		"an upgrade to WebSocket, a stream":   {"GET /events?topic=a", []string{asAnn, "Upgrade: websocket"}, 200, "a stream", without("Upgrade")},
		"an upgrade to h2c":                   {pollA, []string{asAnn, acceptJSON, "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"}, 200, "events", without("Upgrade")},
		"a URL of 20 kB":                      {"GET /events?topic=a&type=" + strings.Repeat("t", 20<<10), []string{asAnn}, 414, "at most 16384 bytes", nil},
		"a header of 100 kB":                  {pollA, []string{asAnn, "X-Long: " + strings.Repeat("x", 100<<10)}, 431, "", nil},
		"a thousand cookies":                  {pollA, []string{asAnn, "Cookie: " + strings.Repeat("a=b; ", 8000)}, 431, "", nil},
		"a body behind its length":            {"POST /events", []string{asAnn, jsonBody, length, "", event + hidden}, 201, "ids", nil},
		"both lengths":                        {"POST /events", []string{asAnn, jsonBody, "Transfer-Encoding: chunked", "Content-Length: 6", "", "0\r\n\r\n" + hidden}, 400, "", nil},
		"both lengths, the other first":       {"POST /events", []string{asAnn, jsonBody, "Content-Length: 6", "Transfer-Encoding: chunked", "", "0\r\n\r\n" + hidden}, 400, "", nil},
		"two lengths":                         {"POST /events", []string{asAnn, jsonBody, length, "Content-Length: 0", "", event + hidden}, 400, "", nil},
		"a length with a sign":                {"POST /events", []string{asAnn, jsonBody, "Content-Length: +24", "", event}, 400, "", nil},
		"a length below zero":                 {"POST /events", []string{asAnn, jsonBody, "Content-Length: -1", "", event}, 400, "", nil},
		"a coding that is not known":          {"POST /events", []string{asAnn, jsonBody, "Transfer-Encoding: xchunked", "", event}, 501, "", nil},
		"two codings":                         {"POST /events", []string{asAnn, jsonBody, "Transfer-Encoding: chunked", "Transfer-Encoding: identity", "", "0\r\n\r\n"}, 501, "", nil},
		"a body of no chunks":                 {pollA, []string{asAnn, acceptJSON, "Transfer-Encoding: chunked", "", "0\r\n\r\n"}, 200, "events", nil},
		"a body of chunks where none belongs": {pollA, []string{asAnn, acceptJSON, "Transfer-Encoding: chunked", "", "1\r\nx\r\n0\r\n\r\n"}, 400, "body", nil},
		"a chunk of no size":                  {"POST /events", []string{asAnn, jsonBody, "Transfer-Encoding: chunked", "", "zz\r\n" + event + "\r\n0\r\n\r\n"}, 400, "", nil},
		"a space before the colon":            {"POST /events", []string{asAnn, jsonBody, "Content-Length : 24", "", event}, 400, "", nil},
		"a header that is folded":             {pollA, []string{asAnn, acceptJSON, "X-Fold: a", " Authorization: Bearer b"}, 200, "events", nil},
		"a NUL in a header":                   {pollA, []string{asAnn, "X-Nul: a\x00b"}, 400, "", nil},
		"a CR alone in a header":              {pollA, []string{asAnn, "X-CR: a\rAuthorization: Bearer b"}, 400, "", nil},
		"two hosts":                           {pollA, []string{asAnn, "Host: evil.example"}, 400, "", nil},
		"a bomb of gzip":                      {"POST /events", []string{asAnn, jsonBody, "Content-Encoding: gzip", "Content-Length: 10", "", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"}, 415, "Content-Encoding", nil},
	})
}

func (a answer) wantWithout(t *testing.T, text string) {
	if strings.Contains(a.body, text) {
		t.Error("the answer has what is secret")
	}
}
