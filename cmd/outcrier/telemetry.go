package main

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/internal/tracing"
)

// metricsAccess returns who may read the metrics at the address of the streams.
func (n node) metricsAccess() outcrier.MetricsAccess {
	if n.metricsApart() {
		return outcrier.MetricsOff
	}
	return outcrier.MetricsAccess(n.Metrics)
}

// metricsTime is how long metrics may take to be collected.
const metricsTime = 10 * time.Second

// metricsHandler serves the metrics at an address of their own.
func metricsHandler(streams *outcrier.Node) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", streams.Metrics())
	return mux
}

// trace begins tracing where the environment asks for it; stop sends the remaining spans.
func (n node) trace(ctx context.Context) (_ trace.TracerProvider, stop func(), err error) {
	provider, err := tracing.Start(ctx, func(name string) string { return variable(n.environ, name) }, version(), n.Node)
	if err != nil || provider == nil {
		return nil, func() {}, err
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { n.log.Warn("traces not sent", "err", err) }))
	return provider, func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if err := provider.Shutdown(ending); err != nil {
			n.log.Warn("the last traces were not sent", "err", err)
		}
	}, nil
}
