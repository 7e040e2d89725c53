package torture

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse"
	"github.com/outcrier/outcrier/sse/hub"
)

// node is one server process as far as its streams can tell.
type node struct {
	url    string
	tail   *tail.Tail
	hub    *hub.Hub
	server *http.Server
	stop   func()
}

// started counts nodes.
var started atomic.Int32

// startNode serves the outbox at database until stop, or the test's end. The
// tail's Start, if it has one, is called after the hub's.
func startNode(t *testing.T, database string, log *slog.Logger, follower *tail.Tail) *node {
	t.Helper()
	pool := outboxtest.Pool(t, database)
	// Small, so that some is replayed from memory and some from the table.
	h := hub.New(&hub.Buffer{Past: replay.Reader{Pool: pool}, Bytes: 512 << 10})
	h.QueueFrames = 64
	after := follower.Start
	follower.Start = func(p position.Position) {
		h.Start(p)
		if after != nil {
			after(p)
		}
	}
	follower.Deliver, follower.Keys = h.Deliver, h.Keys
	follower.URL, follower.Log = database, log
	streamer := sse.NewStreamer(h, log)
	streamer.Heartbeat = 200 * time.Millisecond
	n := &node{tail: follower, hub: h, server: &http.Server{
		Handler: handlers.New(handlers.Config{Streamer: streamer, TailStatus: follower.Status, Log: log, Access: handlers.Access{Open: true}}),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			_ = c.(*net.TCPConn).SetWriteBuffer(16 << 10)
			return ctx
		},
	}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.url = "http://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = follower.Run(ctx) })
	running.Go(func() { _ = n.server.Serve(listener) })
	// One node of three serves as it would over TLS: a goroutine a stream.
	if started.Add(1)%3 > 0 {
		running.Go(func() { _ = streamer.Run(ctx) })
	}
	n.stop = sync.OnceFunc(func() {
		cancel()
		_ = n.server.Close()
		running.Wait()
	})
	t.Cleanup(n.stop)
	return n
}
