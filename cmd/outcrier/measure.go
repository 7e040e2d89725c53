package main

import (
	"net/http"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/internal/metrics"
	"github.com/outcrier/outcrier/outbox"
)

// measure makes the handler of the node's metrics, and has the surface serve it
// unless it has an address of its own.
func (n node) measure(surface *handlers.Config, tail *outbox.Tail, pool *pgxpool.Pool) http.Handler {
	surface.Traffic, surface.Access.Refusals = new(handlers.Traffic), new(handlers.Refusals)
	sources := metrics.Sources{
		Node: n.Node, Version: version(), Tail: tail.Status, Streams: surface.Streamer.Stats,
		Refusals: surface.Access.Refusals, Traffic: surface.Traffic,
		Pool: pool.Stat, Survey: outbox.Reader{Pool: pool}.Survey, Log: n.log,
	}
	if surface.Audit != nil {
		sources.Audit = surface.Audit.Stats
	}
	handler := metrics.Handler(sources)
	if n.metricsApart() {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", handler)
		return mux
	}
	surface.Metrics, surface.MetricsOpen = handler, n.Metrics == "open"
	return handler
}
