package eventsource

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// Event is one that was dispatched.
type Event struct {
	// ID is the last event ID at that moment, of this event or of an earlier one.
	ID string `json:"id"`
	// Type is "message" for an event that has none.
	Type string `json:"type"`
	Data string `json:"data"`
}

// Parse returns the events of a whole stream, as one client would get them.
func Parse(stream []byte) []Event {
	var events []Event
	p := newParser("", func(e Event) { events = append(events, e) }, func(time.Duration) {})
	p.write(stream)
	return events
}

// parser is the algorithm of "interpreting an event stream" (9.2.6). What follows the
// last blank line is not dispatched.
type parser struct {
	dispatched func(Event)
	retry      func(time.Duration)

	pending  []byte // of a line whose end has not come
	searched int    // so many bytes of pending have no end of a line
	begun    bool   // the place of a byte order mark has been read
	afterCR  bool   // a LF that comes next belongs to the line before
	data     strings.Builder
	kind, id string
	// dispatchedID is the last event ID string: the id of the last block that ended.
	dispatchedID string
}

func newParser(lastEventID string, dispatched func(Event), retry func(time.Duration)) *parser {
	return &parser{dispatched: dispatched, retry: retry, id: lastEventID, dispatchedID: lastEventID}
}

const byteOrderMark = "\ufeff"

func (p *parser) write(b []byte) {
	p.pending = append(p.pending, b...)
	rest, searched := p.pending, p.searched
	if !p.begun {
		if len(rest) < len(byteOrderMark) && strings.HasPrefix(byteOrderMark, string(rest)) {
			return
		}
		p.begun = true
		rest = bytes.TrimPrefix(rest, []byte(byteOrderMark))
	}
	for len(rest) > 0 {
		if p.afterCR {
			p.afterCR = false
			if rest[0] == '\n' {
				rest = rest[1:]
				continue
			}
		}
		end := bytes.IndexAny(rest[searched:], "\r\n")
		if end < 0 {
			break
		}
		end += searched
		searched = 0
		p.afterCR = rest[end] == '\r'
		p.line(strings.ToValidUTF8(string(rest[:end]), "\ufffd"))
		rest = rest[end+1:]
	}
	p.pending = append(p.pending[:0], rest...)
	p.searched = len(rest)
}

func (p *parser) line(line string) {
	if line == "" {
		p.dispatch()
		return
	}
	name, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch name {
	case "event":
		p.kind = value
	case "data":
		p.data.WriteString(value)
		p.data.WriteByte('\n')
	case "id":
		if !strings.Contains(value, "\x00") {
			p.id = value
		}
	case "retry":
		if digits := strings.Trim(value, "0123456789") == "" && value != ""; digits {
			if ms, err := strconv.ParseInt(value, 10, 32); err == nil {
				p.retry(time.Duration(ms) * time.Millisecond)
			}
		}
	}
}

func (p *parser) dispatch() {
	p.dispatchedID = p.id
	data, kind := p.data.String(), p.kind
	p.data.Reset()
	p.kind = ""
	if data == "" {
		return
	}
	if kind == "" {
		kind = "message"
	}
	p.dispatched(Event{ID: p.dispatchedID, Type: kind, Data: strings.TrimSuffix(data, "\n")})
}
