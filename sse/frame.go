package sse

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/outcrier/outcrier/outbox"
)

// Format is how a stream's events are written.
type Format uint8

const (
	// CloudEvents is the default: the data is a CloudEvents 1.0 envelope in
	// JSON, the SSE event is the type.
	CloudEvents Format = 0
	// Payload makes the data the payload alone.
	Payload Format = 1 << 0
	// Unnamed leaves the SSE event out, so that all arrive at onmessage.
	Unnamed Format = 1 << 1
	// Gzip compresses the stream (RFC 1952).
	Gzip Format = 1 << 2
	// WebSocket is the format of a stream on one, with or without Payload: messages.
	WebSocket Format = 1 << 4
	// reference makes the envelope have dataref instead of data: where to read the
	// event by its id. It is chosen by Request.MaxData.
	reference Format = 1 << 3

	formats = 16
)

// index is where a frame has the format: those of a WebSocket take the places of formats of
// SSE that can't be, Payload by reference.
func (f Format) index() Format {
	if f&WebSocket == 0 {
		return f
	}
	const free = Payload | reference
	switch f &^ WebSocket {
	case Payload:
		return free | Unnamed
	case reference:
		return free | Gzip
	}
	return free
}

// Frame is an event in wire form, encoded once a format for all streams that it
// goes to. It may be read by many goroutines at once.
type Frame struct {
	Event *outbox.Event
	// read is the read that the event came in, the same for all of them; nil
	// for a frame out of the table.
	read *reading
	// ends is set for the last event of its read.
	ends bool
	// tied is set for an event whose id the next one of its read has too: the
	// sequence was set back.
	tied bool
	// serial tells the frames of a hub apart, and rises by one.
	serial  int64
	encoded [formats]atomic.Pointer[encoded]
}

// encoded is a frame in one format. In SSE these are the fields event and data, and from
// head on the field id and the blank line; in the message of a WebSocket its header and the
// position, and from head on the event. A stream that is ahead of this node has positions of
// its own.
type encoded struct {
	wire []byte
	head int
	// sum is of the text of wire, and headSum of that up to head, when it is
	// compressed.
	sum, headSum checksum
	// key is what the id was sealed with.
	key *outbox.PositionKey
}

// claim returns the id up to which a reader has received all events of a read or leg, once
// it has received the one with this id. If the next event has the same id it is one less,
// so that a disconnect between them repeats the first instead of losing the second.
func claim(id int64, tied bool) int64 {
	if tied {
		return id - 1
	}
	return id
}

// Position returns the position of a reader that has received the event and all before it.
func (f *Frame) Position() outbox.Position {
	p := f.read.To
	p.EventID = claim(f.Event.ID, f.tied)
	if !f.ends {
		p.Given, p.Within = f.read.From.Given, &f.read.To.Given
	}
	return p
}

// in returns the frame in a format, and encodes it the first time. Two goroutines may both
// be the first; that costs no more than the work.
func (f *Frame) in(format Format) *encoded {
	key := f.read.keys.Used()
	place := &f.encoded[format.index()]
	if e := place.Load(); e != nil && e.key == key {
		return e
	}
	var e *encoded
	switch {
	case format&Gzip != 0:
		e = f.in(format &^ Gzip).compress()
	case format&WebSocket != 0:
		tail := appendTail(make([]byte, 0, 448+len(f.Event.Payload)), f.Event, format)
		e = &encoded{wire: slices.Clip(appendMessage(nil, f.read.keys, f.Position(), tail))}
		e.head = len(e.wire) - len(tail)
	default:
		wire := appendHead(make([]byte, 0, 448+len(f.Event.Payload)), f.Event, format)
		e = &encoded{head: len(wire)}
		e.wire = slices.Clip(appendEnd(wire, f.read.keys, f.Position()))
	}
	e.key = key
	place.Store(e)
	return e
}

// within is like in, for a reader that accepts at most that many bytes of an event's fields
// before the id, if most is above 0: for a larger event it returns the reference.
func (f *Frame) within(format Format, most int) *encoded {
	if most > 0 {
		e := f.in(format &^ Gzip)
		if n := len(e.data()); format&WebSocket == 0 && n > most || format&WebSocket != 0 && len(e.tail()) > most {
			format |= reference
		}
	}
	return f.in(format)
}

// data is the part before the id; in the unnamed format the field data.
func (e *encoded) data() []byte { return e.wire[:e.head] }

// tail returns the part of a message after the position.
func (e *encoded) tail() []byte { return e.wire[e.head:] }

// size is the frame's length on the wire, in bytes.
func (f *Frame) size(format Format) int { return len(f.in(format).wire) }

// appendEnd appends the SSE field id, and the blank line that dispatches the event (HTML
// Standard, 9.2.6). The id is the last field: some clients commit it when they read its
// line, and a client that is cut off before the blank line would lose an event whose
// data came after it.
func appendEnd(dst []byte, keys *outbox.PositionKeys, p outbox.Position) []byte {
	dst = append(dst, "id: "...)
	dst = keys.Append(dst, p)
	return append(dst, "\n\n"...)
}

// appendHeadWithin is appendHead of at most so many bytes, as Frame.within.
func appendHeadWithin(dst []byte, e *outbox.Event, format Format, most int) []byte {
	begin := len(dst)
	dst = appendHead(dst, e, format)
	if most > 0 && len(dst)-begin > most {
		dst = appendHead(dst[:begin], e, format|reference)
	}
	return dst
}

// appendHead appends the SSE fields event and data.
func appendHead(dst []byte, e *outbox.Event, format Format) []byte {
	if format&Unnamed == 0 {
		dst = append(dst, "event: "...)
		dst = append(dst, e.Type...)
		dst = append(dst, '\n')
	}
	dst = append(dst, "data: "...)
	data := len(dst)
	dst = oneLine(appendJSONData(dst, e, format), data)
	return append(dst, '\n')
}

// oneLine makes the JSON from a place on in dst a single line, for every reader: a line
// break in a payload could forge fields. JSON has CR and LF between its tokens only,
// where a space is the same; line separators beyond ASCII, which some clients take for
// the end of a line, it has in strings only, where they can be escaped.
func oneLine(dst []byte, from int) []byte {
	data := dst[from:]
	if bytes.IndexByte(data, '\n') >= 0 || bytes.IndexByte(data, '\r') >= 0 {
		for i, c := range data {
			if c == '\n' || c == '\r' {
				data[i] = ' '
			}
		}
	}
	// By their first bytes, as most text has neither.
	if bytes.IndexByte(data, "\u2028"[0]) >= 0 || bytes.IndexByte(data, "\u0085"[0]) >= 0 {
		for _, separator := range separators {
			if bytes.Contains(data, separator) {
				return append(dst[:from], escapes.Replace(string(data))...)
			}
		}
	}
	return dst
}

var (
	separators = [][]byte{[]byte("\u2028"), []byte("\u2029"), []byte("\u0085")}
	escapes    = strings.NewReplacer("\u2028", `\u2028`, "\u2029", `\u2029`, "\u0085", `\u0085`)
)

// appendEnvelope appends the event as a CloudEvents 1.0 object in JSON, the payload byte
// for byte. topic is an extension attribute, and so is each header, except subject and
// dataschema, which are CloudEvents' own (3.1: names are lower-case letters and digits). A
// reference has dataref instead of data (CloudEvents' extension of that name), relative to
// the request's path.
func appendEnvelope(dst []byte, e *outbox.Event, isReference bool) []byte {
	dst = append(dst, `{"specversion":"1.0","id":"`...)
	dst = strconv.AppendInt(dst, e.ID, 10)
	dst = append(dst, `","source":`...)
	dst = appendString(dst, e.Source)
	dst = append(dst, `,"type":`...)
	dst = appendString(dst, e.Type)
	dst = append(dst, `,"topic":`...)
	dst = appendString(dst, e.Topic)
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

// appendTime appends a time of UTC with all its microseconds (RFC 3339). The
// standard library is fast for whole seconds.
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
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	seen := slices.Clone(reserved)
	if isReference {
		seen = append(seen, "dataref") // ours; otherwise a publisher may have one
	}
	for _, name := range names {
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
		dst = appendString(dst, headers[name])
	}
	return dst
}

// appendString appends s as a JSON string.
func appendString(dst []byte, s string) []byte {
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

// appendJSONData appends the event's data on its own, as one JSON value.
func appendJSONData(dst []byte, e *outbox.Event, format Format) []byte {
	if format&Payload != 0 {
		return append(dst, e.Payload...)
	}
	return appendEnvelope(dst, e, format&reference != 0)
}

// appendJSON appends one of the server's own values.
func appendJSON(dst []byte, value any) []byte {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(err) // the types are this package's
	}
	return append(dst, encoded...)
}

// appendRetry appends the SSE field retry: a delay of its own for each stream.
func appendRetry(dst []byte, mean time.Duration) []byte {
	dst = append(dst, "retry: "...)
	dst = strconv.AppendInt(dst, jittered(mean).Milliseconds(), 10)
	return append(dst, '\n')
}
