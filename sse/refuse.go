package sse

import (
	"net"
	"time"

	"github.com/outcrier/outcrier/sse/wire"
)

// Refuse returns the whole stream of a reader that is turned away: why, and when to come
// back; retry is the mean.
func Refuse(why *wire.Goodbye, retry time.Duration) []byte {
	e, _ := wire.NewEncoder(wire.Encoding{})
	text, _ := e.End(e.Open(nil), wire.Ending{Goodbye: why, Retry: retry})
	return wire.Framed(text, false, true)
}

// RefuseWebSocket is Refuse on a connection that was upgraded. It closes it, after a moment
// in which the client may do so.
func RefuseWebSocket(conn net.Conn, why *wire.Goodbye, retry time.Duration) {
	socket := NewWebSocket(conn, nil)
	defer socket.Close() //nolint:errcheck // nothing more is to be sent
	e, _ := wire.NewEncoder(wire.Encoding{Ping: socket.in.ping})
	text, _ := e.End(nil, wire.Ending{Goodbye: why, Retry: retry})
	if conn.SetWriteDeadline(time.Now().Add(goodbyeTime)) != nil {
		return
	}
	if _, err := conn.Write(wire.Framed(text, false, true)); err == nil {
		socket.linger()
	}
}
