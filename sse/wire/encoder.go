package wire

import (
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
)

// Encoder writes the events of one stream in a wire form: plain SSE, compressed, in
// batches, or as the messages of a WebSocket. Each method appends to dst, the stream's
// buffer, which begins with room for a chunk's header and so is empty or begun by an Encoder
// (see Framed), and returns it. One goroutine at a time uses it, the one that has the
// stream.
type Encoder interface {
	// Open appends the beginning of a stream, before its position is known.
	Open(dst []byte) []byte
	// Room is called before each event of a replay, and in batches before each event; f is nil
	// for one from the table. It reports whether dst must be sent first.
	Room(dst []byte, f *Frame, e *outbox.Event) ([]byte, bool)
	// Pending returns how many bytes of events the encoder keeps to itself until Seal.
	Pending() int
	// Frame appends an event with the position that its frame has.
	Frame(dst []byte, f *Frame) []byte
	// FrameAt appends an event of a frame with another position.
	FrameAt(dst []byte, f *Frame, at position.Position) []byte
	// Event appends an event that is in no frame.
	Event(dst []byte, e *outbox.Event, at position.Position) []byte
	// Notice appends one of the server's own events.
	Notice(dst []byte, n Notice) []byte
	// Heartbeat appends a sign of life; at is the reader's position, and moved reports
	// whether the reader has yet to learn it.
	Heartbeat(dst []byte, at position.Position, moved bool) []byte
	// End appends the goodbye, if there is one, and reports whether the response is
	// complete then. A stream that ends without a goodbye is cut off: a client that fetches
	// it would not ask again after a complete response.
	End(dst []byte, e Ending) ([]byte, bool)
	// Seal makes dst whole: it is sent next.
	Seal(dst []byte) []byte
}

// Notice is one of the server's own events.
type Notice struct {
	// Name is its type without "outcrier.".
	Name string
	At   position.Position
	Data any
	// Retry, if not nil, is the mean of the delays after which to reconnect.
	Retry *time.Duration
}

// Encoding is what a client asks of an encoder.
type Encoding struct {
	Format Format
	// MaxData, when above 0, is how many bytes an event may have without its id.
	MaxData int
	// Batch is set for events in batches.
	Batch bool
	// Ping, when not nil, returns the last ping of a WebSocket's client: the encoder
	// writes messages, whatever the format says.
	Ping func() (payload []byte, is bool)
	Keys *position.Keys
}

// NewEncoder returns the encoder that a client asks for, and the format whose frames the
// encoder uses.
func NewEncoder(e Encoding) (Encoder, Format) {
	plain := plain{e.Format, e.MaxData, e.Keys}
	switch {
	case e.Ping != nil:
		plain.format = e.Format&Payload | WebSocket
		return &messages{plain: plain, ping: e.Ping}, plain.format
	case e.Batch:
		b := newBatches(plain)
		return b, b.format
	case e.Format&Gzip != 0:
		return &compressed{plain: plain}, e.Format
	}
	return &plain, e.Format
}

// WriteBytes is about how much is written at a time.
const WriteBytes = 32 << 10
