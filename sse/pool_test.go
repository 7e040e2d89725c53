package sse

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/sse/hub"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// A reader who takes a part of a write gets the rest of it before all else, from
// a goroutine that waits for them.
func TestPool_GivesTheRestOfAWriteFirst(t *testing.T) {
	inBubbleWith(t, 0, func(t *testing.T, s *server) {
		if !s.parks {
			return // it is the pool's alone
		}
		c := s.open(t, Request{})
		c.next()
		c.response.mu.Lock()
		c.response.room, c.response.blocked = 17, make(chan struct{})
		c.response.mu.Unlock()
		for range 3 {
			s.commit("a", 1)
		}
		time.Sleep(s.Stall / 2)
		c.response.mu.Lock()
		close(c.response.blocked)
		c.response.blocked = nil
		c.response.mu.Unlock()
		s.commit("a", 1)
		time.Sleep(time.Second)
		synctest.Wait()
		c.response.mu.Lock()
		defer c.response.mu.Unlock()
		events, p := ssetest.Parse(c.response.text())
		if got := ids(events); !slices.Equal(got, numbers(1, 4)) || len(p.Strange) > 0 {
			t.Errorf("given are %v; strange lines %q", got, p.Strange)
		}
	})
}

// However its reader leaves, a parked stream ends, once, and its connection is
// closed.
func TestPool_NoticesThatAReaderLeft(t *testing.T) {
	inBubbleWith(t, 0, func(t *testing.T, s *server) {
		if !s.parks {
			return
		}
		for _, busy := range []bool{false, true} {
			c := s.open(t, Request{})
			if busy {
				c.response.mu.Lock()
				c.response.blocked = make(chan struct{})
				c.response.mu.Unlock()
				s.commit("a", 1)
				s.commit("a", 1)
			}
			c.leave()
			c.leave()
			why := <-c.ended
			if want := ErrLeft; !busy && !errors.Is(why, want) {
				t.Errorf("it ended with %v", why)
			}
			c.response.mu.Lock()
			closed := c.response.closed
			c.response.mu.Unlock()
			if !closed || s.Open() != 0 || s.Hub.Subscriptions() != 0 || len(s.pool.all()) != 0 {
				t.Errorf("closed %v, %d open, %d subscribed, %d with the pool", closed, s.Open(), s.Hub.Subscriptions(), len(s.pool.all()))
			}
		}
	})
}

// The same on real sockets: streams become live, get events, and end when the reader
// closes the connection, long before a heartbeat would find out.
func TestSocket_IsWrittenToAndWatched(t *testing.T) {
	s := newServer(0)
	ctx, stop := context.WithCancelCause(t.Context())
	running := make(chan error)
	go func() { running <- s.Run(ctx) }()
	defer func() {
		stop(errStopped)
		if err := <-running; !errors.Is(err, errStopped) {
			t.Error(err)
		}
	}()
	untilRunning(t, s.Streamer)
	ended := make(chan error, 1)
	for name, pipe := range map[string]func(*testing.T) (net.Conn, net.Conn){"tcp": tcp, "no descriptor": func(*testing.T) (net.Conn, net.Conn) { return net.Pipe() }} {
		t.Run(name, func(t *testing.T) {
			near, far := pipe(t)
			go s.Serve(ctx, NewSocket(near, []byte("HTTP/1.1 200 OK\r\n\r\n"), false), Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"a"}}}, func(why error) { ended <- why })
			in := bufio.NewReader(far)
			if line, err := in.ReadString('\n'); line != "HTTP/1.1 200 OK\r\n" || err != nil {
				t.Fatalf("%q, %v", line, err)
			}
			p := ssetest.NewParser(in)
			next := func() ssetest.Event {
				_ = far.SetReadDeadline(time.Now().Add(time.Minute))
				e, err := p.Next()
				if err != nil {
					t.Fatal(err)
				}
				return e
			}
			for e := next(); e.Type != "outcrier.live"; e = next() {
			}
			for range 300 {
				want := s.commit("a", 1)[0]
				if e := next(); e.ID != sealed(after(want)) {
					t.Fatalf("event %d came as %+v", want.ID, e)
				}
			}
			_ = far.Close()
			select {
			case why := <-ended:
				if !errors.Is(why, ErrLeft) && !strings.Contains(why.Error(), "write") {
					t.Errorf("it ended with %v", why)
				}
			case <-time.After(s.Heartbeat / 2):
				t.Error("nobody noticed that the reader left")
			}
		})
	}
}

func untilRunning(t *testing.T, s *Streamer) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !s.Running(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the pool does not run")
		}
	}
}

func tcp(t *testing.T) (near, far net.Conn) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	far, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return near, far
}

// When the server stops, parked streams end with it, and those who come while it
// does.
func TestStreamer_RunEndsAllStreams(t *testing.T) {
	s := NewStreamer(newHub(&hub.Buffer{}), slog.New(slog.DiscardHandler))
	s.Hub.Start(position.Position{History: 1})
	ctx, stop := context.WithCancelCause(t.Context())
	defer stop(nil)
	running := make(chan error)
	go func() { running <- s.Run(ctx) }()
	untilRunning(t, s)
	const streams = 50
	ended := make(chan error, streams)
	for i := range streams {
		near, far := tcp(t)
		defer far.Close()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		go s.Serve(ctx, NewSocket(near, nil, true), Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"a"}}}, func(why error) { ended <- why })
		if i == streams/2 {
			go stop(errStopped)
		}
	}
	for range streams {
		if why := <-ended; !errors.Is(why, errStopped) {
			t.Errorf("a stream ended with %v", why)
		}
	}
	if err := <-running; !errors.Is(err, errStopped) {
		t.Error(err)
	}
}

// A callback for a stream's end may be slow: other streams are served meanwhile.
func TestPool_DoesNotWaitForWhoIsToldOfAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(0)
		s.parks = true
		ctx, stop := context.WithCancelCause(context.Background())
		running := make(chan error)
		go func() { running <- s.run(ctx, nil) }()
		synctest.Wait()
		release := make(chan struct{})
		for range 20 {
			w := &response{}
			go s.Serve(ctx, parkable{w}, Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"a"}}}, func(error) { <-release })
			synctest.Wait()
			w.left()
		}
		c := s.open(t, Request{})
		c.next()
		s.commit("a", 3)
		c.wantIDs(numbers(1, 3)...)
		close(release)
		stop(errStopped)
		<-running //nolint:errcheck // other tests look at it
	})
}

// What a stalled reader has not taken goes with the stream: the kernel would keep
// it for minutes.
func TestSocket_OfAStalledReaderIsReset(t *testing.T) {
	s := newServer(0)
	s.Stall = 50 * time.Millisecond
	ctx, stop := context.WithCancelCause(t.Context())
	running := make(chan error)
	go func() { running <- s.Run(ctx) }()
	defer func() {
		stop(errStopped)
		if err := <-running; !errors.Is(err, errStopped) {
			t.Error(err)
		}
	}()
	untilRunning(t, s.Streamer)
	near, far := tcp(t)
	defer far.Close()
	_ = near.(*net.TCPConn).SetWriteBuffer(4 << 10)
	_ = far.(*net.TCPConn).SetReadBuffer(4 << 10)
	ended := make(chan error, 1)
	go s.Serve(ctx, NewSocket(near, []byte("HTTP/1.1 200 OK\r\n\r\n"), false), Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"a"}}}, func(why error) { ended <- why })
	for why := error(nil); why == nil; {
		s.commit("a", 1000)
		select {
		case why = <-ended:
			if !errors.Is(why, ErrStalled) {
				t.Fatal(why)
			}
		default:
		}
	}
	_ = far.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.Copy(io.Discard, far); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the end is %v, want a reset", err)
	}
}
