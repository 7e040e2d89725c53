package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/catalogue"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse"
	"github.com/outcrier/outcrier/sse/hub"
)

func TestMain(m *testing.M) {
	testkit.SideBySide(8)
	goleak.VerifyTestMain(m)
}

// node is one server process on a database of its own.
type node struct {
	url, database string
	pool          *pgxpool.Pool
	streamer      *sse.Streamer
	tail          *tail.Tail
	// access lets everyone in, by default.
	access handlers.Access
	audit  *audit.Recorder
	// admin is nil by default.
	admin *admin.Admin
	// metrics is nil by default.
	metrics http.Handler
	log     *slog.Logger
	gzip    bool
	// revoked is what a node does that reads of a revocation; only where sessions have them.
	revoked func()
	// start starts the server: plainly, by default.
	start func(*httptest.Server)
}

const maxBody = 1 << 16

// newNode serves until the test ends. change may set what the streams are to
// differ in.
func newNode(t *testing.T, change func(*node)) *node {
	t.Helper()
	n := &node{database: outboxtest.URL(t), start: (*httptest.Server).Start, access: handlers.Access{Open: true}}
	n.pool = outboxtest.Pool(t, n.database)
	n.log = slog.New(slog.NewTextHandler(io.Discard, nil))
	h := hub.New(&hub.Buffer{Past: replay.Reader{Pool: n.pool}})
	n.tail = &tail.Tail{URL: n.database, Start: h.Start, Deliver: h.Deliver, Keys: h.Keys}
	n.streamer = sse.NewStreamer(h, nil)
	if change != nil {
		change(n)
	}
	n.tail.Log, n.streamer.Log = n.log, n.log
	server := httptest.NewUnstartedServer(agrees(t, handlers.New(handlers.Config{
		Streamer: n.streamer, TailStatus: n.tail.Status, MaxBody: maxBody, Log: n.log, Access: n.access, Audit: n.audit, Admin: n.admin, Metrics: n.metrics, Gzip: n.gzip,
		Catalogue: catalogue.Catalogue{Pool: n.pool}.List,
		Append: func(ctx context.Context, drafts []outbox.Draft) (ids []int64, err error) {
			err = pgx.BeginFunc(ctx, n.pool, func(tx pgx.Tx) error {
				ids, err = outbox.Append(ctx, tx, drafts...)
				return err
			})
			return ids, err
		},
	})))
	n.start(server)
	n.url = server.URL
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { _ = n.tail.Run(ctx) })
	group.Go(func() { _ = n.streamer.Run(ctx) })
	t.Cleanup(func() { server.CloseClientConnections(); server.Close(); stop(); group.Wait() })
	eventually(t, func() bool { return n.tail.Status().Following && n.tail.Status().Listening })
	return n
}

func eventually(t *testing.T, what func() bool) {
	t.Helper()
	testkit.Eventually(t, "what this line waits for", what)
}

// events is the address of /events with a query.
func (n *node) events(query string) string { return n.url + "/events?" + query }

// add appends one event and returns its id as clients see it.
func (n *node) add(t *testing.T, topic string) string {
	t.Helper()
	var id int64
	if err := n.pool.QueryRow(t.Context(), `SELECT outcrier.append($1, 'test.added')`, topic).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return strconv.FormatInt(id, 10)
}

// seen waits until the node has seen so many events.
func (n *node) seen(t *testing.T, events int64) {
	t.Helper()
	eventually(t, func() bool { return n.tail.Status().Events == events })
}

// count is how much is stored.
func (n *node) count(t *testing.T) (rows int) {
	t.Helper()
	if err := n.pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM outcrier.event WHERE topic <> '') + (SELECT count(*) FROM outcrier.scheduled)`).Scan(&rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

// answer is a whole response.
type answer struct {
	status int
	header http.Header
	body   string
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: testkit.Deadline}

// do sends one request; headers are pairs of name and value.
func do(t *testing.T, method, address, body string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		return answer{response.StatusCode, response.Header, "a stream, which does not end"}
	}
	content, err := io.ReadAll(response.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(content)}
}

// wantProblem checks that the answer is problem JSON of a status whose detail
// has all of says.
func (a answer) wantProblem(t *testing.T, status int, says ...string) {
	t.Helper()
	var problem handlers.Problem
	if err := json.Unmarshal([]byte(a.body), &problem); err != nil {
		t.Errorf("status %d: %q: %v", a.status, a.body, err)
		return
	}
	if a.status != status || problem.Status != status || problem.Title != http.StatusText(status) || problem.Type != "about:blank" {
		t.Errorf("status %d, %+v; want %d", a.status, problem, status)
	}
	if kind := a.header.Get("Content-Type"); kind != "application/problem+json" {
		t.Errorf("it is %s", kind)
	}
	for _, text := range says {
		if !strings.Contains(problem.Detail, text) {
			t.Errorf("the detail %q does not say %q", problem.Detail, text)
		}
	}
	if status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// poll is the answer to a long poll.
type poll struct {
	Events []struct {
		ID, Type, Topic string
		Data            json.RawMessage
	}
	Position string
	Gap      *struct {
		Reason, Action string
		Since          *time.Time
	}
}

func (p poll) ids() (ids []string) {
	for _, e := range p.Events {
		ids = append(ids, e.ID)
	}
	return ids
}

func (n *node) poll(t *testing.T, query string, headers ...string) (p poll) {
	t.Helper()
	a := do(t, "GET", n.events(query), "", append([]string{"Accept", "application/json"}, headers...)...)
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.status != http.StatusOK {
		t.Fatalf("%s: status %d: %s: %v", query, a.status, a.body, err)
	}
	return p
}

// position is the present one.
func (n *node) position(t *testing.T) (text string) {
	t.Helper()
	if err := n.pool.QueryRow(t.Context(), `SELECT outcrier.position()`).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

// q escapes for a query.
func q(text string) string { return url.QueryEscape(text) }
