package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// price measures one INSERT on one connection, a transaction of its own: into a bare
// table, into one with a NOTIFY trigger, and into the view outbox, which no node reads
// and which one reads. All take turns, so that all see the same minute of the machine.
func (b *bench) price(ctx context.Context, q quiet) error {
	sides := []priceSide{
		{name: "bare table", table: b.bare()},
		{name: "bare table with a NOTIFY trigger", table: b.notifying()},
		{name: "outbox", table: q.view, promised: true},
		{name: "outbox beside a live node", table: "outbox"},
	}
	for _, p := range []pricePace{
		{"flat out, synchronous_commit off", true, 0, 2},
		{fmt.Sprintf("paced at %v/s, synchronous_commit off", b.LatencyRate), true, b.LatencyRate, 0},
		{fmt.Sprintf("paced at %v/s", b.LatencyRate), false, b.LatencyRate, 1.3},
	} {
		if err := b.priceAt(ctx, p, sides); err != nil {
			return err
		}
	}
	return nil
}

// priceSide is a table that gets INSERTs. promised is the one that the aim is of.
type priceSide struct {
	name, table string
	promised    bool
}

// pricePace is how INSERTs follow each other: rate is a second, 0 for flat out. aim is
// the design's for the ratio of outbox to the bare table; 0 for none.
type pricePace struct {
	name    string
	diskOff bool
	rate    float64
	aim     float64
}

func (b *bench) priceAt(ctx context.Context, p pricePace, sides []priceSide) error {
	found, worked := make([][]float64, len(sides)), make([][]float64, len(sides))
	var trips []float64
	var read Count
	for run := range b.Runs {
		b.say("writers: one INSERT, %s, run %d", p.name, run+1)
		topic := b.topic("writers/price/%s/%d", p.topic(), run)
		var paid []paid
		given, err := b.witnessed(ctx, topic, func() (appended int64, err error) {
			paid, appended, err = b.priceRound(ctx, p, sides, topic)
			return appended, err
		})
		if err != nil {
			return err
		}
		read.add(given)
		trips = append(trips, paid[0].time)
		for i, one := range paid[1:] {
			found[i], worked[i] = append(found[i], one.time), append(worked[i], one.cpu)
		}
	}
	b.report.Total.add(read)
	b.report.add(Figure{Measure: "writers", Variant: p.name, Name: "round trip of SELECT 1", Unit: "µs", Runs: trips})
	for i, side := range sides {
		f := Figure{Measure: "writers", Variant: side.name + ", " + p.name, Name: "one INSERT", Unit: "µs", Runs: found[i]}
		if i > 0 {
			f.Ratio = &Ratio{To: sides[0].name, Runs: ratios(found[i], found[0])}
		}
		if side.promised && p.aim > 0 && (p.rate == 0 || p.rate == 50) {
			f.Aim = &Aim{Bound: atMost, Value: p.aim}
		}
		if side.table == "outbox" {
			f.Count = &read
		}
		b.report.add(f)
	}
	for i, side := range sides {
		f := Figure{Measure: "writers", Variant: side.name + ", " + p.name, Name: "CPU of the session for one INSERT", Unit: "µs", Runs: worked[i]}
		if p.rate == 0 && len(finite(worked[i])) > 0 {
			b.report.add(f)
		}
	}
	return nil
}

func (p pricePace) topic() string {
	switch {
	case p.rate == 0:
		return "flat"
	case p.diskOff:
		return "paced"
	}
	return "durable"
}

// turn is how long one side has the machine to itself: so short that other work on the
// machine affects all sides alike, and at a pace long enough for some INSERTs.
func (p pricePace) turn() time.Duration {
	if p.rate == 0 {
		return 50 * time.Millisecond
	}
	return 250 * time.Millisecond
}

// paid is what one statement costs in µs: its time, and the CPU time of the session's
// process in Postgres, which a busy machine changes less. The latter is not a number
// where it can't be read.
type paid struct{ time, cpu float64 }

// priceRound takes a round for a SELECT 1 and for each side, in short turns, and returns
// what they cost, and how many events the outbox that a node reads has got.
func (b *bench) priceRound(ctx context.Context, p pricePace, sides []priceSide, topic string) (costs []paid, appended int64, err error) {
	conn, err := b.connect(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if p.diskOff {
		if _, err := conn.Exec(ctx, `SET synchronous_commit = off`); err != nil {
			return nil, 0, err
		}
	}
	pid := int(conn.PgConn().PID())
	if _, unknown := b.postmaster(ctx); unknown != "" {
		pid = 0
	}
	statements := []statement{{conn: conn, pid: pid, sql: `SELECT 1`}}
	for _, side := range sides {
		statements = append(statements, statement{
			conn: conn, pid: pid, sql: `INSERT INTO ` + side.table + ` (topic, type, payload) VALUES ($1, '` + eventType + `', $2)`, topic: topic, size: b.Payload,
		})
	}
	for i := range statements {
		for range 10 { // prepared, and its plan and caches warm
			if err := statements[i].execute(ctx); err != nil {
				return nil, 0, err
			}
		}
		statements[i].costs = nil
	}
	b.checkpoint(ctx)
	turns := max(1, int(b.round()/p.turn()))
	for turn := range turns {
		for i := range statements {
			if err := statements[(turn+i)%len(statements)].turn(ctx, p.rate, min(p.turn(), b.round())); err != nil {
				return nil, 0, err
			}
		}
	}
	for i := range statements {
		costs = append(costs, statements[i].paid(p.rate))
	}
	return costs, statements[len(statements)-1].number, nil
}

// statement is one that is executed again and again, prepared at its first time.
type statement struct {
	conn       *pgx.Conn
	sql, topic string
	size       int
	// number counts those that append.
	number int64
	// pid is the session's process, 0 where it is not known.
	pid int
	// costs are the times of single executions, means and works the means of turns: of
	// the times, and of the CPU time.
	costs, means, works []time.Duration
}

func (s *statement) execute(ctx context.Context) error {
	var args []any
	if s.topic != "" {
		s.number++
		args = []any{s.topic, mark{number: s.number}.payload(s.size)}
	}
	start := time.Now()
	if _, err := s.conn.Exec(ctx, s.sql, args...); err != nil {
		return fmt.Errorf("%s: %w", s.sql, err)
	}
	s.costs = append(s.costs, time.Since(start))
	return nil
}

// turn executes at a pace, or flat out, for a time.
func (s *statement) turn(ctx context.Context, rate float64, d time.Duration) error {
	began, due, before := time.Now(), newClock(paced, rate), len(s.costs)
	workedBefore, known := preciseOf(s.pid)
	for time.Since(began) < d {
		if rate > 0 {
			if err := due.tick(ctx); err != nil {
				return err
			}
		}
		if err := s.execute(ctx); err != nil {
			return err
		}
	}
	var sum time.Duration
	for _, cost := range s.costs[before:] {
		sum += cost
	}
	n := time.Duration(len(s.costs) - before)
	s.means = append(s.means, sum/n)
	if worked, ok := preciseOf(s.pid); ok && known {
		s.works = append(s.works, (worked-workedBefore)/n)
	}
	if rate == 0 {
		s.costs = s.costs[:0]
	}
	return nil
}

// paid is the median of the turns' means: a checkpoint or a vacuum in one turn is not
// what a statement costs. At a pace a turn has few executions, and the time is the
// median of all.
func (s *statement) paid(rate float64) paid {
	if rate == 0 {
		return paid{medianIn(s.means, time.Microsecond), medianIn(s.works, time.Microsecond)}
	}
	return paid{medianIn(s.costs, time.Microsecond), medianIn(s.works, time.Microsecond)}
}

// medianIn is the median of durations in a unit; NaN for none.
func medianIn(durations []time.Duration, unit time.Duration) float64 {
	values := make([]float64, 0, len(durations))
	for _, d := range durations {
		values = append(values, float64(d)/float64(unit))
	}
	return median(values)
}
