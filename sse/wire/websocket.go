package wire

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
)

// messages writes a stream as the messages of a WebSocket (RFC 6455): the same events at the
// same positions, each a text message {"position":…,"event":{…}}. A message to a client is
// not masked, so that its bytes are the same for all streams.
type messages struct {
	plain
	// ping returns the payload of the client's last ping, if there is one to answer.
	ping func() (payload []byte, is bool)
}

// Parts of a message: the position is between the first and the second, so that the second
// and all after it are the same at every position.
const (
	beforePosition = `{"position":"`
	afterPosition  = `","event":`
)

func (m *messages) Open(dst []byte) []byte { return begin(dst) }

func (m *messages) FrameAt(dst []byte, f *Frame, at position.Position) []byte {
	return appendMessage(begin(dst), m.keys, at, f.within(m.format, m.maxData).tail())
}

func (m *messages) Event(dst []byte, e *outbox.Event, at position.Position) []byte {
	return appendMessage(begin(dst), m.keys, at, appendWithin(nil, e, m.format, m.maxData, appendTail))
}

func (m *messages) Notice(dst []byte, n Notice) []byte {
	return appendMessage(begin(dst), m.keys, n.At, n.appendTail(nil))
}

// Heartbeat is a message, since pages don't see pings, and a ping, whose answer shows
// proxies and the other end that the connection is used.
func (m *messages) Heartbeat(dst []byte, at position.Position, _ bool) []byte {
	dst = m.Notice(dst, Notice{Name: "position", At: at, Data: struct{}{}})
	return appendControl(dst, ws.OpPing, nil)
}

func (m *messages) End(dst []byte, e Ending) ([]byte, bool) {
	switch {
	case e.Goodbye != nil:
		n := Notice{Name: "goodbye", At: e.At, Data: map[string]string{"reason": e.Goodbye.Reason}, Retry: &e.Retry}
		if e.At.History == 0 { // it knows of none
			dst = appendWithoutPosition(begin(dst), n.appendTail(nil))
		} else {
			dst = m.Notice(dst, n)
		}
		return appendControl(dst, ws.OpClose, ws.NewCloseFrameBody(closeCode(e.Goodbye), e.Goodbye.Reason)), true
	case e.Closing != nil:
		if e.Closing.Refused != nil {
			dst = AppendRefused(dst, *e.Closing.Refused)
		}
		var body []byte
		if e.Closing.Code != 0 {
			body = ws.NewCloseFrameBody(e.Closing.Code, e.Closing.Reason)
		}
		return appendControl(begin(dst), ws.OpClose, body), true
	}
	return dst, false
}

// closeCode returns the code that closes a WebSocket after a goodbye (RFC 6455, section
// 7.4, and the registry of IANA).
func closeCode(why *Goodbye) ws.StatusCode {
	switch {
	case why == Draining:
		return ws.StatusGoingAway
	case why.Passes:
		return tryAgainLater
	}
	return ws.StatusPolicyViolation
}

const tryAgainLater ws.StatusCode = 1013

// Seal answers the ping that came last, too: an answer may stand between any two messages.
func (m *messages) Seal(dst []byte) []byte {
	if ping, is := m.ping(); is {
		dst = appendControl(begin(dst), ws.OpPong, ping)
	}
	return dst
}

// appendMessage appends a message with the position of a reader that has received it; tail is
// the part after the position.
func appendMessage(dst []byte, keys *position.Keys, at position.Position, tail []byte) []byte {
	var text [128]byte
	position := keys.Append(text[:0], at)
	dst = appendHeader(dst, ws.OpText, len(beforePosition)+len(position)+len(tail))
	dst = append(dst, beforePosition...)
	dst = append(dst, position...)
	return append(dst, tail...)
}

// appendWithoutPosition appends a message that has no position; tail is as in appendMessage.
func appendWithoutPosition(dst, tail []byte) []byte {
	tail = tail[len(`",`):]
	dst = appendHeader(dst, ws.OpText, 1+len(tail))
	return append(append(dst, '{'), tail...)
}

// appendTail appends the part of the message after the position.
func (n Notice) appendTail(dst []byte) []byte {
	dst = append(dst, afterPosition+`{"type":"outcrier.`...)
	dst = append(dst, n.Name...)
	dst = AppendJSON(append(dst, `","data":`...), n.Data)
	if n.Retry != nil { // there are other members
		dst = append(dst[:len(dst)-1], `,"retry":`...)
		dst = append(strconv.AppendInt(dst, jittered(*n.Retry).Milliseconds(), 10), '}')
	}
	return append(dst, "}}"...)
}

// appendTail appends the part of an event's message after the position.
func appendTail(dst []byte, e *outbox.Event, format Format) []byte {
	start := len(dst)
	dst = append(dst, afterPosition...)
	if format&Payload != 0 {
		dst = AppendString(append(dst, `{"type":`...), e.Type)
		dst = append(append(dst, `,"data":`...), e.Payload...)
		dst = append(dst, '}')
	} else {
		dst = appendEnvelope(dst, e, format&reference != 0)
	}
	dst = append(dst, '}')
	if !utf8.Valid(dst[start:]) {
		// A database without an encoding can have it, and a browser would close the connection.
		dst = append(dst[:start], bytes.ToValidUTF8(dst[start:], []byte("\uFFFD"))...)
	}
	return dst
}

// AppendRefused appends the message that reports a refusal.
func AppendRefused(dst []byte, r Refused) []byte {
	return appendWithoutPosition(begin(dst), Notice{Name: "error", Data: r}.appendTail(nil))
}

// appendControl appends a frame that is no message: at most 125 bytes.
func appendControl(dst []byte, kind ws.OpCode, payload []byte) []byte {
	return append(appendHeader(dst, kind, len(payload)), payload...)
}

// appendHeader appends the header of a whole frame of n bytes (RFC 6455, section 5.2).
func appendHeader(dst []byte, kind ws.OpCode, n int) []byte {
	const final = 1 << 7
	dst = append(dst, final|byte(kind))
	switch {
	case n < 126:
		return append(dst, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
	}
}

// Refused is why a change of a stream's topics or token was refused: members of problem
// JSON (RFC 9457).
type Refused struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail,omitempty"`
	Topic  string `json:"topic,omitempty"`
}
