package wire

import (
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
)

// plain writes SSE as it is.
type plain struct {
	format  Format
	maxData int
	keys    *position.Keys
}

// Comments have no blank line after them: some clients take every blank line for the end of
// an event, and give an empty one to JSON.parse.
const (
	firstLine     = ": outcrier\n"
	heartbeatLine = ":\n"
)

func (p *plain) Open(dst []byte) []byte { return append(begin(dst), firstLine...) }

func (p *plain) Room(dst []byte, _ *Frame, e *outbox.Event) ([]byte, bool) {
	return dst, len(dst) > 0 && len(dst)+len(e.Payload) > WriteBytes
}

func (p *plain) Pending() int { return 0 }

func (p *plain) Frame(dst []byte, f *Frame) []byte {
	return append(begin(dst), f.within(p.format, p.maxData).wire...)
}

func (p *plain) FrameAt(dst []byte, f *Frame, at position.Position) []byte {
	return appendEnd(append(begin(dst), f.within(p.format, p.maxData).data()...), p.keys, at)
}

func (p *plain) Event(dst []byte, e *outbox.Event, at position.Position) []byte {
	return appendEnd(appendWithin(begin(dst), e, p.format, p.maxData, appendHead), p.keys, at)
}

func (p *plain) Notice(dst []byte, n Notice) []byte {
	dst = append(begin(dst), "event: outcrier."...)
	dst = append(dst, n.Name...)
	dst = append(dst, '\n')
	if n.Retry != nil {
		dst = appendRetry(dst, *n.Retry)
	}
	dst = AppendJSON(append(dst, "data: "...), n.Data)
	return appendEnd(append(dst, '\n'), p.keys, n.At)
}

func (p *plain) Heartbeat(dst []byte, at position.Position, moved bool) []byte {
	if moved {
		return p.Notice(dst, Notice{Name: "position", At: at, Data: struct{}{}})
	}
	return append(begin(dst), heartbeatLine...)
}

func (p *plain) End(dst []byte, e Ending) ([]byte, bool) {
	if e.Goodbye == nil {
		return dst, false
	}
	return appendGoodbye(begin(dst), e.Goodbye, e.Retry), true
}

func (p *plain) Seal(dst []byte) []byte { return dst }
