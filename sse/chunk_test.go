package sse

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse/ssetest"
	"github.com/outcrier/outcrier/sse/wire"
)

// A stream that the server ends in order ends with the last chunk; one that is cut off,
// for whatever reason, never does, so that its reader comes back.
func TestChunks_OnlyAnOrderlyEndIsComplete(t *testing.T) {
	expired := &wire.Goodbye{Reason: "token_expired", Text: "the token has expired"}
	for name, test := range map[string]struct {
		end      func(*server, *client)
		complete bool
	}{
		"drain":          {func(s *server, _ *client) { s.Drain() }, true},
		"goodbye":        {func(_ *server, c *client) { c.expire(expired) }, true},
		"cancelled":      {func(_ *server, c *client) { c.expire(errStopped) }, false},
		"the reader":     {func(_ *server, c *client) { c.leave() }, false},
		"a failed write": {func(s *server, c *client) { c.fail(errStopped); s.commit("a", 1) }, false},
		"a stall":        {func(s *server, c *client) { c.block(); s.commit("a", 1) }, false},
		"a stall in mid-chunk": {func(s *server, c *client) {
			c.block()
			c.response.room = 17
			s.commit("a", 1)
		}, false},
		"a drain that its reader does not take": {func(s *server, c *client) { c.block(); s.Drain() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			for format, kind := range map[wire.Format]string{0: "plain", wire.Gzip: "compressed"} {
				t.Run(kind, func(t *testing.T) {
					inBubbleWith(t, 0, func(t *testing.T, s *server) {
						if !s.parks {
							return // net/http makes its chunks
						}
						s.format = format
						c := s.open(t, Request{})
						s.commit("a", 3)
						c.wantIDs(numbers(1, 3)...)
						test.end(s, c)
						why := <-c.ended
						c.response.mu.Lock()
						defer c.response.mu.Unlock()
						if _, complete, _ := unchunk(c.response.sent, nil); complete != test.complete {
							t.Errorf("ended with %v, it is complete: %v", why, complete)
						}
						if got := Orderly(why); test.complete && !got {
							t.Errorf("an end with %v is not called orderly", why)
						}
					})
				})
			}
		})
	}
}

// A stream that is refused at once is complete too.
func TestChunks_ARefusedStreamIsComplete(t *testing.T) {
	inBubbleWith(t, 0, func(t *testing.T, s *server) {
		if !s.parks {
			return
		}
		s.MaxStreams = 1
		s.open(t, Request{})
		c := s.open(t, Request{})
		if why := <-c.ended; !errors.Is(why, ErrFull) {
			t.Error(why)
		}
		c.response.mu.Lock()
		defer c.response.mu.Unlock()
		if text, complete, _ := unchunk(c.response.sent, nil); !complete || !strings.HasSuffix(string(text), "data: {\"reason\":\"full\"}\n\n") {
			t.Errorf("complete: %v, %q", complete, text)
		}
	})
}

func (c *client) block() {
	c.response.mu.Lock()
	defer c.response.mu.Unlock()
	c.response.blocked = make(chan struct{})
}

func (c *client) fail(err error) {
	c.response.mu.Lock()
	defer c.response.mu.Unlock()
	c.response.err = err
}

// The same by net/http's reader, on real sockets: one who fetches a stream sees io.EOF
// where it ended in order, and io.ErrUnexpectedEOF where the server fell.
func TestSocket_ChunkedOrNot(t *testing.T) {
	for name, test := range map[string]struct {
		chunked, drain bool
		want           error
	}{
		"chunked, ended in order": {true, true, io.EOF},
		"chunked, cut off":        {true, false, io.ErrUnexpectedEOF},
		"plain, ended in order":   {false, true, io.EOF},
		"plain, cut off":          {false, false, io.EOF}, // which looks like an orderly end
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(0)
			s.DrainTime = 0
			ctx, stop := context.WithCancelCause(t.Context())
			running := make(chan error)
			go func() { running <- s.Run(ctx) }()
			defer func() { stop(errStopped); <-running }() //nolint:errcheck // other tests look at it
			untilRunning(t, s.Streamer)
			near, far := tcp(t)
			defer far.Close()
			_ = far.SetReadDeadline(time.Now().Add(time.Minute))
			head := "HTTP/1.1 200 OK\r\nConnection: close\r\n"
			if test.chunked {
				head += "Transfer-Encoding: chunked\r\n"
			}
			ended := make(chan error, 1)
			go s.Serve(ctx, NewSocket(near, []byte(head+"\r\n"), test.chunked), Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"a"}}}, func(why error) { ended <- why })
			response, err := http.ReadResponse(bufio.NewReader(far), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			p := ssetest.NewParser(response.Body)
			next := func(kind string) {
				for e := (ssetest.Event{}); e.Type != kind; {
					if e, err = p.Next(); err != nil {
						t.Fatal(err)
					}
				}
			}
			next("outcrier.live")
			for range 50 { // of several sizes, and several in a write
				s.commit("a", 7)
				for range 7 {
					next("test.added")
				}
			}
			if test.drain {
				s.Drain()
				next("outcrier.goodbye")
			} else {
				stop(errStopped)
			}
			if _, err := p.Next(); !errors.Is(err, test.want) {
				t.Errorf("it ends with %v, want %v", err, test.want)
			}
			t.Logf("the stream ends: %v", <-ended)
		})
	}
}

// No byte of a stream is ever a blank line but behind data, whatever happens on it:
// some clients give each blank line's event to JSON.parse.
func TestStream_HasNoBlockWithoutData(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server) {
		for _, request := range []Request{{}, {Format: wire.Payload | wire.Unnamed}, {Batch: window}} {
			s.past.set(func() { s.past.err = errors.New("gone") })
			request.From = From{Earliest: true}
			c := s.open(t, request)
			time.Sleep(3 * s.Heartbeat)
			s.past.set(func() { s.past.err = nil })
			time.Sleep(5 * time.Second)
			s.commit("a", 2)
			time.Sleep(3 * s.Heartbeat)
			s.commit("b", 1)
			time.Sleep(3 * s.Heartbeat)
			c.expire(&wire.Goodbye{Reason: "token_expired"})
			synctest.Wait()
			c.response.mu.Lock()
			text := string(c.response.text())
			c.response.mu.Unlock()
			for block := range strings.SplitSeq(strings.TrimSuffix(text, "\n\n"), "\n\n") {
				if !strings.Contains(block, "\ndata: {") && !strings.Contains(block, "\ndata: [{") && !strings.HasPrefix(block, "data: {") && !strings.HasPrefix(block, "data: [{") {
					t.Errorf("a block is %q", block)
				}
				if _, id, found := strings.Cut(block, "\nid: "); found && strings.Contains(id, "\n") {
					t.Errorf("the id is not the last line of %q", block)
				}
			}
			if n := strings.Count(text, "\nid: "); n < 4 {
				t.Errorf("%d ids: the test tests nothing", n)
			}
		}
	})
}
