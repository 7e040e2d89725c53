package outcrier_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/sse/ssetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newNode makes a node on a database of its own unless config names one. It runs until
// the test ends if nothing else runs it.
func newNode(t *testing.T, config outcrier.Config) *outcrier.Node {
	t.Helper()
	if config.DatabaseURL == "" && config.Pool == nil {
		config.DatabaseURL = outboxtest.URL(t)
	}
	node, err := outcrier.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ended, end := context.WithCancel(context.Background())
		end()
		_ = node.Run(ended) // closes the pool, unless it ran
	})
	return node
}

// serve runs the node behind a server, and returns the server's address and how to end
// the run and get its result.
func serve(t *testing.T, node *outcrier.Node) (url string, end func() error) {
	t.Helper()
	url, end = serveAnyway(t, node)
	eventually(t, func() bool { return node.Status().Following && node.Status().Listening })
	return url, end
}

// serveAnyway is serve for a node whose database may be away.
func serveAnyway(t *testing.T, node *outcrier.Node) (url string, end func() error) {
	t.Helper()
	server := httptest.NewUnstartedServer(node.Handler())
	server.Config.ConnContext = node.ConnContext
	server.Start()
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- node.Run(ctx) }()
	end = sync.OnceValue(func() error {
		cancel()
		return <-result
	})
	t.Cleanup(func() {
		server.CloseClientConnections()
		_ = end()
		server.Close()
	})
	return server.URL, end
}

func eventually(t *testing.T, what func() bool) {
	t.Helper()
	testkit.Eventually(t, "what this line waits for", what)
}

// add appends an event in the application's own way.
func add(t *testing.T, url, topic string) {
	t.Helper()
	pool := outboxtest.Pool(t, url)
	if _, err := pool.Exec(t.Context(), `INSERT INTO outbox (topic, type) VALUES ($1, 'test.added')`, topic); err != nil {
		t.Fatal(err)
	}
}

func status(t *testing.T, url string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

func TestNew_ReportsAllMistakes(t *testing.T) {
	_, err := outcrier.New(t.Context(), outcrier.Config{Origins: []string{"*"}, Name: "a b", Schema: "public"})
	if err == nil {
		t.Fatal("it is taken")
	}
	for _, says := range []string{"DatabaseURL or Pool", "Authenticate or Tokens", `origin "*"`, `name "a b"`, `schema "public"`} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("nothing of %s in: %v", says, err)
		}
	}
}

// Numbers that no node can work with are mistakes too, each with the name of its field: a negative
// heartbeat would be sent without a pause.
func TestNew_RefusesNumbersThatNoNodeCanWorkWith(t *testing.T) {
	_, err := outcrier.New(t.Context(), outcrier.Config{
		DatabaseURL: "postgres://localhost/x", Open: true, Connections: -1, MaxBody: -2, ReplayBuffer: -3, QueueFrames: -4, BatchInterval: -5, PollInterval: -6,
		Heartbeat: -7, Stall: -8, Retry: -9, DrainDelay: -10, AuditRetention: 6 * 24 * time.Hour, Retention: time.Hour,
	})
	if err == nil {
		t.Fatal("they are taken")
	}
	for _, says := range []string{
		"Connections -1", "MaxBody -2", "ReplayBuffer -3", "QueueFrames -4", "BatchInterval -5ns", "PollInterval -6ns",
		"Heartbeat -7ns", "Stall -8ns", "Retry -9ns", "DrainDelay -10ns", "AuditRetention 144h0m0s", "Retention 1h0m0s",
	} {
		if !strings.Contains(err.Error(), says+": want ") {
			t.Errorf("nothing of %s in: %v", says, err)
		}
	}
}

// With only a database and an Authenticate, and no logger, a node streams, delivers
// scheduled events, and ends in order.
func TestNode_StreamsAndEndsInOrder(t *testing.T) {
	database := outboxtest.URL(t)
	node := newNode(t, outcrier.Config{DatabaseURL: database, Open: true, Audit: true, DrainTime: -1})
	url, end := serve(t, node)
	if got := status(t, url+"/readyz"); got != 200 {
		t.Errorf("/readyz answers %d", got)
	}
	c := ssetest.Open(t, url+"/events?topic=a")
	c.Until("outcrier.live")
	add(t, database, "a")
	c.Until("test.added")
	pool := outboxtest.Pool(t, database)
	if _, err := pool.Exec(t.Context(), `SELECT outcrier.append('a', 'test.later', '{}'::json, NULL, NULL, NULL::text, now() + interval '200ms')`); err != nil {
		t.Fatal(err)
	}
	c.Until("test.later")
	if err := end(); err != nil {
		t.Errorf("it ends with %v", err)
	}
	events := c.End()
	if last := events[len(events)-1]; last.Type != "outcrier.goodbye" || last.Data != `{"reason":"drain"}` {
		t.Errorf("the stream ends with %+v", last)
	}
	if node.Streams().Open != 0 {
		t.Error("a stream is open")
	}
	if err := node.Run(t.Context()); err == nil {
		t.Error("it runs again")
	}
}

// Drain has readiness say no first, lets streams go on for the delay, and returns when
// none is open, while the node works on.
func TestDrain_EndsStreamsAfterItsDelay(t *testing.T) {
	database := outboxtest.URL(t)
	node := newNode(t, outcrier.Config{DatabaseURL: database, Open: true, DrainDelay: 500 * time.Millisecond, DrainTime: -1})
	url, end := serve(t, node)
	c := ssetest.Open(t, url+"/events?topic=a")
	c.Until("outcrier.live")

	drained := make(chan error, 1)
	go func() { drained <- node.Drain(context.Background()) }()
	eventually(t, func() bool { return status(t, url+"/readyz") == 503 })
	add(t, database, "a")
	c.Until("test.added")
	impatient, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("no patience")
	cancel(cause)
	if err := node.Drain(impatient); !errors.Is(err, cause) {
		t.Errorf("without patience: %v", err)
	}
	if err := <-drained; err != nil || node.Streams().Open != 0 {
		t.Errorf("drained: %v, %d open", err, node.Streams().Open)
	}
	c.Until("outcrier.goodbye")
	if !node.Status().Following {
		t.Error("it does not work on")
	}
	if err := node.Drain(t.Context()); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

// On the application's own pool too, and in a schema of its own; the pool stays open.
func TestNew_TakesAPool(t *testing.T) {
	database := outboxtest.URL(t)
	schema := outboxtest.Schema(t, database)
	pool := outboxtest.Pool(t, database)
	var log testkit.Log
	node := newNode(t, outcrier.Config{Pool: pool, Schema: schema, Open: true, DrainTime: -1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	url, end := serve(t, node)
	c := ssetest.Open(t, url+"/events?topic=a")
	c.Until("outcrier.live")
	if _, err := pool.Exec(t.Context(), `INSERT INTO public.second_outbox (topic, type) VALUES ('a', 'test.added')`); err != nil {
		t.Fatal(err)
	}
	c.Until("test.added")
	if err := end(); err != nil {
		t.Error(err)
	}
	if err := pool.Ping(t.Context()); err != nil {
		t.Errorf("the pool is closed: %v", err)
	}
	if !strings.Contains(log.String(), "tail starts") {
		t.Errorf("the log is %q", log.String())
	}
}

// Migrate makes the outbox that a database does not have.
func TestNew_Migrates(t *testing.T) {
	database := outboxtest.URL(t)
	if _, err := outboxtest.Pool(t, database).Exec(t.Context(), `DROP SCHEMA outcrier CASCADE`); err != nil {
		t.Fatal(err)
	}
	url, _ := serve(t, newNode(t, outcrier.Config{DatabaseURL: database, Migrate: true, Open: true, DrainTime: -1}))
	c := ssetest.Open(t, url+"/events?topic=a")
	c.Until("outcrier.live")
	add(t, database, "a")
	c.Until("test.added")
}

// Each setting of a node reaches its parts.
func TestNew_RefusesToNobodysSurprise(t *testing.T) {
	node := newNode(t, outcrier.Config{
		NoAdmin: true, Metrics: outcrier.MetricsOff, DrainTime: -1, Name: "n1",
		Authenticate: func(*http.Request) (outcrier.Identity, error) {
			return outcrier.Identity{Subject: "ann", Subscribe: []outbox.Pattern{"user/ann"}}, nil
		},
	})
	url, _ := serve(t, node)
	for path, want := range map[string]int{
		"/admin": 404, "/metrics": 404, "/session": 404, "/events?topic=user/bob": 403, "/catalogue": 200, "/healthz": 200,
	} {
		if got := status(t, url+path); got != want && (path != "/session" || got != 405) {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	recorder := httptest.NewRecorder()
	node.Metrics().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/", nil))
	if !strings.Contains(recorder.Body.String(), `node="n1"`) {
		t.Errorf("the metrics are %q", recorder.Body)
	}
}
