package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// fanout measures the cost of bringing each event to a whole crowd, all on one topic: at a
// pace that leaves the server time, in turns with a bare server, and flat out.
func (b *bench) fanout(ctx context.Context) error {
	return b.withScratch(ctx, func() error {
		var bare *server
		if b.target.own != nil {
			var err error
			if bare, err = b.startBare(ctx); err != nil {
				return err
			}
		}
		var err error
		for _, n := range b.Streams {
			if err = b.fanoutTo(ctx, n, bare); err != nil {
				break
			}
		}
		return errors.Join(err, bare.stop())
	})
}

// contender is a server with a crowd, and who appends for it.
type contender struct {
	crowd  *crowd
	writer *writer
	pid    int
	took   histogram
}

// contend opens the crowd of a server.
func (b *bench) contend(ctx context.Context, from *endpoint, n, run int, table string, pid int) (*contender, error) {
	b.say("fanout: open %d streams, run %d", n, run+1)
	topic := b.topic("fanout/%d/%d", n, run)
	c := &contender{pid: pid}
	c.crowd = newCrowd(from, n, func(int) string { return topic }, func(m mark, at time.Duration) { c.took.add(at - m.sent) })
	err := c.crowd.open(ctx)
	if err == nil {
		c.writer, err = b.newWriter(ctx, table, topic)
	}
	if err != nil {
		c.crowd.drop()
		return nil, err
	}
	return c, nil
}

func (c *contender) leave(ctx context.Context) {
	c.crowd.drop()
	c.writer.close(ctx)
}

// delivered is what a round came to.
type delivered struct {
	count    Count
	rate     float64 // deliveries a second
	cpu      float64 // seconds of the server's for a million deliveries
	p50, p99 float64 // from before the append to the stream, in milliseconds
	// late is how long after the last append the last delivery came.
	late time.Duration
}

// fanoutTo has bare nil where there is none.
func (b *bench) fanoutTo(ctx context.Context, n int, bare *server) error {
	var evenly, flat, beside []delivered
	unknown := "" // why there is no CPU time
	for run := range b.Runs {
		// One crowd after the other: not every machine has files for both.
		found, err := b.rounds(ctx, b.target.endpoint, n, run, "outbox", b.pid(), &unknown, paced, flatOut)
		if err != nil {
			return err
		}
		evenly, flat = append(evenly, found[0]), append(flat, found[1])
		if bare == nil {
			continue
		}
		// It does not see who leaves.
		if err := bare.restart(ctx); err != nil {
			return err
		}
		endpoint, err := newEndpoint(bare.base, "", "")
		if err != nil {
			return err
		}
		if found, err = b.rounds(ctx, endpoint, n, run, b.notifying(), bare.pid(), &unknown, paced); err != nil {
			return fmt.Errorf("beside a bare server: %w", err)
		}
		beside = append(beside, found[0])
	}
	b.reportFanout(n, paced, evenly, unknown)
	if bare != nil {
		b.reportBeside(n, evenly, beside, unknown)
	}
	b.reportFanout(n, flatOut, flat, unknown)
	return nil
}

// rounds makes a round at each pace with a crowd at one server.
func (b *bench) rounds(ctx context.Context, from *endpoint, n, run int, table string, pid int, unknown *string, paces ...pace) (found []delivered, err error) {
	c, err := b.contend(ctx, from, n, run, table, pid)
	if err != nil {
		return nil, err
	}
	defer c.leave(ctx)
	for _, p := range paces {
		b.say("fanout: %d streams, %s, %s, run %d", n, p, table, run+1)
		d, err := b.deliver(ctx, c, p, unknown)
		if err != nil {
			return nil, err
		}
		found = append(found, d)
	}
	return found, nil
}

// variantOf names a crowd and a pace.
func (b *bench) variantOf(n int, p pace) string {
	variant := fmt.Sprintf("%d streams, %s", n, p)
	if p == paced {
		variant += fmt.Sprintf(" at %v/s", b.Rate)
	}
	return variant
}

// cpus are the CPU times of rounds.
func cpus(rounds []delivered) (runs []float64) {
	for _, d := range rounds {
		runs = append(runs, d.cpu)
	}
	return runs
}

// reportBeside reports the bare server's figures in the same runs. It promises nothing, so
// its losses do not count.
func (b *bench) reportBeside(n int, ours, beside []delivered, unknown string) {
	bare := Figure{Measure: "fanout", Variant: b.variantOf(n, paced), Name: "a bare server's", Unit: "s", Runs: cpus(beside)}
	if unknown != "" {
		bare.Runs, bare.Note = nil, unknown
	}
	b.report.add(bare)
	// A short round can take less of a bare server than is counted.
	if runs := finite(ratios(cpus(ours), bare.Runs)); len(runs) > 0 {
		b.report.add(Figure{Measure: "fanout", Variant: bare.Variant, Name: "ours ÷ a bare server's", Unit: "1", Runs: runs})
	}
}

func (b *bench) reportFanout(n int, p pace, rounds []delivered, unknown string) {
	var count Count
	for _, d := range rounds {
		count.add(d.count)
	}
	b.report.Total.add(count)
	each := func(value func(delivered) float64) (runs []float64) {
		for _, d := range rounds {
			runs = append(runs, value(d))
		}
		return runs
	}
	figure := func(name, unit string, value func(delivered) float64) Figure {
		return Figure{Measure: "fanout", Variant: b.variantOf(n, p), Name: name, Unit: unit, Runs: each(value), Count: &count}
	}
	cpu := figure("server CPU per million", "s", func(d delivered) float64 { return d.cpu })
	cpu.Aim = fanoutAim(n, p, b.Payload)
	late := slices.MaxFunc(rounds, func(a, b delivered) int { return cmp.Compare(a.late, b.late) }).late
	if p == paced && late > time.Second {
		cpu.Note = fmt.Sprintf("the pace was too much for this machine: the last delivery came %v after the last append", late.Round(time.Second/10))
	}
	if unknown != "" {
		cpu.Runs, cpu.Aim, cpu.Note = nil, nil, unknown
	}
	b.report.add(cpu)
	b.report.add(figure("deliveries", "1/s", func(d delivered) float64 { return d.rate }))
	b.report.add(figure("append to client p50", "ms", func(d delivered) float64 { return d.p50 }))
	b.report.add(figure("append to client p99", "ms", func(d delivered) float64 { return d.p99 }))
}

// deliver makes one round: from the first append until the last stream has all.
func (b *bench) deliver(ctx context.Context, of *contender, p pace, unknown *string) (d delivered, err error) {
	c, w := of.crowd, of.writer
	of.took.reset()
	before, start := c.count(), time.Now()
	cpuBefore, err := cpuOf(of.pid)
	if err != nil {
		*unknown = "not measured: " + err.Error()
	}
	if p == paced {
		err = b.appendPaced(ctx, w)
	} else {
		err = b.appendFlatOut(ctx, c, w)
	}
	if err != nil {
		return d, err
	}
	appended := time.Now()
	missing, err := c.await(ctx, w.number)
	if err != nil {
		return d, err
	}
	d.late = time.Since(appended)
	seconds := time.Since(start).Seconds()
	cpuAfter, err := cpuOf(of.pid)
	if err != nil {
		*unknown = "not measured: " + err.Error()
	}
	d.count = c.count().minus(before)
	d.count.Lost += missing
	deliveries := float64(d.count.Deliveries)
	d.rate = deliveries / seconds
	d.cpu = (cpuAfter - cpuBefore).Seconds() / deliveries * 1e6
	d.p50 = of.took.quantile(0.5).Seconds() * 1e3
	d.p99 = of.took.quantile(0.99).Seconds() * 1e3
	return d, nil
}

func (b *bench) appendPaced(ctx context.Context, w *writer) error {
	due := newClock(paced, b.Rate)
	for end := time.Now().Add(b.round()); time.Now().Before(end); {
		if err := due.tick(ctx); err != nil {
			return err
		}
		if err := w.append(ctx, 1); err != nil {
			return err
		}
	}
	return nil
}

// inFlight is how many events the slowest stream may lag when the server is to run flat
// out: enough that it always has something to send, and less than the 256 that it keeps for
// a stream, so that nothing is replayed.
const inFlight = 200

// flatOutBatch is how many of them are one transaction.
const flatOutBatch = 50

func (b *bench) appendFlatOut(ctx context.Context, c *crowd, w *writer) error {
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(b.round()); time.Now().Before(end); {
		if c.has(w.number + flatOutBatch - inFlight) {
			if err := w.append(ctx, flatOutBatch); err != nil {
				return err
			}
			continue
		}
		select {
		case <-look.C:
			if err := c.broken(); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
