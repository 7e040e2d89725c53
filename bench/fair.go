package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// honestMissed is how many events the honest reader has missed, spread over all.
	honestMissed = 2000
	// greedyReaders is how many streams the greedy principal has.
	greedyReaders = 100
)

// fair measures what one principal that takes all it may costs another: an honest reader's
// replay from the table, and POST /events. Both are first alone, and then together with a
// hundred streams of one client that begin again as soon as they are over, as often as
// --open-rate allows. Clients have different addresses.
func (b *bench) fair(ctx context.Context) error {
	if b.target.own == nil {
		return errors.New("not measured: it needs a server of the bench's own, which takes 127.0.0.2 for another client")
	}
	honest, narrow := b.topic("fair/honest"), b.topic("fair/narrow")
	b.say("fair: append %d events", b.Outbox)
	if err := b.fillFair(ctx, honest, narrow); err != nil {
		return err
	}
	// A server that has just started has nothing in memory. In dev mode it has no limit of
	// openings unless one is set, which here is the default of other modes.
	own := b.target.own
	command := own.command
	defer func() { own.command = command }()
	own.command = append(slices.Clone(command), "--open-rate", "50")
	if err := b.target.own.restart(ctx); err != nil {
		return err
	}
	day := time.Now().Add(-24 * time.Hour).UTC().Format(time.RFC3339)
	asks := []struct{ name, query string }{
		{"alone", ""},
		{"beside 100 replays of 20 events on 20 topics", "topic=" + narrow + "/**&from=earliest"},
		{"beside 100 replays of a pattern of no topic", "topic=*/fair/none&from=earliest"},
		{"beside 100 replays of everything", "topic=**&from=earliest"},
		{"beside 100 openings from=24h", "topic=" + narrow + "/**&from=" + day},
	}
	replays, posts := make([][]float64, len(asks)), make([][]float64, len(asks))
	for run := range b.Runs {
		for which, ask := range asks {
			b.say("fair: %s, run %d", ask.name, run+1)
			stop := b.greedy(ctx, ask.query)
			replay, post, err := b.honest(ctx, honest)
			stop()
			if err != nil {
				return fmt.Errorf("%s: %w", ask.name, err)
			}
			replays[which], posts[which] = append(replays[which], replay...), append(posts[which], post...)
		}
	}
	for which, ask := range asks {
		replay := Figure{Measure: "fair", Variant: ask.name, Name: fmt.Sprintf("replay of %d events", honestMissed), Unit: "ms", Runs: replays[which]}
		replay.Count = &Count{Deliveries: int64(len(replays[which]) * honestMissed)} // or it has failed
		b.report.Total.add(*replay.Count)
		post := Figure{Measure: "fair", Variant: ask.name, Name: "POST /events", Unit: "ms", Runs: posts[which]}
		if which > 0 {
			replay.Ratio = &Ratio{To: "alone", Runs: ratios(replays[which], replays[0])}
			replay.Aim = fairAim(b.Outbox)
			post.Ratio = &Ratio{To: "alone", Runs: ratios(posts[which], posts[0])}
		}
		b.report.add(replay)
		b.report.add(post)
	}
	return nil
}

// fillFair fills the outbox with what others were sent, and among it what the honest reader
// missed, evenly, and 20 events on as many topics.
func (b *bench) fillFair(ctx context.Context, honest, narrow string) error {
	const fairSQL = `
INSERT INTO outbox (topic, type, payload)
SELECT CASE WHEN n % $5 = 0 THEN $2 WHEN n % $6 = 1 THEN $3 || '/' || n / $6 ELSE $4 || '/' || n % 100000 || '/x' END, '` + eventType + `', ` + markSQL + `
FROM generate_series($7::bigint, $8::bigint) AS n`
	for first := 1; first <= b.Outbox; first += fillBatch {
		_, err := b.target.admin.Exec(ctx, fairSQL, b.Payload, honest, narrow, b.topic("fair/user"),
			int64(b.Outbox/honestMissed), int64(b.Outbox/20), int64(first), int64(min(first+fillBatch-1, b.Outbox)))
		if err != nil {
			return fmt.Errorf("append events: %w", err)
		}
	}
	if _, err := b.target.admin.Exec(ctx, `VACUUM (ANALYZE) outcrier.event`); err != nil {
		return fmt.Errorf("vacuum the outbox: %w", err)
	}
	return nil
}

// honest replays for some seconds what the honest reader missed, and then posts events.
func (b *bench) honest(ctx context.Context, topic string) (replays, posts []float64, err error) {
	client := clientFrom("127.0.0.1")
	defer client.CloseIdleConnections()
	for i := range 7 {
		began := time.Now()
		got, err := b.replayed(ctx, client, "topic="+topic+"&from=earliest")
		switch {
		case err != nil:
			return nil, nil, err
		case got != honestMissed:
			return nil, nil, fmt.Errorf("the honest reader was given %d events, not %d", got, honestMissed)
		case i > 1: // those before have warmed up
			replays = append(replays, since(began))
		}
	}
	for i := range 60 {
		began := time.Now()
		body := strings.NewReader(`{"topic":"` + b.topic("fair/post") + `","type":"` + eventType + `"}`)
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.target.own.base+"/events", body)
		if err != nil {
			return nil, nil, err
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := client.Do(request)
		if err != nil {
			return nil, nil, fmt.Errorf("post an event: %w", err)
		}
		_, err = io.Copy(io.Discard, response.Body)
		if err = errors.Join(err, response.Body.Close()); err != nil || response.StatusCode != http.StatusCreated {
			return nil, nil, fmt.Errorf("post an event: %s, %w", response.Status, err)
		}
		if i > 9 {
			posts = append(posts, since(began))
		}
	}
	return replays, posts, nil
}

func since(began time.Time) float64 { return float64(time.Since(began).Microseconds()) / 1000 }

// greedy opens streams as another client, each again as soon as its replay is over, until the
// function is called that it returns.
func (b *bench) greedy(ctx context.Context, query string) (stop func()) {
	if query == "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	for range greedyReaders {
		readers.Go(func() {
			client := clientFrom("127.0.0.2")
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				if _, err := b.replayed(ctx, client, query); err != nil {
					_ = sleep(ctx, time.Second) // refused for the rate, or cut off in the end
				}
			}
		})
	}
	return func() { cancel(); readers.Wait() }
}

// replayed opens a stream, and counts the events that come until it is live.
func (b *bench) replayed(ctx context.Context, client *http.Client, query string) (events int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.target.own.base+"/events?"+query, nil)
	if err != nil {
		return 0, err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("open a stream: %w", err)
	}
	defer response.Body.Close()
	lines := bufio.NewReaderSize(response.Body, 64<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return events, fmt.Errorf("read a stream: %w", err)
		}
		switch string(line) {
		case "event: " + eventType + "\n":
			events++
		case "event: outcrier.live\n":
			return events, nil
		}
	}
}

// clientFrom is a client with an address of its own.
func clientFrom(address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 1}}
}
