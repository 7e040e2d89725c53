package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
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
		bare, err := b.startBare(ctx)
		if err != nil {
			return err
		}
		for _, p := range []pace{paced, poisson} {
			if err = b.latencyAt(ctx, p, bare); err != nil {
				break
			}
		}
		return errors.Join(err, bare.stop())
	})
}

// delays are a round's delays in milliseconds, ascending.
type delays []float64

// The sides of the comparison. The bare server is the floor in a process of its own with a
// socket: the work of any server that reads an event from the table and sends it to a
// client.
const (
	sideOurs  = "outcrier"
	sideFloor = "LISTEN and fetch"
	sideBare  = "bare server"
	// sideCentrifugo is its outbox consumer with notifications, where it is there.
	sideCentrifugo = "Centrifugo"
)

func (b *bench) latencyAt(ctx context.Context, p pace, bare *server) error {
	sides := []string{sideOurs, sideFloor, sideBare}
	found := map[string][]delays{}
	var read Count
	for run := range b.Runs {
		for turn := range sides {
			side := sides[(run+turn)%len(sides)]
			b.say("latency: %s, %s, run %d", side, p, run+1)
			t, err := b.latencyOf(ctx, side, bare, nil, p, b.topic("latency/%s/%d", p, run))
			if err != nil {
				return err
			}
			found[side] = append(found[side], t.fromCommit)
			read.add(t.count)
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
			b.report.add(f)
		}
		if quantileOf.q == 0.5 {
			b.report.add(Figure{
				Measure: "latency", Variant: fmt.Sprintf("%s, %s", sideOurs, p), Name: "ours ÷ a bare server's p50", Unit: "1",
				Runs: ratios(at(sideOurs), at(sideBare)), Aim: latencyAim(b.LatencyRate), Count: &read,
			})
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

// fetched notes a row that has come now.
func (a *arrivals) fetched(r row) error {
	at := time.Since(began)
	m, ok := parseMark(r.payload)
	if !ok {
		return fmt.Errorf("payload %.50q has no mark", r.payload)
	}
	a.note(m, at)
	return nil
}

// since is how long after their times, by number from 1, the events came. An event can
// come before the writer has its own answer.
func (a *arrivals) since(times []time.Duration) (found delays) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, from := range times {
		if at, ok := a.at[int64(i+1)]; ok {
			found = append(found, float64(at-from)/float64(time.Millisecond))
		}
	}
	slices.Sort(found)
	return found
}

// trip is how long events took to a client.
type trip struct {
	// fromInsert is since before the INSERT, fromCommit since the commit was
	// acknowledged.
	fromInsert, fromCommit delays
	count                  Count
}

func (a *arrivals) trip(w *pacedWriter, count Count) trip {
	return trip{a.since(w.sent), a.since(w.acked), count}
}

// latencyOf makes one round.
func (b *bench) latencyOf(ctx context.Context, side string, bare *server, centrifugo *endpoint, p pace, topic string) (trip, error) {
	switch side {
	case sideCentrifugo:
		t, err := b.latencyOfStream(ctx, centrifugo, p, "", topic)
		t.count = Count{}
		return t, err
	case sideOurs:
		return b.latencyOfStream(ctx, b.target.endpoint, p, "outbox", topic)
	case sideBare:
		endpoint, err := newEndpoint(bare.base, "", "")
		if err != nil {
			return trip{}, err
		}
		t, err := b.latencyOfStream(ctx, endpoint, p, b.notifying(), topic)
		t.count = Count{} // it promises nothing
		return t, err
	default:
		return b.latencyOfFloor(ctx, p, topic)
	}
}

func (b *bench) latencyOfStream(ctx context.Context, from *endpoint, p pace, table, topic string) (t trip, err error) {
	came := arrivals{at: map[int64]time.Duration{}}
	client := newCrowd(from, 1, func(int) string { return topic }, came.note)
	defer client.drop()
	if err := client.open(ctx); err != nil {
		return t, err
	}
	insert := insertSQL(table)
	if from.centrifugo {
		insert = strings.ReplaceAll(centrifugoInsert, "scratch", b.schema())
	}
	w, err := b.newPacedWriter(ctx, insert, topic)
	if err != nil {
		return t, err
	}
	defer w.close(ctx)
	if err := w.write(ctx, p, b.LatencyRate, b.round()); err != nil {
		return t, err
	}
	missing, err := client.await(ctx, int64(len(w.acked)))
	if err != nil {
		return t, err
	}
	count := client.count()
	count.Lost += missing
	return came.trip(w, count), nil
}

// latencyOfFloor takes an event as come when it was fetched.
func (b *bench) latencyOfFloor(ctx context.Context, p pace, topic string) (t trip, err error) {
	came := arrivals{at: map[int64]time.Duration{}}
	f, err := newFloor(ctx, b.target.database, b.schema(), came.fetched)
	if err != nil {
		return t, err
	}
	w, err := b.newPacedWriter(ctx, insertSQL(b.notifying()), topic)
	if err == nil {
		defer w.close(ctx)
		err = w.write(ctx, p, b.LatencyRate, b.round())
	}
	if err == nil {
		// It promises nothing; the events that have come by then are compared.
		err = sleep(ctx, b.pause())
	}
	if err := errors.Join(err, f.close(ctx)); err != nil {
		return t, err
	}
	return came.trip(w, Count{}), nil
}

// pacedWriter appends single events on a topic, each a transaction of its own.
type pacedWriter struct {
	conn       *pgx.Conn
	sql, topic string
	size       int
	// sent and acked are when each was sent and acknowledged, since began.
	sent, acked []time.Duration
}

func insertSQL(table string) string {
	return `INSERT INTO ` + table + ` (topic, type, payload) VALUES ($1, '` + eventType + `', $2)`
}

// newPacedWriter has its statement prepared; the caller closes it.
func (b *bench) newPacedWriter(ctx context.Context, insert, topic string) (*pacedWriter, error) {
	conn, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	w := &pacedWriter{conn: conn, sql: insert, topic: topic, size: b.Payload}
	if _, err := conn.Prepare(ctx, w.sql, w.sql); err != nil {
		w.close(ctx)
		return nil, err
	}
	return w, nil
}

// write writes for a time.
func (w *pacedWriter) write(ctx context.Context, p pace, rate float64, d time.Duration) error {
	due := newClock(p, rate)
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := due.tick(ctx); err != nil {
			return err
		}
		payload := mark{number: int64(len(w.acked) + 1)}.payload(w.size)
		w.sent = append(w.sent, time.Since(began))
		if _, err := w.conn.Exec(ctx, w.sql, w.topic, payload); err != nil {
			return fmt.Errorf("append an event: %w", err)
		}
		w.acked = append(w.acked, time.Since(began))
	}
	return nil
}

func (w *pacedWriter) close(ctx context.Context) { _ = w.conn.Close(context.WithoutCancel(ctx)) }
