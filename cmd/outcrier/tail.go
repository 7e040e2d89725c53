package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse"
)

// tailConfig is the settings of "outcrier tail". Exactly one of DatabaseURL
// and URL is not empty.
type tailConfig struct {
	DatabaseSettings
	RemoteSettings
	Topics []string `scope:"tail" name:"topic" default:"**" help:"the topic to follow, exact or a pattern"`
	Types  []string `scope:"tail" name:"type" help:"the type to show, exact or with a final *; all by default"`
	From   string   `scope:"tail" name:"from" default:"now" help:"where to begin: now, earliest, a position, a time (RFC 3339) or a duration back like 1h or 7d"`
	Format string   `scope:"tail" name:"format" default:"text" allow:"text|cloudevents|payload" help:"the form of an event, one a line (text is for people)"`
	JSON   bool     `scope:"tail" name:"json" help:"for programs, the same as --format cloudevents"`
	// PositionFile wins over From once it is there.
	PositionFile string `scope:"tail" name:"position-file" help:"a file that keeps the position, so that a restart goes on from there, even after a crash"`
	Exec         string `scope:"tail" name:"exec" help:"a shell command to run for each event, one after another: it reads the event from standard input, has EVENT_ID, EVENT_TOPIC and EVENT_TYPE, and is run again until it succeeds"`
	LogSettings
}

func (tailConfig) Help() string {
	return `Follows events and prints them, one a line, until a signal ends it. It reconnects by itself
and ends only for what another try would not change: a refused token, a missing schema.

  outcrier tail --topic 'user/**' --from 1h
  outcrier tail --json --position-file at | while read -r event; do …; done
  outcrier tail --position-file at --exec 'curl -fsS --json @- https://example.com/hook'

With --position-file a restart goes on where it ended; after kill -9 at most the event that it
was at comes again. With --exec an event is done when the command has succeeded; in a pipe
it is done when it is written, whatever the reader then does with it.`
}

func (c *tailConfig) check(r *report) {
	c.RemoteSettings.check(r, &c.ConnectionSettings)
	c.DatabaseSettings.check(r)
	for _, topic := range c.Topics {
		if _, err := outbox.ParsePattern(topic); err != nil {
			r.reject("topic", "%v", err)
			break
		}
	}
	for _, kind := range c.Types {
		if _, err := outbox.ParseType(kind); err != nil {
			r.reject("type", "%v", err)
			break
		}
	}
	if _, err := handlers.ParseFrom(c.From); err != nil {
		r.reject("from", "%v", err)
	}
	if !r.given("log-level") {
		c.LogLevel = "warn" // a person follows events
	}
	if c.Exec != "" && !r.given("format") {
		c.Format = "cloudevents"
	}
	if c.Exec != "" && c.Format == "text" {
		r.reject("format", "want cloudevents or payload with --exec")
	}
	if c.JSON {
		if r.given("format") && c.Format != "cloudevents" {
			r.reject("json", "is --format cloudevents, not %s", c.Format)
		}
		c.Format = "cloudevents"
	}
}

// Run follows by long poll: of a server, or, for a database, of a node of its own that ends
// with the command.
func (c tailConfig) Run(ctx context.Context, p process) error {
	if c.URL != "" {
		return c.follow(ctx, p, c.URL)
	}
	if err := c.preflight(ctx, p); err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	streams, err := outcrier.New(ctx, outcrier.Config{
		DatabaseURL: c.DatabaseURL, Schema: c.Schema, Connections: 2, FollowOnly: true, NoAdmin: true, Metrics: outcrier.MetricsOff,
		Open: true, DrainTime: -1, Logger: p.log, // on loopback, for one reader
	})
	if err != nil {
		return err
	}
	server := newServer(streams, 30*time.Second, p.log)
	group, work := errgroup.WithContext(ctx)
	work, stop := context.WithCancel(work)
	group.Go(func() error { return streams.Run(work) })
	group.Go(func() error { return server.serve(listener) })
	group.Go(func() error {
		defer stop()
		defer server.Close()
		return c.follow(work, p, "http://"+listener.Addr().String())
	})
	if err := group.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}

// preflight returns a fault of the database that waiting does not remove. A node waits for
// a schema to be migrated; a person who follows events does not.
func (c tailConfig) preflight(ctx context.Context, p process) error {
	status, err := c.migrations(c.DatabaseURL, p.log).Status(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		why, permanent := outbox.Explain(err)
		if permanent {
			return fmt.Errorf("%s (%w)", why, err)
		}
		p.log.WarnContext(ctx, "waiting for the database", "why", why)
		return nil
	}
	if status.Version == 0 {
		return outbox.ErrNotMigrated
	}
	return nil
}

func (c tailConfig) follow(ctx context.Context, p process, base string) (err error) {
	query := url.Values{"topic": c.Topics, "type": c.Types, "from": {c.From}}
	var mark *bookmark
	if c.PositionFile != "" {
		if mark, err = openBookmark(c.PositionFile); err != nil {
			return fmt.Errorf("read the position file: %w", err)
		}
		defer func() { err = errors.Join(err, mark.close()) }()
		if mark.position != "" {
			query.Del("from")
			query.Set("after", mark.position)
		} else {
			query.Set("wait", "0") // the file has the start before anything happens
		}
	}
	if terminalOf(p.stderr, p.environ) != nil && terminalOf(p.stdout, p.environ) != nil {
		fmt.Fprintf(p.stderr, "following %s; Ctrl-C ends it\n", strings.Join(c.Topics, ", "))
	}
	out := newListing(p.stdout, p.environ)
	written, counter := 0, newCounter(p)
	if counter != nil {
		defer counter.end()
		p.log = c.logger(counter)
	}
	for {
		polled, err := c.ask(ctx, p, base, query)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if polled.Gap != nil {
			p.log.WarnContext(ctx, "events are missing here", "reason", polled.Gap.Reason)
			out.missing(string(polled.Gap.Reason))
		}
		if err := c.handleAll(ctx, p, out, mark, polled.Events); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if err := mark.move(polled.Position); err != nil {
			return fmt.Errorf("write the position file: %w", err)
		}
		if written += len(polled.Events); counter != nil {
			counter.count(several(written, "event") + " written")
		}
		query.Del("wait")
		goOn(query, polled.Position)
	}
}

// goOn has a query ask for what comes after a position.
func goOn(query url.Values, position string) {
	query.Del("from")
	query.Set("after", position)
}

// ask polls until there is an answer, a refusal, or the end of ctx. An event that can't be
// read is left out: the query then asks for one event at a time until it has passed it.
func (c tailConfig) ask(ctx context.Context, p process, base string, query url.Values) (sse.Polled, error) {
	retry := backoff.NewExponentialBackOff()
	for {
		polled, err := c.poll(ctx, base, query)
		var refused *refusedError
		switch {
		case err == nil, ctx.Err() != nil, errors.As(err, &refused):
			return polled, err
		case errors.Is(err, errTooDeep) && query.Get("limit") == "":
			query.Set("limit", "1")
		case errors.Is(err, errTooDeep):
			p.log.WarnContext(ctx, "an event is left out: its payload nests too deep to be read", "position", polled.Position)
			query.Del("limit")
			goOn(query, polled.Position)
		default:
			pause := retry.NextBackOff()
			p.log.WarnContext(ctx, "no answer", "err", err, "retry_in", pause)
			_ = wait(ctx, pause) // the next poll ends with ctx
		}
	}
}

// wait waits for d. It returns the cause of ctx if that ends first.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// refusedError is an answer that another try would not change.
type refusedError struct{ detail string }

func (e *refusedError) Error() string { return e.detail }

// poll asks once.
func (c tailConfig) poll(ctx context.Context, base string, query url.Values) (polled sse.Polled, err error) {
	target, err := url.JoinPath(base, "events")
	if err != nil {
		return polled, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target+"?"+query.Encode(), nil)
	if err != nil {
		return polled, err
	}
	request.Header.Set("Accept", "application/json")
	c.authorize(request)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return polled, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if err != nil {
		return polled, err
	}
	if response.StatusCode != http.StatusOK {
		var problem struct{ Detail string }
		_ = json.Unmarshal(body, &problem) // a proxy may answer with anything
		err := fmt.Errorf("the server answers %s: %s", response.Status, problem.Detail)
		if c.URL == "" && problem.Detail != "" { // the server is this process
			err = errors.New(problem.Detail)
		}
		if response.StatusCode < http.StatusInternalServerError && response.StatusCode != http.StatusTooManyRequests {
			return polled, &refusedError{err.Error()}
		}
		return polled, err
	}
	err = json.Unmarshal(body, &polled)
	var syntax *json.SyntaxError
	if i := bytes.LastIndex(body, []byte(`],"position":`)); errors.As(err, &syntax) && i >= 0 {
		// Rows that were loaded by hand are not held to the outbox's rules, and
		// encoding/json reads no more than 10,000 levels. The position to go on from
		// follows them.
		if json.Unmarshal(append([]byte("{"), body[i+len("],"):]...), &polled) == nil {
			return polled, errTooDeep
		}
	}
	return polled, err
}

// errTooDeep is of an answer with an event that can't be read.
var errTooDeep = errors.New("an event nests too deep to be read")

// newCounter returns a progress that shows how many events were written, for a person whose
// terminal does not show the events; nil elsewhere.
func newCounter(p process) *progress {
	if terminalOf(p.stdout, p.environ) != nil || terminalOf(p.stderr, p.environ) == nil {
		return nil
	}
	return newProgress(p.stderr, p.environ)
}
