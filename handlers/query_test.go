package handlers

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/internal/units"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/sse"
	"github.com/outcrier/outcrier/sse/hub"
	"github.com/outcrier/outcrier/sse/wire"
)

// idle has the keys of positions.
var idle = sse.NewStreamer(hub.New(&hub.Buffer{}), nil)

// parsed is parseRequest of a raw query, as net/http would hand it over.
func parsed(query, lastEventID string, poll, token bool) (sse.Request, error) {
	h := &handlers{Config: Config{Streamer: idle, Access: Access{QueryToken: token, Limits: Limits{Topics: 4}}}}
	r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/events", RawQuery: query}, Header: http.Header{}}
	if lastEventID != "" {
		r.Header.Set("Last-Event-ID", lastEventID)
	}
	return h.parseRequest(echo.New().NewContext(r, httptest.NewRecorder()), poll)
}

// An accepted query means the same to another parser: no part of it is ignored, and
// nothing is added. A refusal is one line that can be shown.
func FuzzQuery(f *testing.F) {
	f.Add("topic=user/42&topic=a/**&type=t.*&from=1h", "", false, false)
	f.Add("topic=a&format=payload&names=message&last_event_id=1042.AQeGjAMBgIsD", "", false, false)
	f.Add("topic=a&after=1.A&wait=0&limit=500&token=x", "7.B", true, true)
	f.Add("topic=a;token=x&topic=%zz&Topic=b&topic=%00&from=-1h&topic=a%26topic%3Db", "\x00", true, false)
	f.Add("topic=a&last=&max_data=64KiB&batch=250ms", "", false, false)
	f.Add("topic=a&from=last:50&until=", "", true, false)
	f.Add("topic=%2A%2A&from=2026-11-22T02:00:00Z&lastEventId=&from=now", "x", false, true)
	f.Fuzz(func(t *testing.T, query, lastEventID string, poll, token bool) {
		request, err := parsed(query, lastEventID, poll, token)
		if err != nil {
			says := err.Error()
			if says == "" || len(says) > 4096+8*len(query) || strings.ContainsAny(says, "\r\n\x00") {
				t.Fatalf("refused with %q", says)
			}
			return
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatalf("taken, and not well-formed: %v", err)
		}
		allowed := []string{"topic", "type", "from", "last", "format", "names", "max_data", "last_event_id", "lastEventId", "Last-Event-ID"}
		if poll {
			allowed = append(allowed, "after", "until", "wait", "limit")
		} else {
			allowed = append(allowed, "batch")
		}
		if token {
			allowed = append(allowed, "token")
		}
		for name, given := range values {
			if !slices.Contains(allowed, name) || len(given) > 1 && name != "topic" && name != "type" {
				t.Fatalf("taken with %q: %q", name, given)
			}
		}
		var topics []string
		for _, topic := range request.Filter.Topics {
			topics = append(topics, string(topic))
		}
		if len(topics) == 0 || len(topics) > 4 || len(request.Filter.Types) > 4 {
			t.Fatalf("%d topics, %d types", len(topics), len(request.Filter.Types))
		}
		if !slices.Equal(topics, values["topic"]) || !slices.Equal(request.Filter.Types, values["type"]) {
			t.Fatalf("asked are %q and %q, taken %q and %q", values["topic"], values["type"], topics, request.Filter.Types)
		}
		for _, text := range slices.Concat(topics, request.Filter.Types) {
			if !utf8.ValidString(text) || text == "" || len(text) > 255 || strings.ContainsAny(text, "\r\n\x00") {
				t.Fatalf("taken is %q", text)
			}
		}
		payload, unnamed := values.Get("format") == "payload", values.Get("names") == "message"
		if (request.Format&wire.Payload != 0) != payload || (request.Format&wire.Unnamed != 0) != unnamed {
			t.Fatalf("format %d of %q", request.Format, query)
		}
		from := request.From
		// One header may hold the same id several times.
		repeats := from.Position != "" && strings.Trim(strings.ReplaceAll(lastEventID, from.Position, ""), ", \t\n\v\f\r\u0085\u00a0") == ""
		if lastEventID != "" && (from.Position != lastEventID && !repeats || from.Snapshot != "" && from.Snapshot != values.Get("from") ||
			from != sse.From{Position: from.Position, Snapshot: from.Snapshot}) {
			t.Fatalf("the header says %q, taken is %+v", lastEventID, from)
		}
		if from.Last < 0 || from.Last > 1000 || request.MaxData < 0 || request.MaxData > 0 && request.MaxData < 1024 || request.Batch < 0 || request.Batch > 10*time.Second {
			t.Fatalf("out of bounds: %+v", request)
		}
		if !request.Filter.Since.Equal(from.Since) {
			t.Fatalf("filtered since %s, started from %s", request.Filter.Since, from.Since)
		}
		// An accepted query, encoded again, is accepted as the same. A time back is not
		// the same a moment later.
		again, err := parsed(values.Encode(), lastEventID, poll, token)
		if err != nil || !slices.Equal(again.Filter.Topics, request.Filter.Topics) || again.Format != request.Format ||
			again.From.Position != from.Position || again.From.Earliest != from.Earliest || again.From.Last != from.Last ||
			again.MaxData != request.MaxData || again.Batch != request.Batch || again.From.Since.IsZero() != from.Since.IsZero() {
			t.Fatalf("%+v the first time, then %+v, %v", request, again, err)
		}
	})
}

// The start has exactly one of the six forms, and a duration back is that long ago.
func FuzzFrom(f *testing.F) {
	for _, from := range []string{"now", "earliest", "1h", "1h30m.5s", "-1s", "2026-11-22T02:00:00.5+02:00", "1042.AQeGjAMBgIsD", "9.", "0s", "1e9h", "NOW", "290000h", "7d", "1d12h", "-1d", "1dd", "106752d", "9999-12-31T23:59:59Z", "last:50", "last:", "last:1001", "last:0", "2026-11-22T02:00:00 05:30"} {
		f.Add(from)
	}
	f.Fuzz(func(t *testing.T, from string) {
		before := time.Now()
		request, err := parsed(url.Values{"topic": {"a"}, "from": {from}}.Encode(), "", false, false)
		after := time.Now()
		got := request.From
		back, notBack := units.Duration(from)
		at, notTime := time.Parse(time.RFC3339Nano, strings.Replace(from, " ", "+", 1)) // "+" in a query
		id, _, dotted := strings.Cut(from, ".")
		_, notID := strconv.ParseInt(id, 10, 64)
		count, isLast := strings.CutPrefix(from, "last:")
		n, notNumber := strconv.Atoi(count)
		switch {
		case isLast && notNumber == nil && 1 <= n && n <= 1000:
			if err != nil || got != (sse.From{Last: n}) {
				t.Fatalf("the last %d: %+v, %v", n, got, err)
			}
		case from == "" || from == "now":
			if err != nil || got != (sse.From{}) {
				t.Fatalf("now: %+v, %v", got, err)
			}
		case from == "earliest":
			if err != nil || got != (sse.From{Earliest: true}) {
				t.Fatalf("earliest: %+v, %v", got, err)
			}
		case notBack == nil:
			if (err == nil) != (back > 0) {
				t.Fatalf("%s back: %v", back, err)
			}
			if err == nil && (got.Since.Before(before.Add(-back)) || got.Since.After(after.Add(-back)) || got.Position != "") {
				t.Fatalf("%s back from %s is %s", back, before, got.Since)
			}
		case notTime == nil:
			if err != nil || !got.Since.Equal(at) || got.Position != "" {
				t.Fatalf("%s: %+v, %v", at, got, err)
			}
		case dotted && notID == nil:
			if err != nil || got != (sse.From{Position: from}) {
				t.Fatalf("a position: %+v, %v", got, err)
			}
		default:
			if err == nil {
				t.Fatalf("taken: %+v", got)
			}
		}
		// An invalid position is a gap, never "now".
		if got.Position != "" {
			if _, err := position.NewKeys().Open(got.Position); !errors.Is(err, position.ErrMalformedPosition) {
				t.Fatal(err)
			}
		}
	})
}

// Numbers and durations are within their bounds, and missing ones have their defaults.
func FuzzBounded(f *testing.F) {
	for _, text := range []string{"", "0", "1", "500", "1001", "+5", "0x10", "1_000", "25s", "1m", "61s", "-1s", "1h", "9223372036854775808", "1e3", " 5", "٣"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := number(text, 500, 1, 1000)
		switch {
		case err == nil && (n < 1 || n > 1000 || text == "" && n != 500):
			t.Fatalf("%q is %d", text, n)
		case err == nil && text != "":
			if exact, err := strconv.ParseInt(text, 10, 64); err != nil || int(exact) != n {
				t.Fatalf("%q is %d", text, n)
			}
		case err != nil && (len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\r\n\x00")):
			t.Fatalf("refused with %q", err)
		}
		d, err := boundedDuration(text, 25*time.Second, time.Minute)
		switch {
		case err == nil && (d < 0 || d > time.Minute || text == "" && d != 25*time.Second):
			t.Fatalf("%q is %s", text, d)
		case err == nil && text != "":
			if exact, err := time.ParseDuration(text); err != nil || exact != d {
				t.Fatalf("%q is %s", text, d)
			}
		case err != nil && (len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\r\n\x00")):
			t.Fatalf("refused with %q", err)
		}
	})
}

// A client that accepts JSON alone never gets a stream, and one that names a stream
// never gets JSON.
func FuzzAccept(f *testing.F) {
	for _, accept := range []string{"", "text/event-stream", "application/json", "text/event-stream, application/json;q=0.9", "*/*", "APPLICATION/JSON", "text/html", "0text/event-stream", ",", "application/json, text/html, */*"} {
		f.Add(accept)
	}
	f.Fuzz(func(t *testing.T, accept string) {
		json, err := wantsJSON([]string{accept})
		lower := strings.ToLower(accept)
		named := slices.ContainsFunc(strings.Split(lower, ","), func(media string) bool {
			name, _, _ := strings.Cut(media, ";")
			return strings.TrimSpace(name) == "text/event-stream"
		})
		switch {
		case named:
			if json || err != nil {
				t.Fatalf("%q: JSON %v, %v", accept, json, err)
			}
		case json && !strings.Contains(lower, "application/json"):
			t.Fatalf("%q is taken for JSON", accept)
		case json && err != nil:
			t.Fatalf("%q: both JSON and %v", accept, err)
		case err != nil && (strings.Contains(accept, "*/*") && accept == "*/*" || accept == ""):
			t.Fatalf("%q: %v", accept, err)
		}
	})
}
