package handlers

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/internal/units"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse"
	"github.com/outcrier/outcrier/sse/wire"
)

// minBatch and maxBatch bound the window of a batch: a shorter one gains nothing over single
// events, and with a longer one the reader waits as long as with polls.
const minBatch, maxBatch = 10 * time.Millisecond, 10 * time.Second

// maxLast is how many of the last events a reader can begin with, as many as a page of a poll
// has.
const maxLast = 1000

// lastEventID are the names under which polyfills send the last id in the query.
var lastEventID = []string{"last_event_id", "lastEventId", "Last-Event-ID"}

// parseRequest parses the query. It refuses unknown parameters: a misspelt filter must not
// become a stream without events.
func (h *handlers) parseRequest(c echo.Context, poll bool) (request sse.Request, err error) {
	known := slices.Concat([]string{"topic", "type", "from", "last", "format", "names", "max_data"}, lastEventID)
	ofPolls, ofStreams := []string{"after", "until", "wait", "limit"}, []string{"batch"}
	const polls, streams = "long polls (Accept: application/json)", "streams (Accept: text/event-stream)"
	own, others := ofStreams, map[string]string{}
	switch {
	case poll:
		own = ofPolls
		others["batch"] = streams
	case upgrades(c.Request()):
		known = slices.DeleteFunc(known, func(name string) bool { return name == "names" })
		own = nil
		others["batch"], others["names"] = streams, "Server-Sent Events"
	}
	if !poll {
		for _, name := range ofPolls {
			others[name] = polls
		}
	}
	known = append(known, own...)
	if h.Access.QueryToken {
		known = append(known, "token")
	}
	for name := range c.QueryParams() {
		if kind, is := others[name]; is {
			return request, wrong(name, "query parameter %q is for %s only; allowed are %s", name, kind, strings.Join(known, ", "))
		}
	}
	query, err := parameters(c, known, "topic", "type")
	if err != nil {
		return request, err
	}
	for _, name := range []string{"topic", "type"} {
		if n := len(query[name]); n > h.Access.Limits.Topics {
			return request, wrong(name, "%d topics or types, at most %d are allowed", n, h.Access.Limits.Topics)
		}
	}
	if len(query["topic"]) == 0 {
		return request, wrong("topic", `no topic: name at least one, as topic=user/42 or, with patterns, topic=user/* or topic=user/**`)
	}
	for _, text := range query["topic"] {
		pattern, err := outbox.ParsePattern(text)
		if err != nil {
			return request, about{err, "topic", text}
		}
		request.Filter.Topics = append(request.Filter.Topics, pattern)
	}
	for _, text := range query["type"] {
		kind, err := outbox.ParseType(text)
		if err != nil {
			return request, about{err, "type", ""}
		}
		request.Filter.Types = append(request.Filter.Types, kind)
	}
	if request.Format, err = parseFormat(query.Get("format")); err != nil {
		return request, err
	}
	switch names := query.Get("names"); names {
	case "", "type":
	case "message":
		request.Format |= wire.Unnamed
	default:
		return request, wrong("names", "names %q is not known; allowed are type and message", names)
	}
	if text := query.Get("max_data"); text != "" {
		size, err := units.Bytes(text)
		if request.MaxData = int(size); err != nil || size < minData || size > math.MaxInt32 || request.Format&wire.Payload != 0 {
			return request, wrong("max_data", "max_data=%.100q must be a size of at least %d bytes, like 64KiB, and is not for format=payload", text, minData)
		}
	}
	if text := query.Get("batch"); text != "" && !poll {
		request.Batch, err = time.ParseDuration(text)
		if err != nil || request.Batch < minBatch || request.Batch > maxBatch {
			return request, wrong("batch", "batch=%.100q must be a duration from %s to %s, like 250ms", text, minBatch, maxBatch)
		}
	}
	request.From, err = parseFrom(c)
	request.Filter.Since = request.From.Since
	if until := query.Get("until"); until != "" {
		if _, bad := h.Streamer.Hub.Keys.Open(until); bad != nil {
			return request, wrong("until", "until=%.100q is not a position; allowed is one that a stream or a poll has given", until)
		}
		request.Until = until
	}
	return request, err
}

// parameters parses the query, and refuses unknown parameters, and repeated ones unless they
// are lists. echo's own parser drops malformed ones.
func parameters(c echo.Context, known []string, lists ...string) (url.Values, error) {
	query, err := url.ParseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("the query is not well-formed: %w", err)
	}
	for name, values := range query {
		switch {
		case !slices.Contains(known, name) && len(known) == 0:
			return nil, wrong(name, "unknown query parameter %.100q; none is allowed", name)
		case !slices.Contains(known, name):
			return nil, wrong(name, "unknown query parameter %.100q; allowed are %s", name, strings.Join(known, ", "))
		case len(values) > 1 && !slices.Contains(lists, name):
			return nil, wrong(name, "query parameter %s is given %d times, allowed is once", name, len(values))
		}
	}
	return query, nil
}

// minData is the smallest max_data: an envelope with long names fits into it.
const minData = 1 << 10

func parseFormat(text string) (wire.Format, error) {
	switch text {
	case "", "cloudevents":
		return wire.CloudEvents, nil
	case "payload":
		return wire.Payload, nil
	}
	return 0, wrong("format", "format %q is not known; allowed are cloudevents and payload", text)
}

// wrong returns an error about a parameter.
func wrong(parameter, format string, values ...any) error {
	return about{fmt.Errorf(format, values...), parameter, ""}
}

// parseFrom returns where to start. The last id wins: a browser that reconnects sends it,
// with the original URL. A position in the query counts only if it is later.
func parseFrom(c echo.Context) (sse.From, error) {
	from := c.QueryParam("from")
	remembered := sse.From{Position: lastEventIDHeader(c.Request().Header)}
	for _, name := range append(lastEventID, "after") {
		remembered.Position = cmp.Or(remembered.Position, c.QueryParam(name))
	}
	if remembered.Position != "" {
		if isPosition(from) {
			remembered.Snapshot = from
		}
		return remembered, nil
	}
	last := c.QueryParam("last")
	switch {
	case last == "":
		return ParseFrom(from)
	case from != "":
		return sse.From{}, wrong("last", "give from or last, not both")
	}
	return lastEvents("last", last)
}

// ParseFrom parses where to begin, as the parameter from has it; empty is now. A position is not
// opened. The error is one line that says what is allowed.
func ParseFrom(from string) (sse.From, error) {
	switch from {
	case "", "now":
		return sse.From{}, nil
	case "earliest":
		return sse.From{Earliest: true}, nil
	}
	if last, is := strings.CutPrefix(from, "last:"); is && last != "" {
		return lastEvents("from", last)
	}
	if back, err := units.Duration(from); err == nil {
		if back <= 0 {
			return sse.From{}, wrong("from", "from=%s: a duration back must be positive", from)
		}
		return sse.From{Since: time.Now().Add(-back)}, nil
	}
	// In a query "+" stands for a blank: in 2026-11-22T02:00:00+01:00 too, where nobody encoded it.
	if at, err := time.Parse(time.RFC3339Nano, strings.Replace(from, " ", "+", 1)); err == nil {
		return sse.From{Since: at}, nil
	}
	if isPosition(from) {
		return sse.From{Position: from}, nil
	}
	return sse.From{}, wrong("from", `from=%.100q is not known; allowed are "now", "earliest", "last:50", a position, an RFC 3339 time like 2026-11-22T02:00:00Z, or a duration back like 1h or 7d`, from)
}

// lastEvents returns a start with the last events, whose number is in a parameter.
func lastEvents(parameter, text string) (sse.From, error) {
	n, err := number(text, 0, 1, maxLast)
	if err != nil {
		return sse.From{}, wrong(parameter, "the number of the last events %w", err)
	}
	return sse.From{Last: n}, nil
}

// lastEventIDHeader returns the last id of a request. A header that came several times, or that a
// proxy joined with commas, counts if all are the same: of different ones the wrong choice would
// lose events, so what is returned then is no position, and the stream begins with a gap.
func lastEventIDHeader(header http.Header) string {
	lines := slices.DeleteFunc(slices.Clone(header.Values("Last-Event-ID")), func(line string) bool { return line == "" })
	joined := strings.Join(lines, ",")
	first, _, _ := strings.Cut(joined, ",")
	for id := range strings.SplitSeq(joined, ",") {
		if strings.TrimSpace(id) != strings.TrimSpace(first) {
			return joined
		}
	}
	return cmp.Or(strings.TrimSpace(first), joined)
}

// isPosition reports whether a start looks like a position, well-formed or not.
func isPosition(from string) bool {
	id, _, found := strings.Cut(from, ".")
	_, err := strconv.ParseInt(id, 10, 64)
	return found && err == nil
}

// number parses a whole number within bounds.
func number(text string, otherwise, least, most int) (int, error) {
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("must be a whole number from %d to %d, not %.100q", least, most, text)
	}
	return n, nil
}

// boundedDuration parses a duration up to most; "0" needs no unit.
func boundedDuration(text string, otherwise, most time.Duration) (time.Duration, error) {
	if text == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > most {
		return 0, fmt.Errorf("must be a duration from 0 to %s, like 25s, not %.100q", most, text)
	}
	return d, nil
}
