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
	// reference makes the envelope have dataref instead of data: where to read the
	// event by its id. The encoder chooses it for events larger than Encoding.MaxData.
	reference Format = 1 << 3
	// WebSocket is the format of a stream on one, with or without Payload: messages.
	WebSocket Format = 1 << 4

	// places is how many formats a frame has room for.
	places = 16
)

// place returns a frame's place for the format. Every frame in memory has all places, so
// there are only 16 for the 32 combinations. Those of SSE are numbered by their bits. None of
// them has Payload and reference together, since only an envelope can have dataref: the three
// formats of a WebSocket take places of that combination.
func (f Format) place() Format {
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
