package outbox

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// eventColumns are an event's columns, in the order in which a decoder takes them.
const eventColumns = `xid, id, topic, type, payload, source, headers, created_at`

const (
	columnXID = iota
	columnID
	columnTopic
	columnType
	columnPayload
	columnSource
	columnHeaders
	columnCreatedAt
	columnsMore // what a query adds
)

// inBinary, before the arguments of a query, has all its columns come in the form
// that a decoder reads.
var inBinary = pgx.QueryResultFormats{pgx.BinaryFormatCode}

// decoder reads events out of rows of eventColumns, which may be followed by other columns.
// A replay reads hundreds of thousands of events a second, most of which are alike: they
// share their strings, and their payloads are cut from one piece of memory.
type decoder struct {
	row  [][]byte
	last Event
	// arena has room for further payloads, and kept is the size of those so far.
	arena []byte
	kept  int
}

// maxArena bounds how much other memory one payload can pin.
const maxArena = 16 << 10

// decode reads the row that rows stand on.
func (d *decoder) decode(rows pgx.Rows) (e Event, err error) {
	d.row = rows.RawValues()
	headers := d.row[columnHeaders]
	if len(d.row[columnXID]) != 8 || len(d.row[columnID]) != 8 || len(d.row[columnCreatedAt]) != 8 || headers != nil && (len(headers) == 0 || headers[0] != 1) {
		return Event{}, fmt.Errorf("the database's binary formats are unknown: %x, %x, %x, %.10x",
			d.row[columnXID], d.row[columnID], d.row[columnCreatedAt], headers)
	}
	d.last = Event{
		XID:    binary.BigEndian.Uint64(d.row[columnXID]),
		ID:     d.int64(columnID),
		Topic:  d.text(columnTopic, d.last.Topic),
		Type:   d.text(columnType, d.last.Type),
		Source: d.text(columnSource, d.last.Source),
		// Microseconds since 2000 (src/include/datatype/timestamp.h).
		CreatedAt: time.UnixMicro(d.int64(columnCreatedAt) + year2000).UTC(),
	}
	e = d.last
	e.Payload = d.keep(d.row[columnPayload])
	if headers != nil {
		// A byte of jsonb's version, and the text.
		if err := json.Unmarshal(headers[1:], &e.Headers); err != nil {
			return Event{}, fmt.Errorf("headers of event %d: %w", e.ID, err)
		}
	}
	return e, nil
}

var year2000 = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// int64 is a bigint; 0 where there is NULL.
func (d *decoder) int64(column int) int64 {
	if len(d.row[column]) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(d.row[column]))
}

// text returns a text, and reuses like, that of the row before, if they are equal.
func (d *decoder) text(column int, like string) string {
	if string(d.row[column]) == like {
		return like
	}
	return string(d.row[column])
}

// keep copies bytes out of the connection's buffer. The pieces of memory that it cuts from
// are as large as all bytes kept before, so that a single event pins only its own.
func (d *decoder) keep(p []byte) []byte {
	if p == nil {
		return nil
	}
	d.kept += len(p)
	if len(p) > cap(d.arena)-len(d.arena) {
		d.arena = make([]byte, 0, max(len(p), min(d.kept-len(p), maxArena)))
	}
	start := len(d.arena)
	d.arena = append(d.arena, p...)
	return d.arena[start:len(d.arena):len(d.arena)]
}

// memory is what pages of many events are read into, one after the other.
type memory struct {
	events []Event
	arena  []byte
	kept   int // in the last page
}

var memories = sync.Pool{New: func() any { return new(memory) }}

// take returns room for as many events and bytes as the last page had.
func (m *memory) take() (events []Event, arena []byte) {
	if m.kept > cap(m.arena) {
		m.arena = make([]byte, 0, m.kept)
	}
	return m.events[:0], m.arena[:0]
}

// put takes the memory back, from a page with these events.
func (m *memory) put(events []Event) {
	clear(events)
	m.events = events
	memories.Put(m)
}
