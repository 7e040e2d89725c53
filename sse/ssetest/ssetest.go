// Package ssetest reads and checks event streams in tests. It is written from
// the HTML Standard (9.2.6, "Interpreting an event stream") and shares nothing
// with the encoder that it checks.
package ssetest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// Event is what a browser would dispatch.
type Event struct {
	// ID is the last event id at that time, which an earlier event may have set.
	ID string
	// Type is "message" when the stream names none.
	Type string
	// Data are the data lines, joined by LF.
	Data string
}

// Parser reads a stream. It is not safe for use by several goroutines at once.
type Parser struct {
	// LastID is what a browser would send in Last-Event-ID.
	LastID string
	// Retry is the last delay received, 0 before the first.
	Retry time.Duration
	// Comments are all comments so far, without the colon.
	Comments []string
	// Strange are the lines so far that a browser ignores: unknown fields, ids
	// with NUL, a retry that is no number.
	Strange []string

	in      *bufio.Reader
	started bool
	skipLF  bool // the line before ended with CR
}

// NewParser makes a parser of a stream.
func NewParser(r io.Reader) *Parser { return &Parser{in: bufio.NewReader(r)} }

// Parse returns all events of a whole stream, and the parser, which has the rest.
func Parse(stream []byte) ([]Event, *Parser) {
	p := NewParser(bytes.NewReader(stream))
	var events []Event
	for {
		event, err := p.Next()
		if err != nil {
			return events, p
		}
		events = append(events, event)
	}
}

// Next reads the next event. It returns io.EOF at the end of the stream; an event without a
// blank line after it is dropped, as the standard says, and then Next returns
// io.ErrUnexpectedEOF.
func (p *Parser) Next() (Event, error) {
	event, begun := Event{Type: "message"}, false
	var data strings.Builder
	id := p.LastID
	for {
		line, err := p.line()
		switch {
		case errors.Is(err, io.EOF) && (begun || line != ""):
			return Event{}, io.ErrUnexpectedEOF
		case err != nil:
			return Event{}, err
		case line == "":
			p.LastID = id
			if data.Len() == 0 {
				event.Type, begun = "message", false
				continue
			}
			event.ID, event.Data = id, strings.TrimSuffix(data.String(), "\n")
			return event, nil
		}
		begun = true
		if comment, ok := strings.CutPrefix(line, ":"); ok {
			p.Comments = append(p.Comments, comment)
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case field == "event":
			event.Type = value
			if value == "" {
				event.Type = "message"
			}
		case field == "data":
			data.WriteString(value + "\n")
		case field == "id" && !strings.Contains(value, "\x00"):
			id = value
		case field == "retry" && value != "" && strings.Trim(value, "0123456789") == "":
			milliseconds, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return Event{}, err
			}
			p.Retry = time.Duration(milliseconds) * time.Millisecond
		default:
			p.Strange = append(p.Strange, line)
		}
	}
}

// line reads up to CR, LF or CRLF. After a CR it does not wait to see whether
// an LF follows.
func (p *Parser) line() (string, error) {
	var line []byte
	for {
		if _, err := p.in.Peek(1); err != nil {
			return string(line), err
		}
		there, _ := p.in.Peek(p.in.Buffered()) // what has arrived: it can't fail
		if there[0] == '\n' && p.skipLF {
			p.skipLF = false
			_, _ = p.in.Discard(1)
			continue
		}
		end := bytes.IndexByte(there, '\n')
		if end < 0 {
			end = len(there)
		}
		if cr := bytes.IndexByte(there[:end], '\r'); cr >= 0 {
			end = cr
		}
		line = append(line, there[:end]...)
		whole := end < len(there)
		p.skipLF = whole && there[end] == '\r'
		_, _ = p.in.Discard(min(end+1, len(there)))
		if !whole {
			continue
		}
		if !p.started {
			p.started = true
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		// Decoding replaces bytes that are not UTF-8.
		return string([]rune(string(line))), nil
	}
}
