package handlers

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/outcrier/outcrier/internal/units"
	"github.com/outcrier/outcrier/sse"
)

// maxLast is how many of the last events a reader can begin with, as many as a page of a poll
// has.
const maxLast = 1000

// lastEventID are the names under which polyfills send the last id in the query.
var lastEventID = []string{"last_event_id", "lastEventId", "Last-Event-ID"}

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
	if at, err := parseTime(from); err == nil {
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
