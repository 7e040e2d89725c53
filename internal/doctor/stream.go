package doctor

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// stream reads an event stream line by line, in a goroutine of its own.
type stream struct {
	response *http.Response
	cancel   func()
	lines    chan string
	err      error // once lines is closed
	leaving  bool  // within a goodbye
}

func newStream(response *http.Response, cancel func()) *stream {
	s := &stream{response: response, cancel: cancel, lines: make(chan string, 1024)}
	go func() {
		defer close(s.lines)
		scanner := bufio.NewScanner(response.Body)
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

func (s *stream) close() {
	s.cancel()
	_ = s.response.Body.Close()
}

var errSilent = errors.New("nothing came")

// goodbye is what a node says that ends a stream by itself.
type goodbye struct{ Reason string }

func (g *goodbye) Error() string { return "the node says goodbye: " + g.Reason }

// line is the next line, but for those of a goodbye, which is an error.
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

// event is what of an event counts here.
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

// sign waits for any line.
func (s *stream) sign(patience time.Duration) error {
	over := time.After(patience)
	for {
		// What came before belongs to what was read before.
		line, err := s.line(over)
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, ":") || line == "event: outcrier.position" {
			return nil
		}
	}
}
