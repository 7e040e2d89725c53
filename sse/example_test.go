package sse_test

import (
	"context"
	"log"
	"log/slog"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse"
)

// A tail feeds a hub, and a Streamer serves what the hub gets.
func Example() {
	ctx := context.Background()
	url := os.Getenv("DATABASE_URL")
	config, err := outbox.PoolConfig(url)
	if err != nil {
		log.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()

	hub := sse.NewHub(&sse.Ring{Past: outbox.Reader{Pool: pool}})
	tail := &outbox.Tail{URL: url, Start: hub.Start, Deliver: hub.Deliver, Log: slog.Default()}
	streamer := sse.NewStreamer(hub, slog.Default()) // handlers.New makes a handler of it

	go func() { log.Fatal(streamer.Run(ctx)) }()
	log.Fatal(tail.Run(ctx))
}
