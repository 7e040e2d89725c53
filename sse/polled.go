package sse

import (
	"encoding/json"

	"github.com/outcrier/outcrier/sse/wire"
)

// Polled is the answer to a long poll.
type Polled struct {
	// Events are as a stream's data would be, in the order of delivery.
	Events []json.RawMessage `json:"events"`
	// Position is where to go on from.
	Position string `json:"position"`
	// Gap is null when nothing is missing between the position asked for and
	// the first event.
	Gap *wire.Gap `json:"gap"`

	sending func() (sent func(whole bool))
}

// Sending has the poll recorded, if there is an audit and it gives events, as perhaps sent.
// It is called once, before the first byte of the answer is written, and the function that
// it returns after the last one: whole if all of it has left.
func (p Polled) Sending() (sent func(whole bool)) {
	if p.sending == nil {
		return func(bool) {}
	}
	return p.sending()
}

// AppendJSON appends the answer as JSON, with payloads byte for byte; encoding/json
// would rewrite them.
func (p Polled) AppendJSON(dst []byte) []byte {
	for _, part := range p.Parts() {
		dst = append(dst, part...)
	}
	return dst
}

// Parts are the answer as JSON, in pieces to be written one after the other: the events
// are not copied.
func (p Polled) Parts() [][]byte {
	parts := append(make([][]byte, 0, 2*len(p.Events)+2), []byte(`{"events":[`))
	for i, event := range p.Events {
		if i > 0 {
			parts = append(parts, comma)
		}
		parts = append(parts, event)
	}
	rest := wire.AppendString([]byte(`],"position":`), p.Position)
	rest = wire.AppendJSON(append(rest, `,"gap":`...), p.Gap)
	return append(parts, append(rest, '}'))
}

var comma = []byte{','}
