package sse

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"golang.org/x/time/rate"

	"github.com/outcrier/outcrier/sse/wire"
)

// inbox reads what the client of a WebSocket sends. One goroutine at a time passes it bytes
// as they arrive, and it keeps whole messages until the stream takes them.
type inbox struct {
	// wake has a token when a ping or a message came.
	wake chan struct{}
	// failed, when not nil, is why the stream has to end as soon as it begins.
	failed error

	mu sync.Mutex
	// rest are the bytes of a frame that has not come whole.
	rest []byte
	// message has the fragments so far of a message of several frames; fragmented is set
	// while there is one.
	message    []byte
	fragmented bool
	// waiting are the messages that the stream has not taken, size their bytes.
	waiting [][]byte
	size    int
	// pinged is set when there is a ping to answer, with payload.
	pinged  bool
	payload []byte
	// rate bounds the messages; nil until the first.
	rate *rate.Limiter
	// closed is set when nothing more is read.
	closed bool
}

const (
	// maxMessage is how long a message of a client may be, in bytes.
	maxMessage = 64 << 10
	// waitingBytes are how many bytes of messages may wait for a stream.
	waitingBytes = 4 * maxMessage
	// changesPerSecond and changesAtOnce are how many messages a client may send: each
	// takes the hub's lock.
	changesPerSecond, changesAtOnce = 20, 200
)

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

// receive handles bytes of the connection. It returns a *closing when the stream has to
// end.
func (in *inbox) receive(p []byte) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return nil
	}
	own := len(in.rest) > 0
	if own {
		p = append(in.rest, p...)
		in.rest = nil
	}
	for {
		n, err := in.frame(p)
		if err != nil {
			in.closed, in.message, in.waiting = true, nil, nil
			return err
		}
		if p = p[n:]; n == 0 || len(p) == 0 {
			break
		}
	}
	switch {
	case len(p) == 0:
	case own:
		in.rest = p
	default:
		in.rest = slices.Clone(p) // the next read is into the same buffer
	}
	if in.pinged || len(in.waiting) > 0 {
		signal(in.wake)
	}
	return nil
}

// frame takes the frame that p begins with, and returns how long it is, 0 if it has not
// come whole.
func (in *inbox) frame(p []byte) (int, error) {
	r := bytes.NewReader(p)
	h, err := ws.ReadHeader(r)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, nil
	}
	state := ws.StateServerSide
	if in.fragmented {
		state = state.Set(ws.StateFragmented)
	}
	if err == nil {
		err = ws.CheckHeader(h, state)
	}
	if err != nil {
		return 0, &closing{Closing: wire.Closing{Code: ws.StatusProtocolError, Reason: "protocol error"}}
	}
	if h.OpCode == ws.OpBinary {
		return 0, refusedMessage(ws.StatusUnsupportedData, http.StatusUnsupportedMediaType, "binary messages are not understood: send text")
	}
	if h.OpCode.IsData() && h.Length > int64(maxMessage-len(in.message)) {
		return 0, refusedMessage(ws.StatusMessageTooBig, http.StatusRequestEntityTooLarge, "a message may have at most 65536 bytes")
	}
	begin := len(p) - r.Len()
	if int64(r.Len()) < h.Length {
		return 0, nil
	}
	end := begin + int(h.Length)
	payload := slices.Clone(p[begin:end])
	ws.Cipher(payload, h.Mask, 0)
	switch h.OpCode {
	case ws.OpPing:
		in.pinged, in.payload = true, payload
	case ws.OpPong: // an answer to a heartbeat's ping
	case ws.OpClose:
		return 0, closedByClient(payload)
	default:
		in.message = append(in.message, payload...)
		if in.fragmented = !h.Fin; h.Fin {
			message := in.message
			if in.message = nil; message == nil {
				message = []byte{} // nil is none
			}
			return end, in.add(message)
		}
	}
	return end, nil
}

// add keeps a message for the stream.
func (in *inbox) add(message []byte) error {
	if !utf8.Valid(message) {
		return refusedMessage(ws.StatusInvalidFramePayloadData, http.StatusBadRequest, "the message is not UTF-8")
	}
	if in.rate == nil {
		in.rate = rate.NewLimiter(changesPerSecond, changesAtOnce)
	}
	if in.size += len(message); in.size > waitingBytes || !in.rate.AllowN(time.Now(), 1) {
		return refusedMessage(ws.StatusPolicyViolation, http.StatusTooManyRequests, "too many messages at once")
	}
	in.waiting = append(in.waiting, message)
	return nil
}

// ping returns the payload of the last ping, if there is one to answer.
func (in *inbox) ping() (payload []byte, is bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	payload, is = in.payload, in.pinged
	in.payload, in.pinged = nil, false
	return payload, is
}

// next returns the message that has waited longest; nil if none waits.
func (in *inbox) next() []byte {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.waiting) == 0 {
		return nil
	}
	message := in.waiting[0]
	if in.waiting = in.waiting[1:]; len(in.waiting) == 0 {
		in.waiting = nil
	}
	in.size -= len(message)
	return message
}

// hasMessages reports whether messages wait.
func (in *inbox) hasMessages() bool {
	if in == nil {
		return false
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.waiting) > 0
}

// awake returns a channel that has a token when there is something to take; nil for SSE.
func (in *inbox) awake() <-chan struct{} {
	if in == nil {
		return nil
	}
	return in.wake
}

func signal(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}
