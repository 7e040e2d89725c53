// Package tracing gives a node spans, where OpenTelemetry is configured: of appends by
// HTTP, of reads of the tail and of pages of replays. It wraps the functions at the edges
// of the node, and nothing where OpenTelemetry is not configured. Deliveries have no spans.
package tracing

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/opentelemetry"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse/hub"
)

// Tracing makes spans. Nil makes none.
type Tracing struct{ tracer trace.Tracer }

// Start begins as the standard OTEL_… variables say, and returns nil where they name
// no endpoint, or say that there is to be none. The exporter is OTLP over HTTP. The
// provider's Shutdown must be called.
func Start(ctx context.Context, getenv func(string) string, version, node string) (*sdk.TracerProvider, error) {
	if getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" ||
		strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return nil, nil
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := getenv(name); protocol != "" && protocol != "http/protobuf" {
			return nil, fmt.Errorf("start tracing: %s is %q, allowed is http/protobuf", name, protocol)
		}
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("start tracing: %w", err)
	}
	// What the environment says of the service wins.
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "outcrier"), attribute.String("service.version", version), attribute.String("service.instance.id", node)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("start tracing: %w", err)
	}
	return sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about)), nil
}

// New makes spans with a provider, and returns nil for nil.
func New(provider trace.TracerProvider) *Tracing {
	if provider == nil {
		return nil
	}
	return &Tracing{provider.Tracer("github.com/outcrier/outcrier")}
}

// Handler has the spans of a request belong to the trace that its headers name.
func (t *Tracing) Handler(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("traceparent") != "" {
			r = r.WithContext(propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header)))
		}
		next.ServeHTTP(w, r)
	})
}

// Append has a span for each append by HTTP. outbox.Append has another one in it, whose
// traceparent the events get.
func (t *Tracing) Append(next func(context.Context, []outbox.Draft) ([]int64, error)) func(context.Context, []outbox.Draft) ([]int64, error) {
	if t == nil {
		return next
	}
	return func(ctx context.Context, drafts []outbox.Draft) ([]int64, error) {
		ctx, span := t.tracer.Start(ctx, "POST /events", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(events(len(drafts))))
		defer span.End()
		ids, err := next(ctx, drafts)
		failed(span, err)
		return ids, err
	}
}

// Deliver has a span for each part of a read that has events: from asking for the read
// until all streams have them queued. It is linked to the spans that appended them.
func (t *Tracing) Deliver(next func(tail.Read)) func(tail.Read) {
	if t == nil {
		return next
	}
	return func(r tail.Read) {
		if len(r.Events) == 0 {
			next(r)
			return
		}
		_, span := t.tracer.Start(context.Background(), "tail read", trace.WithTimestamp(r.Asked), trace.WithSpanKind(trace.SpanKindConsumer),
			trace.WithAttributes(events(len(r.Events))), trace.WithLinks(links(r.Events)...))
		next(r)
		span.End()
	}
}

// Past has a span for each page of a replay out of the table.
func (t *Tracing) Past(next hub.Past) hub.Past {
	if t == nil {
		return next
	}
	return past{next, t}
}

type past struct {
	hub.Past
	*Tracing
}

func (p past) Replay(ctx context.Context, stretch replay.Range, filter outbox.Filter, limit, bytes int) (replay.Page, error) {
	ctx, span := p.tracer.Start(ctx, "replay", trace.WithAttributes(attribute.Int("outcrier.limit", limit)))
	defer span.End()
	page, err := p.Past.Replay(ctx, stretch, filter, limit, bytes)
	failed(span, err)
	span.SetAttributes(events(len(page.Events)), attribute.Bool("outcrier.done", page.Done))
	if span.IsRecording() {
		for _, link := range links(page.Events) {
			span.AddLink(link)
		}
	}
	return page, err
}

func events(n int) attribute.KeyValue { return attribute.Int("outcrier.events", n) }

func failed(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
}

// maxLinks is OpenTelemetry's own limit of the links of a span.
const maxLinks = 128

// links lead to the spans that the events' traceparent headers name, each once.
func links(list []outbox.Event) (links []trace.Link) {
	seen := map[trace.SpanID]bool{}
	for i := range list {
		from, ok := opentelemetry.SpanContext(list[i].Headers)
		if !ok || seen[from.SpanID()] {
			continue
		}
		seen[from.SpanID()] = true
		if links = append(links, trace.Link{SpanContext: from}); len(links) == maxLinks {
			break
		}
	}
	return links
}
