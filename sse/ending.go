package sse

import (
	"errors"
	"net/http"
	"time"

	"github.com/gobwas/ws"

	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/sse/wire"
)

// Orderly reports whether the server has ended the stream with a goodbye. The response of
// any other stream must be cut off.
func Orderly(why error) bool { return goodbyeOf(why) != nil }

// goodbyeOf returns the Goodbye that a stream ends with, nil if there is none.
func goodbyeOf(why error) *wire.Goodbye {
	var g *wire.Goodbye
	errors.As(why, &g) // otherwise it stays nil
	return g
}

// endingOf returns how a stream that ends because of why says so to its reader.
func endingOf(why error, at position.Position, retry time.Duration) wire.Ending {
	e := wire.Ending{Goodbye: goodbyeOf(why), At: at, Retry: retry}
	if c := (*closing)(nil); e.Goodbye == nil && errors.As(why, &c) {
		e.Closing = &c.Closing
	}
	return e
}

// closing is the reason of a WebSocket that ends because of a message of its client.
type closing struct {
	wire.Closing
	// left is set when the client has closed the connection in order.
	left bool
}

func (c *closing) Error() string {
	if c.left {
		return ErrLeft.Error()
	}
	return "the client's message was refused: " + c.Reason
}

func (c *closing) Is(target error) bool { return c.left && target == ErrLeft }

// refusedMessage returns the end of a stream whose client sent something malformed.
func refusedMessage(code ws.StatusCode, status int, detail string) *closing {
	return &closing{Closing: wire.Closing{Code: code, Reason: detail, Refused: &wire.Refused{Status: status, Title: http.StatusText(status), Detail: detail}}}
}

// closedByClient answers the client's close frame with its own code (RFC 6455, section
// 5.5.1).
func closedByClient(payload []byte) *closing {
	if len(payload) == 0 {
		return &closing{left: true}
	}
	code, reason := ws.ParseCloseFrameData(payload)
	if len(payload) == 1 || ws.CheckCloseFrameData(code, reason) != nil {
		return &closing{Closing: wire.Closing{Code: ws.StatusProtocolError, Reason: "protocol error"}}
	}
	return &closing{Closing: wire.Closing{Code: code}, left: true}
}
