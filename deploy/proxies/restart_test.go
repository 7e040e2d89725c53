package proxies

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/internal/conformance/eventsource"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// front is a proxy that runs, and the EventSources of a crowd that come through it.
type front struct {
	proxy
	base    string
	readers []*reader
}

// TestProxies_KeepEveryEventSource: through a rolling restart, kill -9 of each node in
// turn and five seconds without any node, no plain EventSource behind a proxy ends
// for good, and each receives every event once, in order. All proxies have the same two nodes.
func TestProxies_KeepEveryEventSource(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	nodes := [2]named{newNamed(t, "one", database), newNamed(t, "two", database)}
	for _, n := range nodes {
		n.Start(t)
	}
	for _, n := range nodes {
		n.Ready(t)
	}
	var fronts []*front
	for _, p := range installed(t) {
		base := p.start(t, [2]string{nodes[0].Address, nodes[1].Address}, "retry: 3000", "retry: 300")
		p.findsNode(t, base)
		fronts = append(fronts, &front{proxy: p, base: base})
	}
	crowd := newCrowd(t, outboxtest.Pool(t, database), fronts)
	crowd.haveNews(t, "the streams are open")

	for _, n := range nodes {
		n.End(t, syscall.SIGTERM)
		crowd.haveNews(t, "a node was stopped")
		n.comeBack(t, fronts) // as a deployment does, before it goes on to the next
	}
	before := map[*front]ends{}
	for _, f := range fronts {
		before[f] = crowd.ends(f)
	}
	for _, n := range nodes {
		n.End(t, syscall.SIGKILL)
		crowd.haveNews(t, "a node was killed")
		n.comeBack(t, fronts)
	}
	// All streams are at the node that is killed. A broken connection brings
	// back also those clients that take an end for final.
	for _, f := range fronts {
		after := crowd.ends(f)
		ended, broken := after.ended-before[f].ended, after.broken-before[f].broken
		t.Logf("%s: of the streams of two nodes that were killed, %d ended and %d broke off", f.file, ended, broken)
		if want := len(nodes) * (len(f.readers) - after.dead); !f.endsCrashes && broken < want {
			t.Errorf("%s: of the streams of two nodes that were killed, %d broke off, want %d: a crash looks like an end", f.file, broken, want)
		}
	}

	for _, n := range nodes {
		n.End(t, syscall.SIGKILL)
	}
	var asking sync.WaitGroup
	for _, f := range fronts {
		asking.Go(func() {
			for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && f.answers(t); time.Sleep(100 * time.Millisecond) {
			}
			if got := status(f.base + "/catalogue"); got < 500 {
				t.Errorf("%s: while no node is there, what is no stream is answered by %d, want an error", f.file, got)
			}
		})
	}
	asking.Wait()
	for _, n := range nodes {
		n.Start(t)
	}
	crowd.haveNews(t, "no node was there for five seconds")
	crowd.check(t)
}

// installed returns the proxies that are installed. In CI all have to be.
func installed(t *testing.T) (found []proxy) {
	t.Helper()
	for _, p := range proxies {
		t.Run(p.file, func(t *testing.T) {
			testkit.Program(t, p.command("", "", "")[0])
			found = append(found, p)
		})
	}
	return found
}

// answers asks for a stream while no node is there, and reports whether the answer was as it has
// to be. The proxy itself has to bring an EventSource back.
func (f *front) answers(t *testing.T) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.base+path, nil)
	if err != nil {
		t.Error(err)
		return false
	}
	request.Header.Set("Accept", "text/event-stream")
	response, err := insecure.Do(request)
	if err != nil {
		t.Errorf("%s: a request for a stream fails while no node is there: %v", f.file, err)
		return false
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if media := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || !strings.HasPrefix(media, "text/event-stream") || err != nil {
		t.Errorf("%s: a request for a stream is answered by %s, %s: %q (%v)", f.file, response.Status, media, body, err)
		return false
	}
	want := eventsource.Event{Type: "outcrier.goodbye", Data: `{"reason":"unavailable"}`}
	if events, _ := ssetest.Parse(body); !strings.Contains(string(body), "retry: 300\n") || len(events) != 1 || events[0] != want {
		t.Errorf("%s: a request for a stream is answered by %q, want a retry and %v", f.file, body, want)
		return false
	}
	return true
}

func status(url string) int {
	response, err := insecure.Get(url)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}

// size returns how many streams there are behind each proxy, one half of them over HTTP/2, and the
// pause between two events.
func size() (streams int, pause time.Duration) {
	if testkit.Long() {
		return 60, 20 * time.Millisecond
	}
	return 16, 40 * time.Millisecond
}

// crowd is a number of plain EventSources, and the events that were appended for them.
type crowd struct {
	fronts  []*front
	stop    context.CancelFunc
	writing sync.WaitGroup

	mu       sync.Mutex
	appended int
}

// reader is a plain EventSource.
type reader struct {
	*eventsource.Source

	// Its crowd's mutex guards what follows.
	seen []int // the events that it received
	dead bool
}

// newest is the event that the reader received last.
func (r *reader) newest() int {
	if len(r.seen) == 0 {
		return 0
	}
	return r.seen[len(r.seen)-1]
}

func newCrowd(t *testing.T, pool *pgxpool.Pool, fronts []*front) *crowd {
	t.Helper()
	c := &crowd{fronts: fronts}
	var reading sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	streams, pause := size()
	for _, f := range fronts {
		for i := range streams {
			transport := &http.Transport{TLSClientConfig: trusting(), ForceAttemptHTTP2: i%2 == 0 && !f.plain}
			opened := make(chan struct{})
			once := sync.OnceFunc(func() { close(opened) })
			r := &reader{}
			r.Source = &eventsource.Source{
				URL: f.base + path + "&names=message&format=payload", Transport: transport,
				Event: func(e eventsource.Event) { c.given(r, e); once() },
			}
			f.readers = append(f.readers, r)
			reading.Go(func() {
				defer transport.CloseIdleConnections()
				if err := r.Run(ctx); !errors.Is(err, context.Canceled) {
					c.mu.Lock()
					r.dead = true
					c.mu.Unlock()
					t.Errorf("%s: EventSource %d is dead: %v", f.file, i, err)
					once()
				}
			})
			<-opened // its hello: from here on it misses nothing
		}
	}
	writer, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.writing.Go(func() {
		for writer.Err() == nil {
			c.add(t, pool)
			time.Sleep(pause)
		}
	})
	t.Cleanup(func() { stop(); c.writing.Wait(); cancel(); reading.Wait() })
	return c
}

func (c *crowd) add(t *testing.T, pool *pgxpool.Pool) {
	if _, err := pool.Exec(context.Background(), `INSERT INTO outbox (topic, type, payload) VALUES ('user/42', 'test.counted', $1)`, strconv.Itoa(c.appended+1)); err != nil {
		t.Error(err)
		return
	}
	c.mu.Lock()
	c.appended++
	c.mu.Unlock()
}

var number = regexp.MustCompile(`^[0-9]+$`)

func (c *crowd) given(r *reader, e eventsource.Event) {
	if e.Type != "message" || !number.MatchString(e.Data) {
		return // ours
	}
	n, _ := strconv.Atoi(e.Data)
	c.mu.Lock()
	r.seen = append(r.seen, n)
	c.mu.Unlock()
}

// await waits until each reader that is not dead has received an event of at least that number.
func (c *crowd) await(t *testing.T, what string, n int) {
	t.Helper()
	var late string // a proxy that has one
	defer func() {
		if late != "" {
			t.Logf("%s: a stream has nothing new", late)
		}
	}()
	testkit.Eventually(t, what, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		late = ""
		for _, f := range c.fronts {
			if slices.ContainsFunc(f.readers, func(r *reader) bool { return !r.dead && r.newest() < n }) {
				late = f.file
			}
		}
		return late == ""
	})
}

// haveNews waits until each stream has received an event that is appended from now on,
// or has failed.
func (c *crowd) haveNews(t *testing.T, what string) {
	t.Helper()
	c.mu.Lock()
	after := c.appended
	c.mu.Unlock()
	began := time.Now()
	c.await(t, what+", and every stream has something new", after+1)
	t.Logf("%s: every stream had something new after %v", what, time.Since(began).Round(time.Millisecond))
}

// ends is how many streams came to an orderly end, how many broke off, and how many EventSources
// are dead.
type ends struct{ ended, broken, dead int }

func (c *crowd) ends(f *front) (all ends) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range f.readers {
		all.ended += r.Ended()
		all.broken += r.Broken()
		if r.dead {
			all.dead++
		}
	}
	return all
}

// check ends the writing, and compares the events that each stream received.
func (c *crowd) check(t *testing.T) {
	t.Helper()
	c.stop()
	c.writing.Wait()
	c.await(t, "each stream that has not failed has the last event", c.appended)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.fronts {
		var opened int
		for i, r := range f.readers {
			for j, n := range r.seen {
				if n != j+1 {
					t.Errorf("%s: stream %d was given %v where %d was to come", f.file, i, r.seen[j:min(j+5, len(r.seen))], j+1)
					break
				}
			}
			opened += r.Opened()
		}
		t.Logf("%s: %d EventSources, %d events, %d streams were opened", f.file, len(f.readers), c.appended, opened)
	}
}

// named is a node as it is deployed, with a name.
type named struct {
	*testkit.Node
	name string
}

func newNamed(t *testing.T, name, database string) named {
	t.Helper()
	return named{testkit.NewNode(t, testkit.PlainCommand(t, "cmd/outcrier"), database,
		"--node", name, "--retry", "300ms", "--heartbeat", "1s", "--drain", "500ms", "--drain-delay", "100ms"), name}
}

// comeBack starts a node, and waits until each proxy has noticed: a stream that it opens there says so.
func (n named) comeBack(t *testing.T, fronts []*front) {
	t.Helper()
	n.Start(t)
	n.Ready(t)
	for _, f := range fronts {
		testkit.Eventually(t, f.file+" uses node "+n.name, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			found := false
			source := eventsource.Source{URL: f.base + path, Transport: insecure.Transport, Event: func(e eventsource.Event) {
				found = found || strings.Contains(e.Data, fmt.Sprintf(`"node":%q`, n.name))
				cancel()
			}}
			_ = source.Run(ctx)
			return found
		})
	}
}
