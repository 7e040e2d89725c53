package sse

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// connection is a Writer that can do without a goroutine of its own: a Socket.
type connection interface {
	Writer
	// TryWrite writes as much as it can without waiting.
	TryWrite(p []byte) (n int, err error)
	// chunks reports whether the response is chunked, and each write to be framed so.
	chunks() bool
	// inbox returns the inbox for messages of a WebSocket's client; nil for SSE.
	inbox() *inbox
	// watch has the watch call the listener, until Close. If it returns false, listen does,
	// in a goroutine.
	watch(w *watch, l listener) (watched bool, err error)
	listen(l listener)
	// linger waits for the client to close the connection, for a moment.
	linger()
	// abort makes Close discard data that the reader has not taken.
	abort()
	Close() error
}

// listener has the functions that are called when something happens on a connection.
type listener struct {
	// left is called when the client has closed the connection.
	left func()
	// received, when not nil, is called with what the client has sent.
	received func([]byte)
}

// Socket is a connection taken over from net/http for one stream: a Writer that
// needs no goroutine while the stream is live and its reader keeps up. Its stream
// closes it.
type Socket struct {
	conn net.Conn
	// fd is below 0 when the connection can't be written to without waiting.
	fd int
	// head is written before all else.
	head []byte
	// chunked is set when the response's body is.
	chunked bool
	// unwatch, when not nil, ends what watch began.
	unwatch func()
	// in, when not nil, gets what the client sends: it is a WebSocket.
	in *inbox
}

// NewSocket makes a Socket of a connection that nothing else uses any more. The first write
// follows head, the response's status line and headers. If these announce it, the body is
// chunked; otherwise it ends with the connection.
func NewSocket(conn net.Conn, head []byte, chunked bool) *Socket {
	s := &Socket{conn: conn, fd: -1, head: head, chunked: chunked}
	if c, ok := conn.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { s.fd = int(fd) }) // fails when it is closed
		}
	}
	return s
}

// NewWebSocket makes a Socket of a connection that was upgraded (RFC 6455, section 4) and
// that nothing else uses any more. sent has the bytes that the client has sent after the
// request.
func NewWebSocket(conn net.Conn, sent []byte) *Socket {
	s := NewSocket(conn, nil, false)
	s.in = newInbox()
	s.in.failed = s.in.receive(sent)
	return s
}

// Write waits until p is taken.
func (s *Socket) Write(p []byte) (int, error) {
	if s.head == nil {
		return s.conn.Write(p)
	}
	head := s.head
	s.head = nil
	n, err := s.conn.Write(append(head, p...))
	return max(0, n-len(head)), err
}

// Flush does nothing: nothing is held back.
func (s *Socket) Flush() error { return nil }

// SetWriteDeadline bounds the writes that follow, but not TryWrite.
func (s *Socket) SetWriteDeadline(t time.Time) error { return s.conn.SetWriteDeadline(t) }

// TryWrite writes as much of p as the kernel takes at once.
func (s *Socket) TryWrite(p []byte) (int, error) {
	if s.fd < 0 {
		return 0, nil
	}
	n, err := writeNow(s.fd, p)
	if err != nil {
		return 0, os.NewSyscallError("write", err)
	}
	return n, nil
}

func (s *Socket) chunks() bool { return s.chunked }

func (s *Socket) inbox() *inbox { return s.in }

// watch has the watch call the listener, until Close. It returns false when it can't, and
// a goroutine has to listen.
func (s *Socket) watch(w *watch, l listener) (watched bool, err error) {
	if s.fd < 0 || w == nil {
		return false, nil
	}
	s.unwatch, err = w.add(s.fd, l)
	return err == nil, err
}

// listen reads from the connection until its client has closed it, or Close or linger did.
func (s *Socket) listen(l listener) {
	sent := make([]byte, 512)
	for {
		n, err := s.conn.Read(sent)
		if l.received != nil && n > 0 {
			l.received(sent[:n])
		}
		if err != nil {
			l.left()
			return
		}
	}
}

// linger waits for the client to close the connection, but not for long: closing a
// connection with unread data resets it, and the last bytes sent would be lost (RFC 9112,
// 9.6).
func (s *Socket) linger() {
	if s.unwatch != nil {
		s.unwatch()
		s.unwatch = nil
	}
	if c, ok := s.conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() != nil {
		return
	}
	_ = s.conn.SetReadDeadline(time.Now().Add(goodbyeTime)) // a closed one needs none
	_, _ = io.CopyN(io.Discard, s.conn, maxMessage)         // until it fails, which is its end
}

// abort has Close throw away what the reader has not taken. The kernel would keep
// it, and try for minutes to get rid of it.
func (s *Socket) abort() {
	if tcp, ok := s.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// Close closes the connection.
func (s *Socket) Close() error {
	if s.unwatch != nil {
		s.unwatch()
	}
	return s.conn.Close()
}
