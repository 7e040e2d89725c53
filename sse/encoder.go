package sse

import (
	"fmt"
	"time"

	"github.com/outcrier/outcrier/outbox"
)

// encoder writes the events of one stream in a wire form: plain SSE, compressed, in
// batches, or as the messages of a WebSocket. Each method appends to dst, the stream's
// buffer (see begin), and returns it. One goroutine at a time uses it, the one that has the
// stream.
type encoder interface {
	// open appends the beginning of a stream, before its position is known.
	open(dst []byte) []byte
	// room is called before each event that is read from the table, and in batches before
	// each event. It reports whether dst must be sent first.
	room(dst []byte, f *Frame, e *outbox.Event) ([]byte, bool)
	// pending is how many bytes of events the encoder keeps to itself, until seal.
	pending() int
	// frame appends an event with the position that its frame has.
	frame(dst []byte, f *Frame) []byte
	// frameAt appends an event of a frame with another position.
	frameAt(dst []byte, f *Frame, at outbox.Position) []byte
	// event appends an event that is in no frame.
	event(dst []byte, e *outbox.Event, at outbox.Position) []byte
	// notice appends one of the server's own events.
	notice(dst []byte, n notice) []byte
	// heartbeat appends a sign of life; at is the reader's position, and moved reports
	// whether the reader has yet to learn it.
	heartbeat(dst []byte, at outbox.Position, moved bool) []byte
	// end appends the goodbye, if there is one, and reports whether the response is
	// complete then. A stream that ends without a goodbye is cut off: a client that fetches
	// it would not ask again after a complete response.
	end(dst []byte, e ending) ([]byte, bool)
	// seal makes dst whole: it is sent next.
	seal(dst []byte) []byte
}

// notice is one of the server's own events.
type notice struct {
	// name is its type without "outcrier.".
	name string
	at   outbox.Position
	data any
	// retry, if not nil, is the mean of the delays after which to reconnect.
	retry *time.Duration
}

// ending is why and where a stream ends.
type ending struct {
	why error
	// at is the last position that the reader was sent, the zero value for none.
	at outbox.Position
	// retry is the mean of the delays after which to reconnect.
	retry time.Duration
}

// newEncoder returns the encoder that a request asks for. It may change the format to the
// one whose frames the encoder uses.
func newEncoder(request *Request, keys *outbox.PositionKeys, inbox *inbox) encoder {
	plain := plain{request.Format, request.MaxData, keys}
	switch {
	case inbox != nil:
		request.Format, request.Batch = request.Format&Payload|WebSocket, 0
		plain.format = request.Format
		return &messages{plain: plain, inbox: inbox}
	case request.Batch > 0:
		b := newBatches(plain)
		request.Format = b.format
		return b
	case request.Format&Gzip != 0:
		return &compressed{plain: plain}
	}
	return &plain
}

// plain writes SSE as it is.
type plain struct {
	format  Format
	maxData int
	keys    *outbox.PositionKeys
}

// Comments have no blank line after them: some clients take every blank line for the end of
// an event, and give an empty one to JSON.parse.
const (
	firstLine     = ": outcrier\n"
	heartbeatLine = ":\n"
)

func (p *plain) open(dst []byte) []byte { return append(begin(dst), firstLine...) }

func (p *plain) room(dst []byte, _ *Frame, e *outbox.Event) ([]byte, bool) {
	return dst, len(dst) > 0 && len(dst)+len(e.Payload) > writeBytes
}

func (p *plain) pending() int { return 0 }

func (p *plain) frame(dst []byte, f *Frame) []byte {
	return append(begin(dst), f.within(p.format, p.maxData).wire...)
}

func (p *plain) frameAt(dst []byte, f *Frame, at outbox.Position) []byte {
	return appendEnd(append(begin(dst), f.within(p.format, p.maxData).data()...), p.keys, at)
}

func (p *plain) event(dst []byte, e *outbox.Event, at outbox.Position) []byte {
	return appendEnd(appendHeadWithin(begin(dst), e, p.format, p.maxData), p.keys, at)
}

func (p *plain) notice(dst []byte, n notice) []byte {
	dst = append(begin(dst), "event: outcrier."...)
	dst = append(dst, n.name...)
	dst = append(dst, '\n')
	if n.retry != nil {
		dst = appendRetry(dst, *n.retry)
	}
	dst = appendJSON(append(dst, "data: "...), n.data)
	return appendEnd(append(dst, '\n'), p.keys, n.at)
}

func (p *plain) heartbeat(dst []byte, at outbox.Position, moved bool) []byte {
	if moved {
		return p.notice(dst, notice{name: "position", at: at, data: struct{}{}})
	}
	return append(begin(dst), heartbeatLine...)
}

func (p *plain) end(dst []byte, e ending) ([]byte, bool) {
	goodbye := goodbyeOf(e.why)
	if goodbye == nil {
		return dst, false
	}
	return appendGoodbye(begin(dst), goodbye, e.retry), true
}

func (p *plain) seal(dst []byte) []byte { return dst }

func appendGoodbye(dst []byte, why *Goodbye, retry time.Duration) []byte {
	dst = append(dst, "event: outcrier.goodbye\n"...)
	dst = appendRetry(dst, retry)
	return fmt.Appendf(dst, "data: {\"reason\":%q}\n\n", why.Reason)
}
