package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/outcrier/outcrier"
)

// server is an http.Server that knows its connections without a request.
type server struct {
	http.Server
	fresh sync.Map // the connections on which no request has begun
}

// newServer makes a server of a node's streams, whose connections end when their readers
// take nothing for the stall time.
func newServer(streams *outcrier.Node, stall time.Duration, log *slog.Logger) *server {
	s := &server{}
	s.Server = http.Server{
		Handler: streams.Handler(),
		// No WriteTimeout: it would end every stream. Streams have deadlines
		// of their own.
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext:       streams.ConnContext,
		// A connection of HTTP/2 whose reader takes nothing, whatever its streams wait for.
		HTTP2: &http.HTTP2Config{WriteByteTimeout: stall},
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

// serve returns nil when the server was shut down or closed.
func (s *server) serve(listener net.Listener) (err error) {
	if s.TLSConfig != nil {
		err = s.ServeTLS(listener, "", "")
	} else {
		err = s.Serve(listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil // the reason is with who closed it
	}
	return err
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
