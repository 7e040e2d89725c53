package handlers

import (
	"math"
	"net/url"
	"slices"
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
