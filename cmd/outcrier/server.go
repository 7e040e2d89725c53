package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/outcrier/outcrier/sse"
)

// sendBuffer bounds what the kernel holds for a reader who does not read; left
// alone it would grow to megabytes.
const sendBuffer = 64 << 10

// server is an http.Server that knows its connections without a request.
type server struct {
	http.Server
	fresh sync.Map
}

// newServer makes a server whose readers may be silent for so long.
func newServer(handler http.Handler, silence time.Duration, log *slog.Logger) *server {
	s := &server{}
	s.Server = http.Server{
		Handler: handler,
		// No WriteTimeout: it would end every stream. Streams have deadlines
		// of their own.
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			boundConn(conn, silence)
			return ctx
		},
		ConnState: func(conn net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.fresh.Store(conn, nil)
			} else {
				s.fresh.Delete(conn)
			}
		},
	}
	return s
}

// boundConn bounds what the kernel holds for the reader of a connection, and for how long
// when nothing of it is acknowledged: the half of a connection whose reader is gone
// without a word would live for a quarter of an hour. Without both it works too.
func boundConn(conn net.Conn, silence time.Duration) {
	if encrypted, ok := conn.(*tls.Conn); ok {
		conn = encrypted.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer)
		_ = giveUpAfter(tcp, silence)
	}
}

// shutdown waits for the requests under way, briefly. It does not wait for the
// connections that browsers open ahead, as http.Server.Shutdown would.
func (s *server) shutdown() error {
	s.fresh.Range(func(conn, _ any) bool {
		_ = conn.(net.Conn).Close() // nothing was asked on it
		return true
	})
	ending, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := s.Shutdown(ending); err != nil {
		return s.Close()
	}
	return nil
}

// drain ends all streams spread over a time, while new ones are told to go
// elsewhere, and then the server.
func drain(streamer *sse.Streamer, s *server, over time.Duration) error {
	streamer.Drain()
	for deadline := time.Now().Add(over + time.Second); streamer.Open() > 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	return s.shutdown()
}
