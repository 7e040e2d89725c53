package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// stream is one reader of the crowd: the least that behaves like an EventSource, because
// ten thousand of them share the machine with the measured server.
type stream struct {
	topic string
	tally tally
	// seen is called for each event, with when it came, since began. May be nil.
	seen func(mark, time.Duration)

	// id is that of the last event dispatched, which an EventSource sends back
	// when it reconnects.
	id []byte
	// conn is nil while the stream is not open; the crowd's mutex guards it.
	conn net.Conn
}

// The buffers of a stream in bytes: that of the connection, as large as the crowd
// can afford, and that of a line, which grows where it has to.
const (
	connBuffer = 8 << 10
	lineBuffer = 1 << 10
)

// stamped notes when bytes came: once a read, because the clock of ten thousand
// streams is not free.
type stamped struct {
	net.Conn
	at time.Duration
}

func (s *stamped) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.at = time.Since(began)
	return n, err
}

// errEnded: the server ended a stream, which it should not while it is measured.
var errEnded = errors.New("the server ended a stream")

// follow reads an open connection until it ends; live is called when the server
// says that the replay has met what happens now.
func (s *stream) follow(conn net.Conn, live func()) error {
	from := &stamped{Conn: conn}
	buffered := bufio.NewReaderSize(from, connBuffer)
	// The end of the body, chunked or not, is what ReadResponse is for. The
	// body's Close would read on to it.
	response, err := http.ReadResponse(buffered, nil) //nolint:bodyclose // the connection is closed
	if err != nil {
		return fmt.Errorf("read an answer: %w", err)
	}
	if response.StatusCode == http.StatusSwitchingProtocols {
		return s.followMessages(from, buffered, live)
	}
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
		return fmt.Errorf("the server answers %s: %s", response.Status, text)
	}
	lines := lineReader{from: bufio.NewReaderSize(response.Body, lineBuffer)}
	var e event
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return errEnded
		} else if err != nil {
			return fmt.Errorf("read a stream: %w", err)
		}
		if len(line) > 0 {
			e.field(line)
			continue
		}
		if err := s.dispatch(&e, from.at, live); err != nil {
			return err
		}
		e = event{id: e.id[:0]}
	}
}

// event is one while its lines come in.
type event struct {
	id     []byte
	kind   kind
	data   bool
	mark   mark
	marked bool
	gap    string // the data of a hello with a gap
}

type kind int

const (
	kindOther kind = iota // a heartbeat, a position
	kindBench
	kindHello
	kindLive
	kindGoodbye
)

// field takes a line that is not empty (HTML Standard, 9.2.6).
func (e *event) field(line []byte) {
	name, value, _ := bytes.Cut(line, []byte{':'})
	value = bytes.TrimPrefix(value, []byte{' '})
	switch string(name) {
	case "id":
		e.id = append(e.id[:0], value...)
	case "event":
		e.kind = kindOf(value)
	case "data":
		e.take(value)
	}
}

func kindOf(text []byte) kind {
	switch string(text) {
	case eventType:
		return kindBench
	case "outcrier.hello":
		return kindHello
	case "outcrier.live":
		return kindLive
	case "outcrier.goodbye":
		return kindGoodbye
	}
	return kindOther
}

// take takes the data of an event whose kind is known.
func (e *event) take(value []byte) {
	e.data = true
	switch e.kind {
	case kindBench:
		e.mark, e.marked = parseMark(value)
	case kindHello:
		if bytes.Contains(value, []byte(`"resumed":"gap"`)) {
			e.gap = string(value)
		}
	case kindOther: // Centrifugo's have no type
		if e.mark, e.marked = parseMark(value); e.marked {
			e.kind = kindBench
		} else if bytes.HasPrefix(value, []byte(`{"connect":`)) {
			e.kind = kindLive
		}
	}
}

// dispatch is an EventSource's: an event that was cut off before its blank line never gets
// here, and its id does not count.
func (s *stream) dispatch(e *event, at time.Duration, live func()) error {
	if len(e.id) > 0 {
		s.id = append(s.id[:0], e.id...)
	}
	switch {
	case !e.data:
	case e.kind == kindBench && !e.marked:
		return errors.New("an event of the bench came without its mark")
	case e.kind == kindBench:
		s.tally.take(e.mark)
		if s.seen != nil {
			s.seen(e.mark, at)
		}
	case e.gap != "":
		return fmt.Errorf("a stream could not be resumed: %s", e.gap)
	case e.kind == kindLive:
		live()
	case e.kind == kindGoodbye:
		return errEnded
	}
	return nil
}

// lineReader cuts lines of any length, without their ends.
type lineReader struct {
	from *bufio.Reader
	long []byte
}

func (l *lineReader) next() ([]byte, error) {
	line, err := l.from.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		l.long = l.long[:0]
		for errors.Is(err, bufio.ErrBufferFull) {
			l.long = append(l.long, line...)
			line, err = l.from.ReadSlice('\n')
		}
		l.long = append(l.long, line...)
		line = l.long
	}
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'}), nil
}
