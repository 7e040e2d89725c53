package e2e

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/sse"
)

// collected are the spans that were sent to a collector, by name.
type collected struct {
	mu    sync.Mutex
	spans map[string]*otlp.Span
}

func (c *collected) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var request collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		panic(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				c.spans[span.Name] = span
			}
		}
	}
}

func (c *collected) span(name string) *otlp.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spans[name]
}

// A request's traceparent leads to the append, the append's is in the event that its
// readers get, and the read of the tail is linked to it.
func TestTrace_GoesWithTheEvent(t *testing.T) {
	c := &collected{spans: map[string]*otlp.Span{}}
	endpoint := httptest.NewServer(c)
	defer endpoint.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
	s := startAs(t, "serve", "--dev", "--database-url", outboxtest.URL(t))
	testkit.Eventually(t, "the node is ready: its tail reads no events from before", func() bool {
		response, err := http.Get(s.base + "/readyz")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == 200
	})
	const trace, caller, own = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00-11111111111111111111111111111111-2222222222222222-01"
	body := `[{"topic":"a","type":"t"},{"topic":"a","type":"t","headers":{"traceparent":"` + own + `"}}]`
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.base+"/events", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("traceparent", "00-"+trace+"-"+caller+"-01")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != 201 {
		t.Fatal(response.Status)
	}
	testkit.Eventually(t, "the spans are sent", func() bool {
		return c.span("tail read") != nil && c.span("outbox append") != nil && c.span("POST /events") != nil
	})

	outer, inner, read := c.span("POST /events"), c.span("outbox append"), c.span("tail read")
	id := func(b []byte) string { return hex.EncodeToString(b) }
	if id(outer.TraceId) != trace || id(outer.ParentSpanId) != caller {
		t.Errorf("the request's span: %v", outer)
	}
	if inner == nil || id(inner.TraceId) != trace || !bytes.Equal(inner.ParentSpanId, outer.SpanId) || len(inner.Links) != 1 || id(inner.Links[0].SpanId) != "2222222222222222" {
		t.Fatalf("the append's span: %v", inner)
	}
	if len(read.Links) != 2 || !bytes.Equal(read.Links[0].SpanId, inner.SpanId) || id(read.Links[1].SpanId) != "2222222222222222" || read.StartTimeUnixNano > read.EndTimeUnixNano {
		t.Errorf("the read's span: %v", read)
	}

	poll, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+"/events?topic=a&from=earliest&wait=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	poll.Header.Set("Accept", "application/json")
	answer, err := http.DefaultClient.Do(poll)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var polled sse.Polled
	if err := json.NewDecoder(answer.Body).Decode(&polled); err != nil || len(polled.Events) != 2 {
		t.Fatalf("%+v, %v", polled, err)
	}
	for i, want := range []string{"00-" + trace + "-" + id(inner.SpanId) + "-01", own} {
		var event struct{ Traceparent string }
		if err := json.Unmarshal(polled.Events[i], &event); err != nil || event.Traceparent != want {
			t.Errorf("event %d has traceparent %q, want %q", i, event.Traceparent, want)
		}
	}
}
