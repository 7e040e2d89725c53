package handlers

import (
	"cmp"
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

// parseRequest parses the query of a stream or poll.
func (h *handlers) parseRequest(c echo.Context, poll bool) (request sse.Request, err error) {
	query, err := h.streamParameters(c, poll)
	if err != nil {
		return request, err
	}
	if request.Filter, err = h.parseFilter(query); err != nil {
		return request, err
	}
	if err := parseForm(query, &request); err != nil {
		return request, err
	}
	if until := query.Get("until"); until != "" {
		if _, bad := h.Streamer.Hub.Keys.Open(until); bad != nil {
			return request, wrong("until", "until=%.100q is not a position; allowed is one that a stream or a poll has given", until)
		}
		request.Until = until
	}
	request.From, err = parseFrom(c)
	request.Filter.Since = request.From.Since
	return request, err
}

// streamParameters returns the query. It refuses unknown parameters, since a misspelt filter
// must not become a stream without events, and those of another form of the request.
func (h *handlers) streamParameters(c echo.Context, poll bool) (url.Values, error) {
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
			return nil, wrong(name, "query parameter %q is for %s only; allowed are %s", name, kind, strings.Join(known, ", "))
		}
	}
	return parameters(c, known, "topic", "type")
}

// parseFilter reads topic and type.
func (h *handlers) parseFilter(query url.Values) (filter outbox.Filter, err error) {
	for _, name := range []string{"topic", "type"} {
		if n := len(query[name]); n > h.Access.Limits.Topics {
			return filter, wrong(name, "%d topics or types, at most %d are allowed", n, h.Access.Limits.Topics)
		}
	}
	if len(query["topic"]) == 0 {
		return filter, wrong("topic", `no topic: name at least one, as topic=user/42 or, with patterns, topic=user/* or topic=user/**`)
	}
	for _, text := range query["topic"] {
		pattern, err := outbox.ParsePattern(text)
		if err != nil {
			return filter, about{err, "topic", text}
		}
		filter.Topics = append(filter.Topics, pattern)
	}
	for _, text := range query["type"] {
		kind, err := outbox.ParseType(text)
		if err != nil {
			return filter, about{err, "type", ""}
		}
		filter.Types = append(filter.Types, kind)
	}
	return filter, nil
}

// parseForm reads how the events are written: format, names, max_data and batch.
func parseForm(query url.Values, request *sse.Request) (err error) {
	if request.Format, err = parseFormat(query.Get("format")); err != nil {
		return err
	}
	switch names := query.Get("names"); names {
	case "", "type":
	case "message":
		request.Format |= wire.Unnamed
	default:
		return wrong("names", "names %q is not known; allowed are type and message", names)
	}
	if text := query.Get("max_data"); text != "" {
		size, err := units.Bytes(text)
		if request.MaxData = int(size); err != nil || size < minData || size > math.MaxInt32 || request.Format&wire.Payload != 0 {
			return wrong("max_data", "max_data=%.100q must be a size of at least %d bytes, like 64KiB, and is not for format=payload", text, minData)
		}
	}
	if text := query.Get("batch"); text != "" {
		request.Batch, err = time.ParseDuration(text)
		if err != nil || request.Batch < minBatch || request.Batch > maxBatch {
			return wrong("batch", "batch=%.100q must be a duration from %s to %s, like 250ms", text, minBatch, maxBatch)
		}
	}
	return nil
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
