package sse_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse"
	"github.com/outcrier/outcrier/sse/hub"
	"github.com/outcrier/outcrier/sse/wire"
)

// A tail feeds a hub, and a Streamer serves what the hub gets. outcrier.New puts these
// together, with the rest of a node.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	url, drop, err := outboxtest.Open() // the application's database
	if err != nil {
		log.Fatal(err)
	}
	defer drop()
	config, err := outbox.PoolConfig(url)
	if err != nil {
		log.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	h := hub.New(&hub.Buffer{Past: replay.Reader{Pool: pool}})
	follower := &tail.Tail{URL: url, Connected: pool.Reset, Start: h.Start, Deliver: h.Deliver, Keys: h.Keys}
	streamer := sse.NewStreamer(h, nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = follower.Run(ctx) // ends with ctx
	}()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := sse.Request{Filter: outbox.Filter{Topics: []outbox.Pattern{"greetings"}}, Format: wire.Payload, From: sse.From{Earliest: true}}
		streamer.Serve(r.Context(), writer{w, http.NewResponseController(w)}, request, func(error) {})
	}))
	defer func() { stop(); <-ended }()
	defer server.Close()

	if _, err := pool.Exec(ctx, `SELECT outcrier.append('greetings', 'greeted', '{"hello": "world"}'::json)`); err != nil {
		log.Fatal(err)
	}
	response, err := http.Get(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() && !strings.Contains(lines.Text(), "hello\":") {
	}
	fmt.Println(lines.Text())
	// Output: data: {"hello": "world"}
}

// writer is a Writer on net/http's.
type writer struct {
	http.ResponseWriter
	*http.ResponseController
}

func (w writer) Flush() error { return w.ResponseController.Flush() }
