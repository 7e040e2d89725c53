package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/outcrier/outcrier/handlers"
)

// serveProfiles serves Go's profiles at an address of their own until ctx ends: they are
// for the operator, not for clients.
func serveProfiles(ctx context.Context, address string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	return serveApart(ctx, address, onLoopback(mux), 0) // a profile takes as long as it was asked for
}

// serveApart serves at an address of its own until ctx ends. An answer ends after stall,
// read or not, unless that is 0.
func serveApart(ctx context.Context, address string, handler http.Handler, stall time.Duration) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	server := http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: stall, IdleTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// onLoopback keeps out pages whose name was made to resolve to loopback: heaps hold
// what users were sent.
func onLoopback(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !handlers.IsLoopback(r.Host) {
			http.Error(w, "only clients on loopback may connect", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
