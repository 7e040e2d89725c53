// Package eventsource is an EventSource that keeps the HTML Standard, section 9.2, to the
// letter: what a browser does when nothing is added to it. Tests connect it to servers,
// directly and through proxies, to see which answers end a page's stream for good.
package eventsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/outcrier/outcrier/sse/ssetest"
)

// Event is one that was dispatched.
type Event = ssetest.Event

// Source follows one URL. Set its fields, then call Run.
type Source struct {
	URL string
	// Transport makes the requests; http.DefaultTransport when nil.
	Transport http.RoundTripper
	// Header is sent with each request, in addition to the two headers that the standard
	// names.
	Header http.Header
	// Retry is the reconnection time until the server sets it, by default that of Chromium.
	Retry time.Duration
	// Event is called for each event, by the goroutine of Run.
	Event func(Event)
	// Open, when not nil, is called for each response that is a stream, before its events.
	Open func()

	lastEventID string
	opened      atomic.Int64
	ended       atomic.Int64
	broken      atomic.Int64
}

// defaultRetry is the reconnection time of Chromium.
const defaultRetry = 3 * time.Second

// FailedError is why a Source has failed the connection: it never comes back.
type FailedError struct {
	Status int
	// ContentType is that of the response, as it was sent.
	ContentType string
}

func (e *FailedError) Error() string {
	return fmt.Sprintf("the connection has failed for good: the answer is %d with Content-Type %q, not 200 with text/event-stream", e.Status, e.ContentType)
}

// Opened is how many responses were streams.
func (s *Source) Opened() int { return int(s.opened.Load()) }

// Ended is how many streams came to an orderly end, after which some clients that are
// not an EventSource stop.
func (s *Source) Ended() int { return int(s.ended.Load()) }

// Broken is how many streams broke off.
func (s *Source) Broken() int { return int(s.broken.Load()) }

// Run follows the URL until ctx is done, and returns its error then, or until the
// connection fails, and returns a *FailedError.
func (s *Source) Run(ctx context.Context) error {
	if s.Retry == 0 {
		s.Retry = defaultRetry
	}
	for {
		err := s.connect(ctx)
		var failed *FailedError
		if errors.As(err, &failed) {
			return err
		}
		// Reestablish the connection (9.2.3). Also a network error ends up here, though
		// the standard lets a browser give up on one that it takes for permanent.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(s.Retry):
		}
	}
}

// connect makes one request and reads its response to the end.
func (s *Source) connect(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	for name, values := range s.Header {
		request.Header[name] = values
	}
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("Cache-Control", "no-store")
	if s.lastEventID != "" {
		request.Header.Set("Last-Event-ID", s.lastEventID)
	}
	// The redirects are followed, as fetch does.
	response, err := (&http.Client{Transport: s.Transport}).Do(request)
	if err != nil {
		return fmt.Errorf("request the stream: %w", err)
	}
	defer response.Body.Close()
	media := response.Header.Get("Content-Type")
	if essence, _, err := mime.ParseMediaType(media); response.StatusCode != http.StatusOK || err != nil || essence != "text/event-stream" {
		return &FailedError{Status: response.StatusCode, ContentType: media}
	}
	s.opened.Add(1)
	if s.Open != nil {
		s.Open()
	}
	body := &inOrder{Reader: response.Body}
	p := ssetest.NewParser(body)
	p.LastID = s.lastEventID
	for {
		event, err := p.Next()
		if s.lastEventID = p.LastID; p.Retry > 0 {
			s.Retry = p.Retry
		}
		switch {
		case err == nil && s.Event != nil:
			s.Event(event)
		case err == nil:
		case body.ended:
			s.ended.Add(1)
			return err
		default:
			s.broken.Add(1)
			return fmt.Errorf("read the stream: %w", err)
		}
	}
}

// inOrder knows whether a body came to its end, and did not break off.
type inOrder struct {
	io.Reader
	ended bool
}

func (b *inOrder) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.ended = err == io.EOF //nolint:errorlint // as readers have it
	return n, err
}
