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

// Sending records the poll as perhaps sent, if there is an audit and the answer has events.
// It is called once, before the first byte of the answer is written; the function that it
// returns is called after the last one, with whether all of it was sent.
func (p Polled) Sending() (sent func(whole bool)) {
	if p.sending == nil {
		return func(bool) {}
	}
	return p.sending()
}

// Parts returns the answer as JSON, in pieces to be written one after the other. Payloads are
// byte for byte as they were appended, which encoding/json would not keep, and not copied.
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
