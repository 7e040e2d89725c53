package outcrier

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/outcrier/outcrier/handlers"
)

// sendBuffer is how many bytes the kernel holds for a reader that does not read; left
// alone that grows to megabytes.
const sendBuffer = 64 << 10

// ConnContext is for http.Server.ConnContext: it bounds what the kernel holds for the
// reader of a connection, and for how long when nothing of it is acknowledged. Otherwise a
// connection whose reader vanished would live for a quarter of an hour. Streams work
// without it too. It also lets a node close an HTTP/2 connection whose reader has taken nothing
// of any answer for the stall time, with the program's own requests on it.
func (n *Node) ConnContext(ctx context.Context, conn net.Conn) context.Context {
	if encrypted, ok := conn.(*tls.Conn); ok {
		conn, ctx = encrypted.NetConn(), handlers.WithConn(ctx, encrypted.NetConn())
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer)
		_ = giveUpAfter(tcp, 2*n.config.Stall)
	}
	return ctx
}
