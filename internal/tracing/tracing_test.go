package tracing

import (
	"context"
	"errors"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/sse/hub"
)

type pages struct {
	hub.Past
	page replay.Page
	err  error
}

func (p pages) Replay(context.Context, replay.Range, outbox.Filter, int, int) (replay.Page, error) {
	return p.page, p.err
}

func TestPast_HasASpanForEachPage(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	traced := New(sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder)))
	from := map[string]string{"traceparent": "00-11111111111111111111111111111111-2222222222222222-01"}
	page := replay.Page{Events: []outbox.Event{{ID: 1, Headers: from}, {ID: 2, Headers: from}, {ID: 3}, {ID: 4, Headers: map[string]string{"traceparent": "no"}}}, Done: true}
	for _, past := range []pages{{page: page}, {err: errors.New("gone")}} {
		got, err := traced.Past(past).Replay(t.Context(), replay.Range{}, outbox.Filter{}, 64, 0)
		if len(got.Events) != len(past.page.Events) || !errors.Is(err, past.err) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	spans := recorder.Ended()
	if len(spans) != 2 {
		t.Fatalf("%d spans, want 2", len(spans))
	}
	if links := spans[0].Links(); len(links) != 1 || links[0].SpanContext.SpanID().String() != "2222222222222222" {
		t.Errorf("links %v", links)
	}
	if status := spans[1].Status(); status.Code != codes.Error || status.Description != "gone" {
		t.Errorf("status %v", status)
	}
}

func TestTracing_IsFreeWhereItIsOff(t *testing.T) {
	off := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}
	for _, environment := range []map[string]string{{}, off} {
		provider, err := Start(t.Context(), func(name string) string { return environment[name] }, "", "")
		if provider != nil || err != nil {
			t.Errorf("%v: %v, %v", environment, provider, err)
		}
	}
	if got, same := New(nil).Past(replay.Reader{}).(replay.Reader); !same {
		t.Errorf("a replay is wrapped: %T", got)
	}
}
