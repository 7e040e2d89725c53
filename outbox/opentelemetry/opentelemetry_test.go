package opentelemetry_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/opentelemetry"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

const other = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestAppend_ContinuesTheTraceOfItsContext(t *testing.T) {
	pool := outboxtest.New(t)
	ended := tracetest.NewSpanRecorder()
	ctx, parent := sdk.NewTracerProvider(sdk.WithSpanProcessor(ended)).Tracer("test").Start(t.Context(), "business")
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := outbox.Append(ctx, tx,
			outbox.Draft{Topic: "a", Type: "without", Headers: map[string]string{"mine": "1"}},
			outbox.Draft{Topic: "a", Type: "with", Headers: map[string]string{"traceparent": other}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	spans := ended.Ended()
	if len(spans) != 1 || spans[0].Name() != "outbox append" || spans[0].Parent().SpanID() != parent.SpanContext().SpanID() || spans[0].Status().Code == codes.Error {
		t.Fatalf("spans: %v", spans)
	}
	if links := spans[0].Links(); len(links) != 1 || links[0].SpanContext.TraceID().String() != other[3:35] {
		t.Errorf("links: %v", links)
	}
	without := headers(t, pool, "without")
	if from, ok := opentelemetry.SpanContext(without); !ok || from.SpanID() != spans[0].SpanContext().SpanID() || without["mine"] != "1" {
		t.Errorf("headers: %v", without)
	}
	if with := headers(t, pool, "with"); len(with) != 1 || with["traceparent"] != other {
		t.Errorf("headers of the draft that has a trace: %v", with)
	}
}

func TestAppend_OutsideATraceAddsNothing(t *testing.T) {
	pool := outboxtest.New(t)
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := outbox.Append(t.Context(), tx, outbox.Draft{Topic: "a", Type: "alone"})
		return err
	})
	if h := headers(t, pool, "alone"); err != nil || h != nil {
		t.Errorf("headers: %v, %v", h, err)
	}
}

func headers(t *testing.T, pool *pgxpool.Pool, kind string) (headers map[string]string) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), `SELECT headers FROM outcrier.event WHERE type = $1`, kind).Scan(&headers); err != nil {
		t.Fatal(err)
	}
	return headers
}
