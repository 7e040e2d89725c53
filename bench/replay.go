package main

import (
	"context"
	"fmt"
	"time"
)

// replay measures how fast one stream receives the events that it has missed in a long
// absence, against COPY of the same columns of the same rows to a client: the fastest way
// out of Postgres that there is.
func (b *bench) replay(ctx context.Context) error {
	topic := b.topic("replay")
	c := newCrowd(b.target.endpoint, 1, func(int) string { return topic }, nil)
	defer c.drop()
	b.say("replay: append %d events", b.Held)
	if err := b.fill(ctx, topic, 0, b.Held-b.Missed, fillBatch); err != nil {
		return err
	}
	// Where the absence begins: a probe that has come tells that the server has read
	// all that was before it.
	if err := b.probe(ctx, b.target); err != nil {
		return err
	}
	if err := c.open(ctx); err != nil {
		return err
	}
	c.drop()
	absence := absence{topic: topic, position: string(c.streams[0].id), from: int64(b.Held - b.Missed)}
	if err := b.target.admin.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM outcrier.event WHERE topic = $1`, topic).Scan(&absence.after); err != nil {
		return fmt.Errorf("find where the absence begins: %w", err)
	}
	if err := b.fill(ctx, topic, absence.from, b.Missed, fillBatch); err != nil {
		return err
	}
	b.say("replay: VACUUM")
	if _, err := b.target.admin.Exec(ctx, `VACUUM (ANALYZE) outcrier.event`); err != nil {
		return fmt.Errorf("vacuum the outbox: %w", err)
	}
	if err := b.probe(ctx, b.target); err != nil {
		return err
	}
	if b.target.own == nil {
		return b.replayFrom(ctx, "from memory or table", absence)
	}
	if err := b.replayFrom(ctx, "as far as memory holds it", absence); err != nil {
		return err
	}
	// A server that has just started has nothing in memory.
	if err := b.target.own.restart(ctx); err != nil {
		return err
	}
	return b.replayFrom(ctx, "from the table", absence)
}

// absence is what a stream has missed.
type absence struct {
	topic    string
	position string // what the stream comes back with
	from     int64  // the number of the last event that it received
	after    int64  // the id after which the missed rows are
}

func (b *bench) replayFrom(ctx context.Context, source string, a absence) error {
	var streamed, copied []float64
	var read Count
	for run := range b.Runs {
		for turn := range 2 {
			if (run+turn)%2 == 0 {
				b.say("replay: %d events %s, run %d", b.Missed, source, run+1)
				rate, count, err := b.replayRound(ctx, a)
				if err != nil {
					return err
				}
				streamed = append(streamed, rate)
				read.add(count)
			} else {
				b.say("replay: COPY, run %d", run+1)
				rate, err := b.copyRound(ctx, a)
				if err != nil {
					return err
				}
				copied = append(copied, rate)
			}
		}
	}
	b.report.Total.add(read)
	sizes := fmt.Sprintf("%d of %d", b.Missed, b.Held)
	b.report.add(Figure{
		Measure: "replay", Variant: sizes + ", " + source, Name: "events", Unit: "1/s", Runs: streamed, Count: &read,
		Ratio: &Ratio{To: "COPY", Runs: ratios(streamed, copied)}, Aim: replayAim(b.Held, b.Missed),
	})
	b.report.add(Figure{Measure: "replay", Variant: sizes + ", COPY beside it", Name: "events", Unit: "1/s", Runs: copied})
	return nil
}

// replayRound resumes one stream, and takes the time from the request to the last
// event.
func (b *bench) replayRound(ctx context.Context, a absence) (rate float64, count Count, err error) {
	c := newCrowd(b.target.endpoint, 1, func(int) string { return a.topic }, nil)
	defer c.drop()
	s := c.streams[0]
	s.id = []byte(a.position)
	s.tally.last = []int64{a.from}
	start := time.Now()
	if err := c.open(ctx); err != nil {
		return 0, count, err
	}
	missing, err := c.await(ctx, int64(b.Missed))
	if err != nil {
		return 0, count, err
	}
	took := time.Since(start)
	count = c.count()
	count.Lost += missing
	return float64(count.Deliveries) / took.Seconds(), count, nil
}

// copyRound copies the missed rows to this process, and throws them away.
func (b *bench) copyRound(ctx context.Context, a absence) (rate float64, err error) {
	// The topic is one of ours and holds no quote.
	copySQL := fmt.Sprintf(`COPY (SELECT xid, id, topic, type, payload, source, headers, created_at
		FROM outcrier.event WHERE topic = '%s' AND id > %d) TO STDOUT`, a.topic, a.after)
	conn, err := b.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var lines lineCounter
	start := time.Now()
	if _, err := conn.PgConn().CopyTo(ctx, &lines, copySQL); err != nil {
		return 0, fmt.Errorf("copy the outbox: %w", err)
	}
	took := time.Since(start)
	if int(lines) != b.Missed {
		return 0, fmt.Errorf("COPY gave %d rows, not %d", lines, b.Missed)
	}
	return float64(lines) / took.Seconds(), nil
}

// lineCounter counts the rows of a COPY, each of which comes in a Write of its own
// and ends in a line feed.
type lineCounter int

func (l *lineCounter) Write(p []byte) (int, error) {
	if len(p) > 0 && p[len(p)-1] == '\n' {
		*l++
	}
	return len(p), nil
}
