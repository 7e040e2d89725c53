package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// latency measures how long after the acknowledgement of its commit an event
// reaches a client, against the floor of the same run: a bare LISTEN and a fetch.
func (b *bench) latency(ctx context.Context) error {
	return b.withScratch(ctx, func() error {
		beside := newCrowd(b.target.endpoint, b.Beside, func(i int) string { return b.topic("latency/beside/%d", i) }, nil)
		defer beside.drop()
		if err := beside.open(ctx); err != nil {
			return err
		}
		for _, p := range []pace{paced, poisson} {
			if err := b.latencyAt(ctx, p); err != nil {
				return err
			}
		}
		return nil
	})
}

// delays are a round's delays in milliseconds, ascending.
type delays []float64

// The sides of the comparison. What relays is the floor and a socket: what any server
// has to do that reads an event from the table and sends it to a client.
const (
	sideOurs  = "outcrier"
	sideFloor = "LISTEN and fetch"
	sideRelay = "LISTEN, fetch and send"
)

func (b *bench) latencyAt(ctx context.Context, p pace) error {
	sides := []string{sideOurs, sideFloor, sideRelay}
	found := map[string][]delays{}
	var read Count
	for run := range b.Runs {
		for turn := range sides {
			side := sides[(run+turn)%len(sides)]
			b.say("latency: %s, %s, run %d", side, p, run+1)
			var d delays
			var count Count
			var err error
			if side == sideOurs {
				d, count, err = b.latencyOfStream(ctx, p, run)
			} else {
				d, err = b.latencyOfFloor(ctx, p, side == sideRelay)
			}
			if err != nil {
				return err
			}
			found[side] = append(found[side], d)
			read.add(count)
		}
	}
	b.report.Total.add(read)
	quantiles := []struct {
		name string
		q    float64
	}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"max", 1}}
	for _, quantileOf := range quantiles {
		at := func(side string) (values []float64) {
			for _, r := range found[side] {
				values = append(values, quantile(r, quantileOf.q))
			}
			return values
		}
		for _, side := range sides {
			f := Figure{Measure: "latency", Variant: fmt.Sprintf("%s, %s", side, p), Name: "commit to client " + quantileOf.name, Unit: "ms", Runs: at(side)}
			if side == sideOurs {
				f.Count = &read
			}
			if quantileOf.q == 0.5 && side != sideFloor {
				f.Ratio = &Ratio{To: sideFloor, Runs: ratios(at(side), at(sideFloor))}
			}
			if quantileOf.q == 0.5 && side == sideOurs {
				f.Budget = latencyBudget(b.LatencyRate)
			}
			b.report.add(f)
		}
	}
	return nil
}

// arrivals collects when events came.
type arrivals struct {
	mu sync.Mutex
	at map[int64]time.Duration
}

func (a *arrivals) note(m mark, at time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at[m.number] = at
}

// fetched notes a payload that has come now.
func (a *arrivals) fetched(payload []byte) error {
	at := time.Since(began)
	m, ok := parseMark(payload)
	if !ok {
		return fmt.Errorf("payload %.50q has no mark", payload)
	}
	a.note(m, at)
	return nil
}

// since is how long after the acknowledgements, acked by number from 1, they came.
// An event can come before the writer has its own answer.
func (a *arrivals) since(acked []time.Duration) (found delays) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, ack := range acked {
		if at, ok := a.at[int64(i+1)]; ok {
			found = append(found, float64(at-ack)/float64(time.Millisecond))
		}
	}
	slices.Sort(found)
	return found
}

func (b *bench) latencyOfStream(ctx context.Context, p pace, run int) (delays, Count, error) {
	topic := b.topic("latency/%s/%d", p, run)
	came := arrivals{at: map[int64]time.Duration{}}
	client := newCrowd(b.target.endpoint, 1, func(int) string { return topic }, came.note)
	defer client.drop()
	if err := client.open(ctx); err != nil {
		return nil, Count{}, err
	}
	acked, err := b.appendAtPace(ctx, p, "outbox", topic)
	if err != nil {
		return nil, Count{}, err
	}
	missing, err := client.await(ctx, int64(len(acked)))
	if err != nil {
		return nil, Count{}, err
	}
	count := client.count()
	count.Lost += missing
	return came.since(acked), count, nil
}

// latencyOfFloor takes an event as come when it was fetched, or relayed.
func (b *bench) latencyOfFloor(ctx context.Context, p pace, relayed bool) (delays, error) {
	came := arrivals{at: map[int64]time.Duration{}}
	fetched, ended := came.fetched, func() error { return nil }
	if relayed {
		r, err := newRelay(ctx, came.note)
		if err != nil {
			return nil, err
		}
		fetched, ended = r.send, r.close
	}
	f, err := b.newFloor(ctx, fetched)
	if err != nil {
		return nil, errors.Join(err, ended())
	}
	acked, err := b.appendAtPace(ctx, p, b.schema()+".notifying", "floor")
	if err == nil {
		// It promises nothing; what has come by then is compared.
		err = sleep(ctx, b.pause())
	}
	if err := errors.Join(err, f.close(ctx), ended()); err != nil {
		return nil, err
	}
	return came.since(acked), nil
}

// appendAtPace appends single events for a round, each a transaction of its own, and
// returns when each was acknowledged, since began.
func (b *bench) appendAtPace(ctx context.Context, p pace, table, topic string) (acked []time.Duration, err error) {
	conn, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	insertSQL := `INSERT INTO ` + table + ` (topic, type, payload) VALUES ($1, '` + eventType + `', $2)`
	if _, err := conn.Prepare(ctx, insertSQL, insertSQL); err != nil {
		return nil, err
	}
	due := newClock(p, b.LatencyRate)
	for end := time.Now().Add(b.round()); time.Now().Before(end); {
		if err := due.tick(ctx); err != nil {
			return nil, err
		}
		payload := mark{number: int64(len(acked) + 1)}.payload(b.Payload)
		if _, err := conn.Exec(ctx, insertSQL, topic, payload); err != nil {
			return nil, fmt.Errorf("append an event: %w", err)
		}
		acked = append(acked, time.Since(began))
	}
	return acked, nil
}
