package ssetest

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Deadline is how long a Client waits for anything before it fails the test.
const Deadline = time.Minute

// Client holds one stream open. All that it can't get within the Deadline fails
// the test.
type Client struct {
	// Response is the answer, without its body.
	Response *http.Response

	t      testing.TB
	events chan Event
	close  func()

	mu     sync.Mutex
	parser *Parser
	raw    []byte
	err    error
}

// Open opens a stream and closes it when the test ends. Headers are pairs of
// name and value.
func Open(t testing.TB, url string, headers ...string) *Client {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	// A connection of its own, so that none stays open.
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // servers of tests sign for themselves
	response, err := transport.RoundTrip(request)                                                                 //nolint:bodyclose // Close does
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	if media := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || !strings.HasPrefix(media, "text/event-stream") {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 4096)) // for the report
		response.Body.Close()
		cancel()
		t.Fatalf("%s answers %s, %s: %s", url, response.Status, media, body)
	}
	c := &Client{Response: response, t: t, events: make(chan Event, 4096)}
	c.parser = NewParser(io.TeeReader(response.Body, (*recorder)(c)))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(c.events)
		c.read()
	}()
	c.close = func() { cancel(); response.Body.Close(); <-ended }
	t.Cleanup(c.close)
	return c
}

// recorder keeps the stream's bytes.
type recorder Client

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raw = append(r.raw, p...)
	return len(p), nil
}

func (c *Client) read() {
	for {
		event, err := c.parser.Next()
		if err != nil {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			return
		}
		c.events <- event
	}
}

// Next is the next event.
func (c *Client) Next() Event {
	c.t.Helper()
	select {
	case event, ok := <-c.events:
		if !ok {
			c.t.Fatalf("the stream ended: %v", c.err)
		}
		return event
	case <-time.After(Deadline):
		c.t.Fatalf("no event within %v; the stream so far:\n%s", Deadline, c.Raw())
	}
	return Event{}
}

// Until is the next event of a type; those before it are dropped.
func (c *Client) Until(kind string) Event {
	c.t.Helper()
	for {
		if event := c.Next(); event.Type == kind {
			return event
		}
	}
}

// Raw are the stream's bytes so far.
func (c *Client) Raw() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]byte(nil), c.raw...)
}

// End waits for the server to end the stream, and returns the events that were
// left.
func (c *Client) End() []Event {
	c.t.Helper()
	var rest []Event
	for deadline := time.After(Deadline); ; {
		select {
		case event, ok := <-c.events:
			if !ok {
				return rest
			}
			rest = append(rest, event)
		case <-deadline:
			c.t.Fatalf("the stream did not end within %v", Deadline)
		}
	}
}

// Err is how the stream ended: io.EOF if it was complete.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close leaves the stream, as a browser does whose tab is closed. It may be
// called more than once.
func (c *Client) Close() { c.close() }
