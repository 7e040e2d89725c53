package sse

import (
	"encoding/json"

	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/position"
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

// answer returns the events with the position after them, as the reader gets it and as the
// audit's record has it.
func (p *poll) answer(sealed string, to position.Position) (Polled, error) {
	if p.noRoom && len(p.events) == 0 {
		return Polled{}, ErrNoRoom
	}
	polled := Polled{Events: p.events, Position: sealed, Gap: wire.NewGap(p.gap)}
	if p.request.Record != nil && len(p.events) > 0 {
		polled.sending = func() func(bool) { return p.record(to) }
	}
	return polled, nil
}

// record is the audit's of the whole poll: a stream that ends when the answer was sent.
func (p *poll) record(to position.Position) (sent func(whole bool)) {
	record := p.request.Record(p.from, p.filter)
	if p.live != nil {
		record.Live(*p.live)
	}
	return Sending(record, to, len(p.events), p.last)
}

// Sending notes that an answer with events is about to be sent, for its record, and returns
// the function to call when it was, whole or not.
func Sending(record *audit.StreamRecord, to position.Position, events int, last int64) (sent func(whole bool)) {
	record.Perhaps(to, events, last)
	return func(whole bool) {
		if !whole {
			record.Closed("lost")
			return
		}
		record.Sent()
		record.Closed("polled")
	}
}
