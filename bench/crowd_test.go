package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The ways in which a server can mark the end of a stream's body.
var framings = map[string]func(http.ResponseWriter) io.Writer{
	"chunked": func(w http.ResponseWriter) io.Writer {
		w.WriteHeader(http.StatusOK)
		return flushed{w, w.(http.Flusher).Flush}
	},
	"close-delimited": func(w http.ResponseWriter) io.Writer {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
		return conn
	},
}

// noFraming leaves all to the script.
const noFraming = "none"

// flushed brings every write to the client on its own.
type flushed struct {
	io.Writer
	flush func()
}

func (f flushed) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	f.flush()
	return n, err
}

// scripted is a server whose streams are what script says, by the number of the
// connection from 0. A stream that script has ended stays open.
func scripted(t *testing.T, framing string, script func(n int, r *http.Request) []string) *endpoint {
	t.Helper()
	done := make(chan struct{})
	var connections atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := script(int(connections.Add(1)-1), r)
		var body io.Writer
		if framing == noFraming {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			body = conn
		} else {
			body = framings[framing](w)
		}
		ends := len(parts) > 0 && parts[len(parts)-1] == theEnd
		for _, part := range parts {
			if part != theEnd {
				_, _ = io.WriteString(body, part)
			}
		}
		conn, hijacked := body.(net.Conn)
		if hijacked {
			defer conn.Close()
		}
		if ends {
			return
		}
		select {
		case <-done:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() {
		close(done)
		server.CloseClientConnections()
		server.Close()
	})
	e, err := newEndpoint(server.URL, "", "cloudevents")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// What servers say. theEnd ends a stream.
const (
	theEnd = "the end"
	hello  = ": outcrier\nretry: 3000\n\nevent: outcrier.hello\nid: 0.A\ndata: {\"resumed\":false}\n\nevent: outcrier.live\nid: 0.A\ndata: {}\n\n"
)

func told(writer int, number int64) string {
	payload := mark{writer: writer, number: number}.payload(leastPayload)
	return fmt.Sprintf("id: %d.A\nevent: %s\ndata: {\"specversion\":\"1.0\",\"data\":%s}\n\n", number, eventType, payload)
}

func numbers(of ...int64) string {
	var b strings.Builder
	for _, n := range of {
		b.WriteString(told(0, n))
	}
	return b.String()
}

func openCrowd(t *testing.T, e *endpoint, n int) *crowd {
	t.Helper()
	c := newCrowd(e, n, func(i int) string { return fmt.Sprintf("topic/%d", i) }, nil)
	if err := c.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.drop)
	return c
}

func await(t *testing.T, c *crowd, target int64) {
	t.Helper()
	if missing, err := c.await(t.Context(), target); err != nil || missing != 0 {
		t.Fatalf("%d missing, error %v", missing, err)
	}
}

func TestCrowd_CountsWhatIsLostAndRepeated(t *testing.T) {
	for framing := range framings {
		for _, tt := range []struct {
			name   string
			body   []string
			target int64
			want   Count
		}{
			{"all", []string{hello, numbers(1, 2, 3)}, 3, Count{3, 0, 0}},
			{"one lost", []string{hello, numbers(1, 3)}, 3, Count{2, 1, 0}},
			{"the first lost", []string{hello, numbers(3)}, 3, Count{1, 2, 0}},
			{"one repeated", []string{hello, numbers(1, 2, 2, 3)}, 3, Count{4, 0, 1}},
			{"all repeated", []string{hello, numbers(1, 2, 1, 2, 3)}, 3, Count{5, 0, 2}},
			{"out of order", []string{hello, numbers(2, 1, 3)}, 3, Count{3, 1, 1}},
			{"writers apart", []string{hello, told(0, 1), told(1, 1), told(1, 2), told(0, 3)}, 5, Count{4, 1, 0}},
			{"a byte at a time", append([]string{hello}, strings.Split(numbers(1, 2, 4), "")...), 4, Count{3, 1, 0}},
			{"heartbeats and lines that end in CRLF between", []string{hello, numbers(1), ":\n\n", strings.ReplaceAll(numbers(2), "\n", "\r\n"), "event: outcrier.position\nid: 7.A\ndata:\n\n", numbers(3)}, 3, Count{3, 0, 0}},
		} {
			t.Run(framing+"/"+tt.name, func(t *testing.T) {
				c := openCrowd(t, scripted(t, framing, func(int, *http.Request) []string { return tt.body }), 2)
				await(t, c, tt.target)
				want := Count{2 * tt.want.Deliveries, 2 * tt.want.Lost, 2 * tt.want.Repeated}
				if got := c.count(); got != want {
					t.Errorf("counted %+v, want %+v", got, want)
				}
			})
		}
	}
}

func TestCrowd_ResumesBehindTheLastWholeEvent(t *testing.T) {
	for framing := range framings {
		t.Run(framing, func(t *testing.T) {
			ids := make(chan string, 2)
			cut := strings.TrimSuffix(numbers(3), "\n") // its blank line does not come
			e := scripted(t, framing, func(n int, r *http.Request) []string {
				ids <- r.Header.Get("Last-Event-ID")
				return [][]string{{hello, numbers(1, 2), cut}, {"event: outcrier.live\ndata: {}\n\n", numbers(3, 4)}}[n]
			})
			c := openCrowd(t, e, 1)
			await(t, c, 2)
			c.drop()
			if err := c.open(t.Context()); err != nil {
				t.Fatal(err)
			}
			await(t, c, 4)
			if got, want := []string{<-ids, <-ids}, []string{"", "2.A"}; !slices.Equal(got, want) {
				t.Errorf("Last-Event-ID %q, want %q", got, want)
			}
			if got, want := c.count(), (Count{Deliveries: 4}); got != want {
				t.Errorf("counted %+v, want %+v", got, want)
			}
		})
	}
}

func TestCrowd_WhatNeverComesIsMissing(t *testing.T) {
	c := openCrowd(t, scripted(t, "chunked", func(int, *http.Request) []string { return []string{hello, numbers(1)} }), 3)
	c.patience = 100 * time.Millisecond
	if missing, err := c.await(t.Context(), 5); missing != 12 || err != nil {
		t.Errorf("missing %d, error %v, want 12 and none", missing, err)
	}
}

func TestCrowd_StreamsThatEndAreAnError(t *testing.T) {
	for framing := range framings {
		for name, body := range map[string][]string{
			"end":     {hello, numbers(1), theEnd},
			"goodbye": {hello, numbers(1), "event: outcrier.goodbye\ndata: {\"reason\":\"drain\"}\n\n"},
			"no mark": {hello, "event: " + eventType + "\ndata: {}\n\n"},
			"gap":     {hello, "event: outcrier.hello\nid: 0.A\ndata: {\"resumed\":\"gap\",\"reason\":\"trimmed\"}\n\n"},
		} {
			t.Run(framing+"/"+name, func(t *testing.T) {
				c := newCrowd(scripted(t, framing, func(int, *http.Request) []string { return body }), 1, func(int) string { return "t" }, nil)
				defer c.drop()
				err := c.open(t.Context())
				if err == nil {
					_, err = c.await(t.Context(), 2)
				}
				if err == nil {
					t.Error("no error")
				}
			})
		}
	}
}

func TestCrowd_RefusedStreamsAreAnError(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	e, err := newEndpoint(server.URL, "", "cloudevents")
	if err != nil {
		t.Fatal(err)
	}
	c := newCrowd(e, 5, func(int) string { return "t" }, nil)
	if err := c.open(t.Context()); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("error %v, want one with the status", err)
	}
}

func TestCrowd_AsksForItsTopic(t *testing.T) {
	asked := make(chan *http.Request, 1)
	e := scripted(t, "chunked", func(_ int, r *http.Request) []string {
		asked <- r
		return []string{hello}
	})
	e.token = "secret"
	openCrowd(t, e, 1)
	r := <-asked
	if got := r.URL.Query().Get("topic") + " " + r.URL.Query().Get("format") + " " + r.Header.Get("Authorization") + " " + r.Header.Get("Accept"); got != "topic/0 cloudevents Bearer secret text/event-stream" {
		t.Errorf("asked for %q", got)
	}
}

// By WebSocket a crowd sees the same events and positions, and an end.
func TestCrowd_ReadsMessages(t *testing.T) {
	asked := make(chan *http.Request, 1)
	long := strings.Repeat("x", 70_000)
	e := scripted(t, noFraming, func(_ int, r *http.Request) []string {
		asked <- r
		parts := []string{"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"}
		for _, text := range []string{
			`{"position":"0.A","event":{"type":"outcrier.hello","data":{"resumed":false}}}`, `{"position":"0.A","event":{"type":"outcrier.live","data":{}}}`,
			`{"position":"1.A","event":{"specversion":"1.0","type":"` + eventType + `","data":` + mark{number: 1}.payload(leastPayload) + `}}`,
			`{"position":"1.B","event":{"type":"outcrier.position","data":{"` + long + `":1}}}`,
			`{"position":"2.A","event":{"type":"` + eventType + `","data":` + mark{number: 2}.payload(300) + `}}`,
		} {
			header := []byte{0x81, byte(len(text))}
			switch {
			case len(text) > 0xffff:
				header = binary.BigEndian.AppendUint64([]byte{0x81, 127}, uint64(len(text)))
			case len(text) > 125:
				header = binary.BigEndian.AppendUint16([]byte{0x81, 126}, uint16(len(text)))
			}
			parts = append(parts, string(header)+text, "\x89\x00")
		}
		return append(parts, "\x88\x00")
	})
	e.webSocket = true
	c := newCrowd(e, 1, func(int) string { return "t" }, nil)
	defer c.drop()
	if err := c.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := <-asked; r.Header.Get("Upgrade") != "websocket" || r.URL.Query().Get("topic") != "t" {
		t.Errorf("asked for %+v", r)
	}
	if _, err := c.await(t.Context(), 3); !errors.Is(err, errEnded) {
		t.Errorf("the end is %v", err)
	}
	if s := c.streams[0]; s.tally.deliveries.Load() != 2 || string(s.id) != "2.A" {
		t.Errorf("at %s after %d events", s.id, s.tally.deliveries.Load())
	}
}

func TestCrowd_OpeningEndsWithItsContext(t *testing.T) {
	e := scripted(t, "chunked", func(int, *http.Request) []string { return []string{": nothing\n\n"} })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := newCrowd(e, 3, func(int) string { return "t" }, nil).open(ctx); err == nil {
		t.Error("no error")
	}
}
