package wire

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
)

// Frame is an event in wire form, encoded once a format for all streams that it
// goes to. It may be read by many goroutines at once.
type Frame struct {
	Event *outbox.Event
	// Read is the read that the event came in, the same for all of them; nil
	// for a frame out of the table.
	Read *Read
	// Last is set for the last event of its read.
	Last bool
	// Tied is set for an event whose id the next one of its read has too: the
	// sequence was set back.
	Tied bool
	// Serial numbers the frames of a hub: each has one more than the frame before it.
	Serial  int64
	encoded [places]atomic.Pointer[encoded]
}

// Read is a read of the tail without its events, one for all its parts.
type Read struct {
	From, To position.Position
	// Number counts the reads of the hub.
	Number int64
	// At is when it was handed to the hub.
	At time.Time
	// Keys write the positions of its frames.
	Keys *position.Keys
}

// ResumeID returns the id up to which a reader has received all events of a read or range, once
// it has received the one with this id. If the next event has the same id it is one less,
// so that a disconnect between them repeats the first instead of losing the second.
func ResumeID(id int64, tied bool) int64 {
	if tied {
		return id - 1
	}
	return id
}

// Position returns the position of a reader that has received the event and all before it.
func (f *Frame) Position() position.Position {
	p := f.Read.To
	p.EventID = ResumeID(f.Event.ID, f.Tied)
	if !f.Last {
		p.Given, p.Within = f.Read.From.Given, &f.Read.To.Given
	}
	return p
}

// Footprint is about how many bytes an event and its frame hold in memory: the event as it
// is, and once more on the wire.
func Footprint(e *outbox.Event) int {
	return 2*(len(e.Topic)+len(e.Type)+len(e.Source)+len(e.Payload)) + 500
}

// encoded is a frame in one format, in two parts that meet at head, since a stream that is
// ahead of this node puts positions of its own into it. In SSE the position is in the second
// part: the fields event and data, then id and the blank line. In the message of a WebSocket
// it is in the first: the header and the position, then the event.
type encoded struct {
	wire []byte
	head int
	// sum is of the text of wire, and headSum of that up to head, when it is
	// compressed.
	sum, headSum checksum
	// key is what the id was sealed with.
	key *position.Key
}

// in returns the frame in a format. The first call encodes it. Two goroutines may both be
// first: then the work is done twice, and either result is good.
func (f *Frame) in(format Format) *encoded {
	key := f.Read.Keys.Used()
	place := &f.encoded[format.place()]
	if e := place.Load(); e != nil && e.key == key {
		return e
	}
	var e *encoded
	switch {
	case format&Gzip != 0:
		e = f.in(format &^ Gzip).compress()
	case format&WebSocket != 0:
		tail := appendTail(make([]byte, 0, 448+len(f.Event.Payload)), f.Event, format)
		e = &encoded{wire: slices.Clip(appendMessage(nil, f.Read.Keys, f.Position(), tail))}
		e.head = len(e.wire) - len(tail)
	default:
		wire := appendHead(make([]byte, 0, 448+len(f.Event.Payload)), f.Event, format)
		e = &encoded{head: len(wire)}
		e.wire = slices.Clip(appendEnd(wire, f.Read.Keys, f.Position()))
	}
	e.key = key
	place.Store(e)
	return e
}

// within is like in for a reader that accepts at most that many bytes of an event, without its
// id, if most is above 0: a larger event is given by reference.
func (f *Frame) within(format Format, most int) *encoded {
	if most > 0 {
		e := f.in(format &^ Gzip)
		if n := len(e.data()); format&WebSocket == 0 && n > most || format&WebSocket != 0 && len(e.tail()) > most {
			format |= reference
		}
	}
	return f.in(format)
}

// data returns the part before the id; in the unnamed format that is the field data.
func (e *encoded) data() []byte { return e.wire[:e.head] }

// tail returns the part of a message after the position.
func (e *encoded) tail() []byte { return e.wire[e.head:] }

// Size returns the frame's length on the wire, in bytes.
func (f *Frame) Size(format Format) int { return len(f.in(format).wire) }
