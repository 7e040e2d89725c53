// Nethttp embeds a node in a server of net/http. It needs DATABASE_URL, and serves at
// http://127.0.0.1:8080:
//
//	curl -c jar -d user=ann http://127.0.0.1:8080/sign-in
//	curl -b jar -N 'http://127.0.0.1:8080/events?topic=user/ann/**'
package main

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/outcrier/outcrier"

	"example.com/embed/session"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		log.Fatal(err)
	}
	if err := serve(ctx, listener, os.Getenv("DATABASE_URL")); err != nil {
		log.Fatal(err)
	}
}

// serve serves until ctx ends and all streams have got a goodbye.
func serve(ctx context.Context, listener net.Listener, database string) error {
	sessions := session.New()
	node, err := outcrier.New(ctx, outcrier.Config{DatabaseURL: database, Authenticate: sessions.Identify, Logger: slog.Default()})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /sign-in", sessions.SignIn)
	mux.HandleFunc("POST /sign-out", sessions.SignOut)
	mux.Handle("/events", node.Handler())
	// No WriteTimeout: it would end every stream.
	server := &http.Server{Handler: mux, ConnContext: node.ConnContext, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return errors.Join(node.Run(ctx), server.Shutdown(context.WithoutCancel(ctx)))
}
