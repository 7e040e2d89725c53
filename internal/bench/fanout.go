package bench

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// fanout measures what it costs to bring each event to a whole crowd, all on one
// topic: at a pace that leaves the server time, and flat out.
func (b *bench) fanout(ctx context.Context) error {
	for _, n := range b.Streams {
		if err := b.fanoutTo(ctx, n); err != nil {
			return err
		}
	}
	return nil
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

func (b *bench) fanoutTo(ctx context.Context, n int) error {
	topic := b.topic("fanout/%d", n)
	var took histogram
	c := newCrowd(b.target.endpoint, n, func(int) string { return topic }, func(m mark, at time.Duration) { took.add(at - m.sent) })
	defer c.drop()
	b.say("fanout: open %d streams", n)
	if err := c.open(ctx); err != nil {
		return err
	}
	w, err := b.newWriter(ctx, topic)
	if err != nil {
		return err
	}
	defer w.close(ctx)

	rounds := map[pace][]delivered{}
	unknown := "" // why there is no CPU time
	for run := range b.Runs {
		for _, p := range []pace{paced, flatOut} {
			b.say("fanout: %d streams, %s, run %d", n, p, run+1)
			took.reset()
			d, err := b.deliver(ctx, c, w, p, &unknown)
			if err != nil {
				return err
			}
			d.p50 = took.quantile(0.5).Seconds() * 1e3
			d.p99 = took.quantile(0.99).Seconds() * 1e3
			rounds[p] = append(rounds[p], d)
		}
	}
	for _, p := range []pace{paced, flatOut} {
		b.reportFanout(n, p, rounds[p], unknown)
	}
	return nil
}

func (b *bench) reportFanout(n int, p pace, rounds []delivered, unknown string) {
	var count Count
	for _, d := range rounds {
		count.add(d.count)
	}
	b.report.Total.add(count)
	variant := fmt.Sprintf("%d streams, %s", n, p)
	if p == paced {
		variant += fmt.Sprintf(" at %v/s", b.Rate)
	}
	each := func(value func(delivered) float64) (runs []float64) {
		for _, d := range rounds {
			runs = append(runs, value(d))
		}
		return runs
	}
	figure := func(name, unit string, value func(delivered) float64) Figure {
		return Figure{Measure: "fanout", Variant: variant, Name: name, Unit: unit, Runs: each(value), Count: &count}
	}
	cpu := figure("server CPU per million", "s", func(d delivered) float64 { return d.cpu })
	cpu.Budget = fanoutBudget(n, p, b.Payload)
	late := slices.MaxFunc(rounds, func(a, b delivered) int { return cmp.Compare(a.late, b.late) }).late
	if p == paced && late > time.Second {
		cpu.Note = fmt.Sprintf("the pace was too much for this machine: the last delivery came %v after the last append", late.Round(time.Second/10))
	}
	if unknown != "" {
		cpu.Runs, cpu.Budget, cpu.Note = nil, nil, unknown
	}
	b.report.add(cpu)
	b.report.add(figure("deliveries", "1/s", func(d delivered) float64 { return d.rate }))
	b.report.add(figure("append to client p50", "ms", func(d delivered) float64 { return d.p50 }))
	b.report.add(figure("append to client p99", "ms", func(d delivered) float64 { return d.p99 }))
}

// deliver makes one round: from the first append until the last stream has all.
func (b *bench) deliver(ctx context.Context, c *crowd, w *writer, p pace, unknown *string) (d delivered, err error) {
	before, start := c.count(), time.Now()
	cpuBefore, err := cpuOf(b.pid())
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
	cpuAfter, err := cpuOf(b.pid())
	if err != nil {
		*unknown = "not measured: " + err.Error()
	}
	d.count = c.count().minus(before)
	d.count.Lost += missing
	deliveries := float64(d.count.Deliveries)
	d.rate = deliveries / seconds
	d.cpu = (cpuAfter - cpuBefore).Seconds() / deliveries * 1e6
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

// inFlight is how many events the slowest stream may be behind when the server is
// to do its utmost: enough that it always has something to send, and less than the
// 256 that it keeps for a stream, so that nothing is replayed.
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
