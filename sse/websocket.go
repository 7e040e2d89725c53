package sse

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/outcrier/outcrier/outbox"
)

// messages writes a stream as the messages of a WebSocket (RFC 6455): the same events at the
// same positions, each a text message {"position":…,"event":{…}}. A message to a client is
// not masked, so that its bytes are the same for all streams.
type messages struct {
	plain
	inbox *inbox
}

// Parts of a message: the position is between the first and the second, so that the second
// and all after it are the same at every position.
const (
	beforePosition = `{"position":"`
	afterPosition  = `","event":`
)

func (m *messages) open(dst []byte) []byte { return begin(dst) }

func (m *messages) frameAt(dst []byte, f *Frame, at outbox.Position) []byte {
	return appendMessage(begin(dst), m.keys, at, f.within(m.format, m.maxData).tail())
}

func (m *messages) event(dst []byte, e *outbox.Event, at outbox.Position) []byte {
	return appendMessage(begin(dst), m.keys, at, appendTailWithin(nil, e, m.format, m.maxData))
}

func (m *messages) notice(dst []byte, n notice) []byte {
	return appendMessage(begin(dst), m.keys, n.at, n.appendTail(nil))
}

// heartbeat is a message, since pages don't see pings, and a ping, whose answer shows
// proxies and the other end that the connection is used.
func (m *messages) heartbeat(dst []byte, at outbox.Position, _ bool) []byte {
	dst = m.notice(dst, notice{name: "position", at: at, data: struct{}{}})
	return appendControl(dst, ws.OpPing, nil)
}

func (m *messages) end(dst []byte, e ending) ([]byte, bool) {
	var closing *closing
	goodbye := goodbyeOf(e.why)
	switch {
	case goodbye != nil:
		n := notice{name: "goodbye", at: e.at, data: map[string]string{"reason": goodbye.Reason}, retry: &e.retry}
		if e.at.History == 0 { // it knows of none
			dst = appendWithoutPosition(begin(dst), n.appendTail(nil))
		} else {
			dst = m.notice(dst, n)
		}
		return appendControl(dst, ws.OpClose, ws.NewCloseFrameBody(closeCode(goodbye), goodbye.Reason)), true
	case errors.As(e.why, &closing):
		if closing.refused != nil {
			dst = appendRefused(begin(dst), *closing.refused)
		}
		var body []byte
		if closing.code != 0 {
			body = ws.NewCloseFrameBody(closing.code, closing.reason)
		}
		return appendControl(begin(dst), ws.OpClose, body), true
	}
	return dst, false
}

// closeCode returns the code that closes a WebSocket after a goodbye (RFC 6455, section
// 7.4, and the registry of IANA).
func closeCode(why *Goodbye) ws.StatusCode {
	switch {
	case errors.Is(why, ErrDraining):
		return ws.StatusGoingAway
	case why.Passes:
		return tryAgainLater
	}
	return ws.StatusPolicyViolation
}

const tryAgainLater ws.StatusCode = 1013

// seal answers the ping that came last, too: an answer may stand between any two messages.
func (m *messages) seal(dst []byte) []byte {
	if ping, is := m.inbox.ping(); is {
		dst = appendControl(begin(dst), ws.OpPong, ping)
	}
	return dst
}

// appendMessage appends the message of a reader who then stands at a position.
func appendMessage(dst []byte, keys *outbox.PositionKeys, at outbox.Position, tail []byte) []byte {
	var room [128]byte
	position := keys.Append(room[:0], at)
	dst = appendHeader(dst, ws.OpText, len(beforePosition)+len(position)+len(tail))
	dst = append(dst, beforePosition...)
	dst = append(dst, position...)
	return append(dst, tail...)
}

// appendWithoutPosition appends a message without a position; tail is that of a message
// with one.
func appendWithoutPosition(dst, tail []byte) []byte {
	tail = tail[len(`",`):]
	dst = appendHeader(dst, ws.OpText, 1+len(tail))
	return append(append(dst, '{'), tail...)
}

// appendTail appends the part of the message after the position.
func (n notice) appendTail(dst []byte) []byte {
	dst = append(dst, afterPosition+`{"type":"outcrier.`...)
	dst = append(dst, n.name...)
	dst = appendJSON(append(dst, `","data":`...), n.data)
	if n.retry != nil { // there are other members
		dst = append(dst[:len(dst)-1], `,"retry":`...)
		dst = append(strconv.AppendInt(dst, jittered(*n.retry).Milliseconds(), 10), '}')
	}
	return append(dst, "}}"...)
}

// appendTailWithin appends the part of an event's message after the position, as
// appendHeadWithin does for SSE.
func appendTailWithin(dst []byte, e *outbox.Event, format Format, most int) []byte {
	start := len(dst)
	if dst = appendTail(dst, e, format); most > 0 && len(dst)-start > most {
		dst = appendTail(dst[:start], e, format|reference)
	}
	return dst
}

func appendTail(dst []byte, e *outbox.Event, format Format) []byte {
	start := len(dst)
	dst = append(dst, afterPosition...)
	if format&Payload != 0 {
		dst = appendString(append(dst, `{"type":`...), e.Type)
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

// appendRefused appends the message that reports a refusal.
func appendRefused(dst []byte, r Refused) []byte {
	return appendWithoutPosition(dst, notice{name: "error", data: r}.appendTail(nil))
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

// jittered spreads a delay from half to one and a half of it: so that clients that were
// dropped together don't come back together. Never 0, after which Chromium would hammer.
func jittered(mean time.Duration) time.Duration {
	return max(time.Millisecond, mean/2+rand.N(mean+1))
}

// Refused is why a change of a stream's topics or token was refused: members of problem
// JSON (RFC 9457).
type Refused struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail,omitempty"`
	Topic  string `json:"topic,omitempty"`
}

// Change is what a client asks for on a WebSocket.
type Change struct {
	// Add and Drop are topics, well-formed or not.
	Add, Drop []string
	// Token is a new token, nil for none.
	Token *string
}

// parseChange reads a message. It takes nothing but what a Change has.
func parseChange(message []byte) (c Change, err error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(message, &members); err != nil || members == nil {
		return c, errors.New(`a message must be a JSON object, like {"add":["user/42"]}`)
	}
	if len(members) == 0 {
		return c, errors.New("the message asks for nothing; allowed are add, drop and token")
	}
	for name, value := range members {
		var into any
		want := "an array of topics, like [\"user/42\"]"
		switch name {
		case "add":
			into = &c.Add
		case "drop":
			into = &c.Drop
		case "token":
			c.Token = new(string)
			into, want = c.Token, "a string"
		default:
			return c, errors.New("unknown member " + strconv.Quote(shortened(name)) + "; allowed are add, drop and token")
		}
		if string(value) == "null" || json.Unmarshal(value, into) != nil {
			return c, errors.New(name + " must be " + want)
		}
	}
	return c, nil
}

func shortened(text string) string { return text[:min(len(text), 100)] }
