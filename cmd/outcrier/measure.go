package main

import (
	"context"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel"

	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/internal/metrics"
	"github.com/outcrier/outcrier/internal/tracing"
	"github.com/outcrier/outcrier/outbox"
)

// measure makes the handler of the node's metrics, and has the surface serve it
// unless it has an address of its own.
func (n node) measure(surface *handlers.Config, tail *outbox.Tail, pool *pgxpool.Pool) http.Handler {
	surface.Traffic, surface.Access.Refusals = new(handlers.Traffic), new(handlers.Refusals)
	sources := metrics.Sources{
		Node: n.Node, Version: version(), Tail: tail.Status, Streams: surface.Streamer.Stats,
		Refusals: surface.Access.Refusals, Traffic: surface.Traffic,
		Pool: pool.Stat, Survey: outbox.Reader{Pool: pool, Schema: n.Schema}.Survey, Log: n.log,
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

// trace begins tracing where the environment asks for it; stop sends what is left.
func (n node) trace(ctx context.Context) (traced *tracing.Tracing, stop func(), err error) {
	traced, err = tracing.Start(ctx, func(name string) string { return variable(n.environ, name) }, version(), n.Node)
	if err != nil || traced == nil {
		return nil, func() {}, err
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { n.log.Warn("traces not sent", "err", err) }))
	return traced, func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if err := traced.Stop(ending); err != nil {
			n.log.Warn("the last traces were not sent", "err", err)
		}
	}, nil
}
