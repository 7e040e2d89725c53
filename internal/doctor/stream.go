package doctor

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/outcrier/outcrier/sse/wire"
)

// stream reads an event stream line by line, in a goroutine of its own.
type stream struct {
	response *http.Response
	cancel   func()
	lines    chan string
	// comment has that of the gzip header, once there is one.
	comment chan string
	err     error // once lines is closed
	leaving bool  // within a goodbye
}

func newStream(response *http.Response, cancel func()) *stream {
	s := &stream{response: response, cancel: cancel, lines: make(chan string, 1024), comment: make(chan string, 1)}
	go func() {
		defer close(s.lines)
		text, err := s.text()
		if err != nil {
			s.err = err
			return
		}
		scanner := bufio.NewScanner(text)
		scanner.Buffer(nil, 2<<20)
		for scanner.Scan() {
			select {
			case s.lines <- scanner.Text():
			case <-response.Request.Context().Done():
				return
			}
		}
		if s.err = scanner.Err(); s.err == nil {
			s.err = io.EOF
		}
	}()
	return s
}

// text returns the text of the stream, decompressed.
func (s *stream) text() (io.Reader, error) {
	if s.response.Header.Get("Content-Encoding") != "gzip" {
		return s.response.Body, nil
	}
	text, err := gzip.NewReader(s.response.Body)
	if err != nil {
		return nil, err
	}
	s.comment <- text.Comment
	return text, nil
}

// byNode reports whether the node itself compresses the stream, frame by frame.
func (s *stream) byNode() bool {
	select {
	case comment := <-s.comment:
		return comment == wire.GzipComment
	case <-time.After(arrives):
		return false
	}
}

func (s *stream) close() {
	s.cancel()
	_ = s.response.Body.Close()
}

var errSilent = errors.New("nothing came")

// goodbye is the reason with which a node ends a stream.
type goodbye struct{ Reason string }

func (g *goodbye) Error() string { return "the node says goodbye: " + g.Reason }

// line returns the next line; a goodbye is an error.
func (s *stream) line(over <-chan time.Time) (string, error) {
	select {
	case line, more := <-s.lines:
		if !more {
			return "", fmt.Errorf("the stream ended: %w", s.err)
		}
		if data, is := strings.CutPrefix(line, "data:"); is && s.leaving {
			said := &goodbye{Reason: "without a reason"}
			_ = json.Unmarshal([]byte(data), said)
			return "", said
		}
		s.leaving = line == "event: outcrier.goodbye" || s.leaving && line != ""
		return line, nil
	case <-over:
		return "", errSilent
	}
}

// event is an event of a stream.
type event struct{ id, name, data string }

// event waits for the next event of a name.
func (s *stream) event(name string, patience time.Duration) (event, error) {
	over := time.After(patience)
	var e event
	for {
		line, err := s.line(over)
		if err != nil {
			return e, err
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "" && e.name == name:
			return e, nil
		case line == "":
			e = event{}
		case field == "id":
			e.id = value
		case field == "event":
			e.name = value
		case field == "data":
			e.data += value
		}
	}
}

// sign waits for a heartbeat, or an event with the position.
func (s *stream) sign(patience time.Duration) error {
	over := time.After(patience)
	for {
		// Lines before this one belong to the event before.
		line, err := s.line(over)
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, ":") || line == "event: outcrier.position" {
			return nil
		}
	}
}
