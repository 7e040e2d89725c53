package main

import (
	"bytes"
	"strconv"
	"time"
)

// eventType is the type of all events that a bench appends.
const eventType = "bench.appended"

// mark is what every payload of a bench begins with: who appended it, as which of his
// events on that topic, and when. By it a stream knows which events it has missed.
type mark struct {
	writer int
	// number counts the writer's events on the topic from 1.
	number int64
	// sent is when the append began, since began; 0 where it is not needed.
	sent time.Duration
}

// began is the zero of all times in marks: by the monotonic clock, unlike a date.
var began = time.Now()

// leastPayload is the size in bytes of a payload that holds any mark.
const leastPayload = 100

// appendTo appends the payload of a mark: JSON of exactly size bytes.
func (m mark) appendTo(dst []byte, size int) []byte {
	start := len(dst)
	dst = append(dst, `{"w":`...)
	dst = strconv.AppendInt(dst, int64(m.writer), 10)
	dst = append(dst, `,"n":`...)
	dst = strconv.AppendInt(dst, m.number, 10)
	dst = append(dst, `,"t":`...)
	dst = strconv.AppendInt(dst, int64(m.sent), 10)
	dst = append(dst, `,"pad":"`...)
	for len(dst)-start < size-2 {
		dst = append(dst, 'x')
	}
	return append(dst, `"}`...)
}

// payload is the text of a mark's payload.
func (m mark) payload(size int) string { return string(m.appendTo(make([]byte, 0, size), size)) }

// markSQL is the payload of number n by writer 0, of size bytes, in SQL.
const markSQL = `(rpad('{"w":0,"n":' || n || ',"t":0,"pad":"', $1 - 2, 'x') || '"}')::json`

// parseMark finds the mark in an event's data, which is the payload or an envelope
// around it.
func parseMark(data []byte) (m mark, ok bool) {
	at := bytes.Index(data, []byte(`{"w":`))
	if at < 0 {
		return m, false
	}
	rest := data[at+len(`{"w":`):]
	writer, rest, ok := cutNumber(rest, `,"n":`)
	if !ok {
		return m, false
	}
	number, rest, ok := cutNumber(rest, `,"t":`)
	if !ok {
		return m, false
	}
	sent, _, ok := cutNumber(rest, `,`)
	return mark{int(writer), number, time.Duration(sent)}, ok
}

// cutNumber takes digits and what must follow them off the front of text.
func cutNumber(text []byte, then string) (n int64, rest []byte, ok bool) {
	i := 0
	for i < len(text) && i < 18 && text[i] >= '0' && text[i] <= '9' {
		n = n*10 + int64(text[i]-'0')
		i++
	}
	rest, ok = bytes.CutPrefix(text[i:], []byte(then))
	return n, rest, ok && i > 0
}
