// Package opentelemetry has outbox.Append take part in traces. A program imports it for
// that alone:
//
//	import _ "github.com/outcrier/outcrier/outbox/opentelemetry"
//
// Where the context of an append has a span, the append is then a child of it, by the same
// provider, and drafts without a header traceparent get the one of that child. Drafts that
// have one of their own keep it, and the child is linked to it. Without a span in the context
// nothing happens. It is a package of its own so that a program without traces builds no
// module for them. A node has it.
package opentelemetry

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/outcrier/outcrier/outbox/internal/plug"
)

func init() { plug.Begin = begin }

// w3c reads and writes the headers traceparent and tracestate (W3C Trace Context), which
// are the attributes of CloudEvents' distributed tracing extension too.
var w3c propagation.TraceContext

// SpanContext returns the span that the header traceparent of an event or a draft names, if
// it has a good one.
func SpanContext(headers map[string]string) (trace.SpanContext, bool) {
	if headers["traceparent"] == "" {
		return trace.SpanContext{}, false
	}
	from := trace.SpanContextFromContext(w3c.Extract(context.Background(), propagation.MapCarrier(headers)))
	return from, from.IsValid()
}

func begin(ctx context.Context, headers []map[string]string) (traced context.Context, added map[string]string, end func(error)) {
	parent := trace.SpanFromContext(ctx)
	if !parent.SpanContext().IsValid() {
		return ctx, nil, func(error) {}
	}
	var links []trace.Link
	for _, h := range headers {
		if from, ok := SpanContext(h); ok {
			links = append(links, trace.Link{SpanContext: from})
		}
	}
	ctx, span := parent.TracerProvider().Tracer("github.com/outcrier/outcrier/outbox").Start(ctx, "outbox append",
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attribute.Int("outcrier.events", len(headers))), trace.WithLinks(links...))
	carrier := propagation.MapCarrier{}
	w3c.Inject(ctx, carrier)
	return ctx, carrier, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}
