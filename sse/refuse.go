package sse

import (
	"net"
	"time"
)

// Refuse returns the whole stream of a reader that is turned away: why, and when to come
// back; retry is the mean.
func Refuse(why *Goodbye, retry time.Duration) []byte {
	return appendGoodbye([]byte(firstLine), why, retry)
}

// RefuseWebSocket is Refuse on a connection that was upgraded. It closes it, after a moment
// in which the client may do so.
func RefuseWebSocket(conn net.Conn, why *Goodbye, retry time.Duration) {
	socket := NewWebSocket(conn, nil)
	defer socket.Close() //nolint:errcheck // nothing more is to be sent
	text, _ := (&messages{inbox: socket.in}).end(nil, ending{why: why, retry: retry})
	if conn.SetWriteDeadline(time.Now().Add(lastWords)) != nil {
		return
	}
	if _, err := conn.Write(framed(text, false, true)); err == nil {
		socket.linger()
	}
}
