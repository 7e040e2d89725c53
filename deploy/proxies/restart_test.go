package proxies

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
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

// TestProxies_KeepEveryEventSource: through a rolling restart, kill -9 of each node in
// turn and five seconds without any node, no plain EventSource behind the proxy ends
// for good, and each receives every event once, in order.
func TestProxies_KeepEveryEventSource(t *testing.T) {
	for _, p := range proxies {
		t.Run(p.file, func(t *testing.T) {
			t.Parallel()
			database := outboxtest.URL(t)
			nodes := [2]named{newNamed(t, "one", database), newNamed(t, "two", database)}
			for _, n := range nodes {
				n.Start(t)
			}
			for _, n := range nodes {
				n.Ready(t)
			}
			base := p.start(t, [2]string{nodes[0].Address, nodes[1].Address}, "retry: 3000", "retry: 300")
			testkit.Eventually(t, "the proxy has found a node", func() bool { return status(base+"/readyz") == http.StatusOK })
			crowd := newCrowd(t, outboxtest.Pool(t, database), base, p.plain)
			crowd.haveNews(t, "the streams are open")

			for _, n := range nodes {
				n.End(t, syscall.SIGTERM)
				crowd.haveNews(t, "a node was stopped")
				n.Start(t)
				n.Ready(t)
				n.awaitNotice(t, base) // as a deployment does, before it goes on to the next
			}
			ended, broken := crowd.ends()
			for _, n := range nodes {
				n.End(t, syscall.SIGKILL)
				crowd.haveNews(t, "a node was killed")
				n.Start(t)
				n.Ready(t)
				n.awaitNotice(t, base)
			}
			// All streams are at the node that is killed. A broken connection brings
			// back also those clients that take an end for final.
			endedNow, brokenNow := crowd.ends()
			t.Logf("of the streams of two nodes that were killed, %d ended and %d broke off", endedNow-ended, brokenNow-broken)
			if want := len(nodes) * (streams - crowd.dead()); !p.endsCrashes && brokenNow-broken < want {
				t.Errorf("of the streams of two nodes that were killed, %d broke off, want %d: a crash looks like an end", brokenNow-broken, want)
			}

			for _, n := range nodes {
				n.End(t, syscall.SIGKILL)
			}
			for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				isAnswered(t, base)
			}
			if got := status(base + "/catalogue"); got < 500 {
				t.Errorf("while no node is there, what is no stream is answered by %d, want an error", got)
			}
			for _, n := range nodes {
				n.Start(t)
			}
			crowd.haveNews(t, "no node was there for five seconds")
			crowd.check(t)
		})
	}
}

// isAnswered asks for a stream while no node is there. The proxy itself has to bring an
// EventSource back.
func isAnswered(t *testing.T, base string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	response, err := insecure.Do(request)
	if err != nil {
		t.Fatalf("a request for a stream fails while no node is there: %v", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if media := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || !strings.HasPrefix(media, "text/event-stream") || err != nil {
		t.Fatalf("a request for a stream is answered by %s, %s: %q (%v)", response.Status, media, body, err)
	}
	want := eventsource.Event{Type: "outcrier.goodbye", Data: `{"reason":"unavailable"}`}
	if events, _ := ssetest.Parse(body); !strings.Contains(string(body), "retry: 300\n") || len(events) != 1 || events[0] != want {
		t.Fatalf("a request for a stream is answered by %q, want a retry and %v", body, want)
	}
}

func status(url string) int {
	response, err := insecure.Get(url)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}

// streams is how many there are behind each proxy, one half of them over HTTP/2.
const streams = 60

// crowd is a number of plain EventSources, and the events that were appended for them.
type crowd struct {
	sources []*eventsource.Source
	stop    context.CancelFunc
	writing sync.WaitGroup

	mu       sync.Mutex
	appended int
	seen     [][]int
	failed   int
}

func newCrowd(t *testing.T, pool *pgxpool.Pool, base string, plain bool) *crowd {
	t.Helper()
	c := &crowd{seen: make([][]int, streams)}
	var reading sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	for i := range streams {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: i%2 == 0 && !plain} //nolint:gosec // a test's
		opened := make(chan struct{})
		once := sync.OnceFunc(func() { close(opened) })
		source := &eventsource.Source{
			URL: base + path + "&names=message&format=payload", Transport: transport,
			Event: func(e eventsource.Event) { c.given(i, e); once() },
		}
		c.sources = append(c.sources, source)
		reading.Go(func() {
			defer transport.CloseIdleConnections()
			if err := source.Run(ctx); !errors.Is(err, context.Canceled) {
				c.mu.Lock()
				c.failed++
				c.mu.Unlock()
				t.Errorf("EventSource %d is dead: %v", i, err)
				once()
			}
		})
		<-opened // its hello: from here on it misses nothing
	}
	writer, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.writing.Go(func() {
		for writer.Err() == nil {
			c.add(t, pool)
			time.Sleep(20 * time.Millisecond)
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

func (c *crowd) given(stream int, e eventsource.Event) {
	if e.Type != "message" || !number.MatchString(e.Data) {
		return // ours
	}
	n, _ := strconv.Atoi(e.Data)
	c.mu.Lock()
	c.seen[stream] = append(c.seen[stream], n)
	c.mu.Unlock()
}

// haveNews waits until each stream has received an event that is appended from now on,
// or has failed.
func (c *crowd) haveNews(t *testing.T, what string) {
	t.Helper()
	c.mu.Lock()
	after := c.appended
	c.mu.Unlock()
	began := time.Now()
	testkit.Eventually(t, what+", and every stream has something new", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		fresh := c.failed
		for _, seen := range c.seen {
			if len(seen) > 0 && seen[len(seen)-1] > after {
				fresh++
			}
		}
		return fresh >= streams
	})
	t.Logf("%s: every stream had something new after %v", what, time.Since(began).Round(time.Millisecond))
}

func (c *crowd) dead() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// ends is how many streams came to an orderly end, and how many broke off.
func (c *crowd) ends() (ended, broken int) {
	for _, source := range c.sources {
		ended += source.Ended()
		broken += source.Broken()
	}
	return ended, broken
}

// check ends the writing, and compares the events that each stream received.
func (c *crowd) check(t *testing.T) {
	t.Helper()
	c.stop()
	c.writing.Wait()
	testkit.Eventually(t, "each stream that has not failed has the last event", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		complete := c.failed
		for _, seen := range c.seen {
			if len(seen) > 0 && seen[len(seen)-1] == c.appended {
				complete++
			}
		}
		return complete >= streams
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	var opened int
	for i, seen := range c.seen {
		for j, n := range seen {
			if n != j+1 {
				t.Errorf("stream %d was given %v where %d was to come", i, seen[j:min(j+5, len(seen))], j+1)
				break
			}
		}
		opened += c.sources[i].Opened()
	}
	t.Logf("%d of %d EventSources dead, %d events, %d streams were opened", c.failed, streams, c.appended, opened)
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

// awaitNotice waits until a proxy has noticed that the node is back: a stream that it
// opens there says so.
func (p named) awaitNotice(t *testing.T, base string) {
	t.Helper()
	testkit.Eventually(t, "the proxy uses node "+p.name, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		found := false
		source := eventsource.Source{URL: base + path, Transport: insecure.Transport, Event: func(e eventsource.Event) {
			found = found || strings.Contains(e.Data, fmt.Sprintf(`"node":%q`, p.name))
			cancel()
		}}
		_ = source.Run(ctx)
		return found
	})
}
