package table

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
)

// Columns are an event's columns, in the order in which a Decoder takes them.
const Columns = `xid, id, topic, type, payload, source, headers, created_at`

const (
	columnXID = iota
	columnID
	columnTopic
	columnType
	columnPayload
	columnSource
	columnHeaders
	columnCreatedAt
	// More is the first column that a query adds.
	More
)

// Binary goes before the arguments of a query: all its columns then come in the form that a
// Decoder reads.
var Binary = pgx.QueryResultFormats{pgx.BinaryFormatCode}

// Decoder reads events out of rows of Columns, which may be followed by other columns.
// A replay reads hundreds of thousands of events a second, most of which are alike: they
// share their strings, and their payloads are cut from one piece of memory.
type Decoder struct {
	// Row has the columns of the row that was decoded last, until the next one is read.
	Row [][]byte
	// Arena has room for further payloads, and Kept is the size of those so far.
	Arena []byte
	Kept  int

	last outbox.Event
}

// maxArena bounds how much other memory one payload can pin.
const maxArena = 16 << 10

// Decode reads the row that rows stand on.
func (d *Decoder) Decode(rows pgx.Rows) (e outbox.Event, err error) {
	d.Row = rows.RawValues()
	headers := d.Row[columnHeaders]
	if len(d.Row[columnXID]) != 8 || len(d.Row[columnID]) != 8 || len(d.Row[columnCreatedAt]) != 8 || headers != nil && (len(headers) == 0 || headers[0] != 1) {
		return outbox.Event{}, fmt.Errorf("the database's binary formats are unknown: %x, %x, %x, %.10x",
			d.Row[columnXID], d.Row[columnID], d.Row[columnCreatedAt], headers)
	}
	d.last = outbox.Event{
		XID:    binary.BigEndian.Uint64(d.Row[columnXID]),
		ID:     d.Int64(columnID),
		Topic:  d.text(columnTopic, d.last.Topic),
		Type:   d.text(columnType, d.last.Type),
		Source: d.text(columnSource, d.last.Source),
		// Microseconds since 2000 (src/include/datatype/timestamp.h).
		CreatedAt: time.UnixMicro(d.Int64(columnCreatedAt) + year2000).UTC(),
	}
	e = d.last
	e.Payload = d.keep(d.Row[columnPayload])
	if headers != nil {
		// A byte of jsonb's version, and the text.
		if err := json.Unmarshal(headers[1:], &e.Headers); err != nil {
			return outbox.Event{}, fmt.Errorf("headers of event %d: %w", e.ID, err)
		}
	}
	return e, nil
}

var year2000 = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// Int64 is a bigint; 0 where there is NULL.
func (d *Decoder) Int64(column int) int64 {
	if len(d.Row[column]) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(d.Row[column]))
}

// text returns a text, and reuses like, that of the row before, if they are equal.
func (d *Decoder) text(column int, like string) string {
	if string(d.Row[column]) == like {
		return like
	}
	return string(d.Row[column])
}

// keep copies bytes out of the connection's buffer. The pieces of memory that it cuts from
// are as large as all bytes kept before, so that a single event pins only its own.
func (d *Decoder) keep(p []byte) []byte {
	if p == nil {
		return nil
	}
	d.Kept += len(p)
	if len(p) > cap(d.Arena)-len(d.Arena) {
		d.Arena = make([]byte, 0, max(len(p), min(d.Kept-len(p), maxArena)))
	}
	start := len(d.Arena)
	d.Arena = append(d.Arena, p...)
	return d.Arena[start:len(d.Arena):len(d.Arena)]
}

// Size is about what an event holds in memory, in bytes.
func Size(e *outbox.Event) int {
	return len(e.Topic) + len(e.Type) + len(e.Source) + len(e.Payload) + 160
}
