// Chi embeds a node in a server with chi's router, beneath /live. It needs DATABASE_URL, and
// serves at http://127.0.0.1:8080:
//
//	curl -c jar -d user=ann http://127.0.0.1:8080/sign-in
//	curl -b jar -N 'http://127.0.0.1:8080/live/events?topic=user/ann/**'
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

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

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
	router := chi.NewRouter()
	// Not middleware.Timeout or Compress: streams stay open, and have their own gzip.
	router.Use(middleware.RequestID, middleware.Logger, middleware.Recoverer)
	router.Post("/sign-in", sessions.SignIn)
	router.Post("/sign-out", sessions.SignOut)
	router.Mount("/live", http.StripPrefix("/live", node.Handler()))
	// No WriteTimeout: it would end every stream.
	server := &http.Server{Handler: router, ConnContext: node.ConnContext, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return errors.Join(node.Run(ctx), server.Shutdown(context.WithoutCancel(ctx)))
}
