package wire

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
