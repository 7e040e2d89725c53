package eventsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// TestParser_KeepsTheStandard has the examples of the standard, and its odd corners.
func TestParser_KeepsTheStandard(t *testing.T) {
	for _, test := range []struct {
		stream string
		want   []Event
	}{
		{"data: YHOO\ndata: +2\ndata: 10\n\n", []Event{{"", "message", "YHOO\n+2\n10"}}},
		{": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n", []Event{
			{"1", "message", "first event"}, {"", "message", "second event"}, {"", "message", " third event"},
		}},
		{"data\n\ndata\ndata\n\ndata:", []Event{{"", "message", ""}, {"", "message", "\n"}}},
		{"data:test\n\ndata: test\n\n", []Event{{"", "message", "test"}, {"", "message", "test"}}},
		{"\ufeffdata: a\r\rdata: b\r\n\r\ndata: c\n\r\n", []Event{{"", "message", "a"}, {"", "message", "b"}, {"", "message", "c"}}},
		{"event: x\n\ndata: a\n\n", []Event{{"", "message", "a"}}},
		{"id: 7\n\ndata: a\n\n", []Event{{"7", "message", "a"}}},
		{"id: 7\nid: 8\x00\ndata: a\n\n", []Event{{"7", "message", "a"}}},
		{"data: cut off\nid: 9\n", nil},
		{"other: x\ndata: \ufeff\u2028\u0085\x00\n\n", []Event{{"", "message", "\ufeff\u2028\u0085\x00"}}},
	} {
		if got := Parse([]byte(test.stream)); !slices.Equal(got, test.want) {
			t.Errorf("%q gives %q, want %q", test.stream, got, test.want)
		}
		var got []Event
		p := newParser("", func(e Event) { got = append(got, e) }, func(time.Duration) {})
		bytewise, err := io.ReadAll(writes{iotest.OneByteReader(strings.NewReader(test.stream)), p})
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%q in %d pieces gives %q, want %q (%v)", test.stream, len(bytewise), got, test.want, err)
		}
	}
}

// writes passes on the bytes that it reads.
type writes struct {
	io.Reader
	p *parser
}

func (w writes) Read(b []byte) (int, error) {
	n, err := w.Reader.Read(b)
	w.p.write(b[:n])
	return n, err
}

// TestSource_ComesBackUntilItIsTurnedAway: an end and a break are followed by a
// request with the last id; any other answer than a stream is the end.
func TestSource_ComesBackUntilItIsTurnedAway(t *testing.T) {
	for _, last := range []struct {
		status int
		media  string
	}{
		{http.StatusNoContent, "text/event-stream"},
		{http.StatusBadGateway, "text/event-stream"},
		{http.StatusServiceUnavailable, "text/html"},
		{http.StatusOK, "text/html"},
		{http.StatusOK, ""},
	} {
		var ids []string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ids = append(ids, r.Header.Get("Last-Event-ID"))
			if len(ids) == 4 {
				w.Header()["Content-Type"] = []string{last.media}
				w.WriteHeader(last.status)
				return
			}
			w.Header().Set("Content-Type", "text/event-stream;charset=utf-8")
			fmt.Fprintf(w, "retry: 1\ndata: x\nid: %d\n\ndata: never\nid: 99\n", len(ids))
			if len(ids) == 2 {
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
		}))
		var got []string
		source := Source{URL: server.URL, Retry: time.Millisecond, Event: func(e Event) { got = append(got, e.ID) }}
		err := source.Run(t.Context())
		server.Close()
		var failed *FailedError
		if !errors.As(err, &failed) || failed.Status != last.status {
			t.Errorf("after %d with %q it ended with %v", last.status, last.media, err)
		}
		if want := []string{"1", "2", "3"}; !slices.Equal(got, want) || !slices.Equal(ids, append([]string{""}, want...)) {
			t.Errorf("events with the ids %q, requests with %q", got, ids)
		}
		if source.Opened() != 3 || source.Ended() != 2 || source.Broken() != 1 {
			t.Errorf("%d opened, %d ended, %d broke off", source.Opened(), source.Ended(), source.Broken())
		}
	}
}

func TestSource_ComesBackFromANetworkError(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := (&Source{URL: "http://127.0.0.1:1/", Retry: time.Millisecond}).Run(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it ended with %v, want to be stopped", err)
	}
}
