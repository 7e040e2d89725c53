package handlers

import (
	"context"
	"net"
	"net/http"
	"net/netip"
)

type connKey struct{}

// WithConn returns a context with the connection under TLS that its requests come by, for
// http.Server.ConnContext.
func WithConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// cutOff closes the HTTP/2 connection of an answer that its reader does not take. A browser counts
// what the page has not read against the connection's window, and so holds up the page's other
// streams even after this answer has ended. They come back by a new connection, and go on where
// they were. The connection of a proxy stays: other clients' streams come by it too.
func (h *handlers) cutOff(r *http.Request) {
	conn, is := r.Context().Value(connKey{}).(net.Conn)
	if !is || r.ProtoMajor != 2 {
		return
	}
	if remote, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && !h.Access.Proxies.trusts(remote.Addr().Unmap().WithZone("")) {
		_ = conn.Close() // nothing more is to be sent
	}
}
