package handlers

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/labstack/echo/v4"
)

// stallWriter writes every answer under a deadline: a reader that takes nothing for the stall
// time loses it, on every protocol and route. Otherwise a client could make the server hold
// an answer for ever by not reading it: HTTP/2 has no limit of its own where a window stays
// 0, and net/http's WriteTimeout would end every stream.
type stallWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	// own is set when the handler sets deadlines itself, as streams do.
	own bool
	// hijacked is set when the connection was taken over.
	hijacked bool
	// connection is nil unless it may be closed. unflushed is set while bytes may wait in
	// net/http's buffer.
	connection *connection
	unflushed  bool
	// stalled is since when the reader took nothing, if that was for the stall time.
	stalled time.Time
}

// pieceBytes is how much a reader has to take within the stall time: at most 0.5 kB a second
// where that is 30 s.
const pieceBytes = 16 << 10

// defaultStall is for handlers without streams.
const defaultStall = 30 * time.Second

// boundStall calls next with a writer whose writes fail if they make no progress.
func (h *handlers) boundStall(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		w := c.Response().Writer
		s := &stallWriter{ResponseWriter: w, control: http.NewResponseController(w), stall: defaultStall, connection: h.connectionOf(c.Request())}
		if h.Streamer != nil {
			s.stall = h.Streamer.Stall
		}
		c.Response().Writer = s
		defer func() {
			s.setDeadline()
			if !s.stalled.IsZero() {
				s.connection.cutOff(s.stalled)
			}
		}()
		return next(c)
	}
}

// answerFault is like problem, for answers that are written after boundStall has returned.
func (h *handlers) answerFault(err error, c echo.Context) {
	if s, ok := c.Response().Writer.(*stallWriter); ok {
		defer s.setDeadline()
	}
	defer settle(c) // it removes the deadline, so it comes before setDeadline
	h.problem(err, c)
}

// beginWrite starts the stall time, unless the handler sets deadlines itself.
func (s *stallWriter) beginWrite() {
	if !s.own {
		s.setDeadline()
	}
}

// setDeadline gives the reader the stall time from now on: for the next write, and once the
// handler has returned for the rest of the answer, which net/http writes.
func (s *stallWriter) setDeadline() {
	if !s.hijacked {
		_ = s.control.SetWriteDeadline(time.Now().Add(s.stall)) // not of a writer of a test
	}
}

// endWrite removes the deadline: over HTTP/2 it would end a stream without waiting data.
func (s *stallWriter) endWrite(err error) {
	if err == nil && !s.hijacked {
		_ = s.control.SetWriteDeadline(time.Time{})
	}
}

func (s *stallWriter) Write(p []byte) (written int, err error) {
	if s.own {
		began := time.Now()
		n, err := s.ResponseWriter.Write(p)
		s.note(began, n, err)
		return n, err
	}
	for first := true; first || len(p) > 0; first = false {
		piece := p[:min(len(p), pieceBytes)]
		s.beginWrite()
		began := time.Now()
		n, err := s.ResponseWriter.Write(piece)
		s.note(began, n, err)
		written += n
		if err != nil {
			return written, err
		}
		p = p[len(piece):]
	}
	s.endWrite(nil)
	return written, nil
}

// FlushError is called by http.ResponseController.Flush.
func (s *stallWriter) FlushError() error {
	s.beginWrite()
	began, flushed := time.Now(), 0
	if s.unflushed {
		flushed = flushedBytes // a head alone needs no window
	}
	err := s.control.Flush()
	s.note(began, flushed, err)
	s.unflushed = s.unflushed && err != nil
	s.endWrite(err)
	return err
}

// flushedBytes is more than net/http's buffer over HTTP/2: where so many were written, or
// waiting ones flushed, the reader has taken some.
const flushedBytes = 4<<10 + 1

// note notes the end of a write, or of a flush, of n bytes.
func (s *stallWriter) note(began time.Time, n int, err error) {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.stalled = began
	case err != nil:
	case n >= flushedBytes && s.connection != nil:
		s.connection.took.Store(time.Now().UnixNano())
	}
	s.unflushed = s.unflushed || n > 0
}

// Flush makes s an http.Flusher.
func (s *stallWriter) Flush() { _ = s.FlushError() }

// SetWriteDeadline is for a handler that sets deadlines itself, for each write.
func (s *stallWriter) SetWriteDeadline(t time.Time) error {
	s.own = true
	return s.control.SetWriteDeadline(t)
}

// Hijack hands the connection over.
func (s *stallWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := s.control.Hijack()
	s.hijacked = s.hijacked || err == nil
	return conn, buffered, err
}

// Unwrap is for http.ResponseController, whose other methods use the wrapped writer.
func (s *stallWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
