package outbox

import (
	"context"
	"maps"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// w3c reads and writes the headers traceparent and tracestate (W3C Trace Context), which
// are the attributes of CloudEvents' distributed tracing extension too.
var w3c propagation.TraceContext

// Trace is the span that the event's header traceparent names, if it has a good one.
func (e *Event) Trace() (trace.SpanContext, bool) { return traceOf(e.Headers) }

func traceOf(headers map[string]string) (trace.SpanContext, bool) {
	if headers["traceparent"] == "" {
		return trace.SpanContext{}, false
	}
	from := trace.SpanContextFromContext(w3c.Extract(context.Background(), propagation.MapCarrier(headers)))
	return from, from.IsValid()
}

// traced begins a span for an append where ctx has one, by the same provider, and returns
// the drafts with its traceparent, except those that have one of their own: to these the
// span is linked. Without a span in ctx it does nothing. end must be called.
func traced(ctx context.Context, drafts []Draft) (_ context.Context, _ []Draft, end func(error)) {
	parent := trace.SpanFromContext(ctx)
	if !parent.SpanContext().IsValid() {
		return ctx, drafts, func(error) {}
	}
	var links []trace.Link
	for _, d := range drafts {
		if from, ok := traceOf(d.Headers); ok {
			links = append(links, trace.Link{SpanContext: from})
		}
	}
	ctx, span := parent.TracerProvider().Tracer("github.com/outcrier/outcrier/outbox").Start(ctx, "outbox append",
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attribute.Int("outcrier.events", len(drafts))), trace.WithLinks(links...))
	carrier := propagation.MapCarrier{}
	w3c.Inject(ctx, carrier)
	with := make([]Draft, len(drafts))
	for i, d := range drafts {
		if with[i] = d; d.Headers["traceparent"] == "" {
			headers := maps.Clone(d.Headers)
			if headers == nil {
				headers = map[string]string{}
			}
			maps.Copy(headers, carrier)
			with[i].Headers = headers
		}
	}
	return ctx, with, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}
