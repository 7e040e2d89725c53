package handlers

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

type connKey struct{}

// connection is a connection under TLS, as its answers know it.
type connection struct {
	net.Conn
	// took is when its reader last took a part of an answer, in Unix nanoseconds.
	took atomic.Int64
}

// WithConn returns a context with the connection under TLS that its requests come by, for
// http.Server.ConnContext.
func WithConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, &connection{Conn: conn})
}

// connectionOf returns the connection of a request by HTTP/2; nil where it may not be closed.
// That of a proxy may not, known or by its headers, because other clients' requests come by it
// too. A client that sends such a header keeps only its own connection.
func (h *handlers) connectionOf(r *http.Request) *connection {
	c, _ := r.Context().Value(connKey{}).(*connection)
	if c == nil || r.ProtoMajor != 2 || slices.ContainsFunc(forwarding, func(name string) bool { return r.Header[name] != nil }) {
		return nil
	}
	remote, err := netip.ParseAddrPort(c.RemoteAddr().String()) // RemoteAddr of the request may be a middleware's
	if err != nil || h.Access.Proxies.trusts(remote.Addr().Unmap().WithZone("")) {
		return nil
	}
	return c
}

// forwarding are the headers of proxies.
var forwarding = []string{"Forwarded", "Via", "X-Forwarded-For", "X-Real-Ip"}

// cutOff closes the connection of an answer that its reader has not taken since began, unless it
// took others meanwhile. A browser counts what the page has not read against the connection's
// window, and so can hold up the page's other streams even after this answer has ended. They
// come back by a new connection, and go on where they were. While the window is open no stream is
// held up, and many may share the connection: a program that reads for many people has one.
func (c *connection) cutOff(began time.Time) {
	if c != nil && c.took.Load() < began.UnixNano() {
		_ = c.Close() // nothing more is to be sent
	}
}
