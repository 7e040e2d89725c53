package wire

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/outcrier/outcrier/outbox"
)

// AppendEvent appends the event as it is in a stream's data, and in a poll's answer: one JSON
// value.
func AppendEvent(dst []byte, e *outbox.Event, format Format) []byte {
	if format&Payload != 0 {
		return append(dst, e.Payload...)
	}
	return appendEnvelope(dst, e, format&reference != 0)
}

// AppendEventWithin is like AppendEvent for a reader that accepts at most that many bytes, if
// most is above 0: a larger event is given by reference.
func AppendEventWithin(dst []byte, e *outbox.Event, format Format, most int) []byte {
	return appendWithin(dst, e, format, most, AppendEvent)
}

// appendWithin calls appendEvent, and again with the reference in place of the event if that
// took more than most bytes and most is above 0.
func appendWithin(dst []byte, e *outbox.Event, format Format, most int, appendEvent func([]byte, *outbox.Event, Format) []byte) []byte {
	begin := len(dst)
	dst = appendEvent(dst, e, format)
	if most > 0 && len(dst)-begin > most {
		dst = appendEvent(dst[:begin], e, format|reference)
	}
	return dst
}

// appendEnvelope appends the event as a CloudEvents 1.0 object in JSON, the payload byte
// for byte. topic is an extension attribute, and so is each header, except subject and
// dataschema, which are CloudEvents' own (3.1: names are lower-case letters and digits). A
// reference has dataref instead of data (CloudEvents' extension of that name), relative to
// the request's path.
func appendEnvelope(dst []byte, e *outbox.Event, isReference bool) []byte {
	dst = append(dst, `{"specversion":"1.0","id":"`...)
	dst = strconv.AppendInt(dst, e.ID, 10)
	dst = append(dst, `","source":`...)
	dst = AppendString(dst, e.Source)
	dst = append(dst, `,"type":`...)
	dst = AppendString(dst, e.Type)
	dst = append(dst, `,"topic":`...)
	dst = AppendString(dst, e.Topic)
	dst = append(dst, `,"time":"`...)
	dst = appendTime(dst, e.CreatedAt)
	dst = append(dst, `","datacontenttype":"application/json"`...)
	dst = appendHeaders(dst, e.Headers, isReference)
	if isReference {
		dst = append(dst, `,"dataref":"events/`...)
		dst = strconv.AppendInt(dst, e.ID, 10)
		return append(dst, `"}`...)
	}
	dst = append(dst, `,"data":`...)
	dst = append(dst, e.Payload...)
	return append(dst, '}')
}

// appendTime appends a time of UTC with all its microseconds (RFC 3339). The standard
// library has a fast path for whole seconds only, so the fraction is written here.
func appendTime(dst []byte, t time.Time) []byte {
	dst = t.AppendFormat(dst, time.RFC3339)
	dst = append(dst[:len(dst)-len("Z")], '.')
	micros := t.Nanosecond() / 1000
	for unit := 100_000; unit > 0; unit /= 10 {
		dst = append(dst, '0'+byte(micros/unit%10))
	}
	return append(dst, 'Z')
}

// reserved are the names that a header can't take.
var reserved = []string{"specversion", "id", "source", "type", "topic", "time", "datacontenttype", "data"}

// appendHeaders appends headers as extension attributes, their names in lower
// case without what CloudEvents does not allow: "Correlation-ID" becomes
// "correlationid". Of two that become the same, the first by name stays.
func appendHeaders(dst []byte, headers map[string]string, isReference bool) []byte {
	if len(headers) == 0 {
		return dst
	}
	seen := slices.Clone(reserved)
	if isReference {
		seen = append(seen, "dataref") // ours; otherwise a publisher may have one
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		attribute := strings.Map(func(r rune) rune {
			switch {
			case r >= 'A' && r <= 'Z':
				return r + 'a' - 'A'
			case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
				return r
			}
			return -1
		}, name)
		if attribute == "" || slices.Contains(seen, attribute) {
			continue
		}
		seen = append(seen, attribute)
		dst = append(dst, `,"`...)
		dst = append(dst, attribute...)
		dst = append(dst, `":`...)
		dst = AppendString(dst, headers[name])
	}
	return dst
}

// AppendString appends s as a JSON string.
func AppendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string can't fail
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// AppendJSON appends one of the server's own values.
func AppendJSON(dst []byte, value any) []byte {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(err) // the types are this package's
	}
	return append(dst, encoded...)
}
