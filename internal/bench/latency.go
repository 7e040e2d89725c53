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

func (b *bench) latencyAt(ctx context.Context, p pace) error {
	var ours, floors []delays
	var read Count
	for run := range b.Runs {
		for turn := range 2 {
			if (run+turn)%2 == 0 {
				b.say("latency: outcrier, %s, run %d", p, run+1)
				found, count, err := b.latencyOfStream(ctx, p, run)
				if err != nil {
					return err
				}
				ours = append(ours, found)
				read.add(count)
			} else {
				b.say("latency: bare LISTEN and fetch, %s, run %d", p, run+1)
				found, err := b.latencyOfFloor(ctx, p)
				if err != nil {
					return err
				}
				floors = append(floors, found)
			}
		}
	}
	b.report.Total.add(read)
	quantiles := []struct {
		name string
		q    float64
	}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"max", 1}}
	const floorName = "LISTEN and fetch"
	for _, quantileOf := range quantiles {
		at := func(rounds []delays) (values []float64) {
			for _, r := range rounds {
				values = append(values, quantile(r, quantileOf.q))
			}
			return values
		}
		f := Figure{Measure: "latency", Variant: fmt.Sprintf("outcrier, %s", p), Name: "commit to client " + quantileOf.name, Unit: "ms", Runs: at(ours), Count: &read}
		if quantileOf.q == 0.5 {
			f.Ratio = &Ratio{To: floorName, Runs: ratios(at(ours), at(floors))}
			f.Budget = latencyBudget(b.LatencyRate)
		}
		b.report.add(f)
		b.report.add(Figure{Measure: "latency", Variant: fmt.Sprintf("%s, %s", floorName, p), Name: "commit to client " + quantileOf.name, Unit: "ms", Runs: at(floors)})
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

func (b *bench) latencyOfFloor(ctx context.Context, p pace) (delays, error) {
	came := arrivals{at: map[int64]time.Duration{}}
	f, err := b.newFloor(ctx, came.note)
	if err != nil {
		return nil, err
	}
	acked, err := b.appendAtPace(ctx, p, b.schema()+".notifying", "floor")
	if err == nil {
		// It promises nothing; what has come by then is compared.
		err = sleep(ctx, b.pause())
	}
	if err := errors.Join(err, f.close(ctx)); err != nil {
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
