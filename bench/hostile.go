package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// goodReaders is how many readers' latency is measured next to the hostile ones.
const goodReaders = 20

// hostile measures what readers that take nothing cost the others: the latency of good
// readers alone, with as many others that read, and with hostile ones, in turns, all on one
// topic, and the memory that the server holds for the hostile ones.
func (b *bench) hostile(ctx context.Context) error {
	variants := []string{"alone", fmt.Sprintf("beside %d who read", b.Hostile), fmt.Sprintf("beside %d hostile", b.Hostile)}
	const beside, hostile = 1, 2
	found := make([][]delays, len(variants))
	var memories []float64
	var read Count
	unknown := ""
	for run := range b.Runs {
		for turn := range variants {
			which := (run + turn) % len(variants)
			topic := b.topic("hostile/%d/%d", which, run)
			var crowd hostileCrowd
			before, memoryErr := memoryOf(b.pid())
			readers := newCrowd(b.target.endpoint, b.Hostile, func(int) string { return topic }, nil)
			switch which {
			case beside:
				b.say("hostile: open %d streams that are read, run %d", b.Hostile, run+1)
				if err := readers.open(ctx); err != nil {
					return err
				}
			case hostile:
				b.say("hostile: open %d streams that nobody reads, run %d", b.Hostile, run+1)
				if err := crowd.open(ctx, b.target.endpoint, b.Hostile, topic); err != nil {
					crowd.close()
					return err
				}
			}
			b.say("hostile: %s, run %d", variants[which], run+1)
			came, count, err := b.latencyOfGood(ctx, topic)
			after, err2 := memoryOf(b.pid())
			crowd.close()
			readers.drop()
			if err != nil {
				return err
			}
			read.add(count)
			found[which] = append(found[which], came)
			switch {
			case which != hostile:
			case memoryErr != nil || err2 != nil:
				unknown = "not measured: the server's process is not known"
			default:
				memories = append(memories, float64(after.resident-before.resident)/1e6)
			}
		}
	}
	b.report.Total.add(read)
	for _, q := range []struct {
		name string
		q    float64
	}{{"p50", 0.5}, {"p99", 0.99}} {
		at := func(rounds []delays) (values []float64) {
			for _, r := range rounds {
				values = append(values, quantile(r, q.q))
			}
			return values
		}
		for which, variant := range variants {
			f := Figure{Measure: "hostile", Variant: variant, Name: "commit to client " + q.name, Unit: "ms", Runs: at(found[which]), Count: &read}
			if which == hostile {
				f.Ratio = &Ratio{To: variants[beside], Runs: ratios(at(found[hostile]), at(found[beside]))}
			}
			b.report.add(f)
		}
	}
	b.report.add(Figure{Measure: "hostile", Variant: variants[hostile], Name: "resident memory more than before", Unit: "MB", Runs: memories, Count: &read, Note: unknown})
	return nil
}

// latencyOfGood is that of all good readers together.
func (b *bench) latencyOfGood(ctx context.Context, topic string) (delays, Count, error) {
	type arrival struct {
		number int64
		at     time.Duration
	}
	var mu sync.Mutex
	var came []arrival
	good := newCrowd(b.target.endpoint, goodReaders, func(int) string { return topic }, func(m mark, at time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		came = append(came, arrival{m.number, at})
	})
	defer good.drop()
	if err := good.open(ctx); err != nil {
		return nil, Count{}, err
	}
	w, err := b.newPacedWriter(ctx, insertSQL("outbox"), topic)
	if err != nil {
		return nil, Count{}, err
	}
	defer w.close(ctx)
	if err := w.write(ctx, paced, b.LatencyRate, b.round()); err != nil {
		return nil, Count{}, err
	}
	missing, err := good.await(ctx, int64(len(w.acked)))
	if err != nil {
		return nil, Count{}, err
	}
	count := good.count()
	count.Lost += missing
	mu.Lock()
	defer mu.Unlock()
	var found delays
	for _, a := range came {
		if a.number <= int64(len(w.acked)) {
			found = append(found, float64(a.at-w.acked[a.number-1])/float64(time.Millisecond))
		}
	}
	slices.Sort(found)
	return found, count, nil
}

// hostileCrowd are readers of three kinds, a third each: those who read nothing,
// those who read a byte a second, and those who vanish and come back.
type hostileCrowd struct {
	stop    context.CancelFunc
	reading sync.WaitGroup
}

// hostileWindow is what a hostile reader's kernel takes for it, in bytes.
const hostileWindow = 4 << 10

// open returns when all have asked for their stream once.
func (h *hostileCrowd) open(ctx context.Context, e *endpoint, n int, topic string) error {
	ctx, h.stop = context.WithCancel(ctx)
	asked := make(chan error, n)
	dials := make(chan struct{}, dialsAtOnce)
	request := e.request(topic, "")
	ask := func(i int) (net.Conn, error) {
		dials <- struct{}{}
		defer func() { <-dials }()
		conn, err := e.connect(ctx, i)
		if err != nil {
			return nil, fmt.Errorf("connect a hostile reader: %w", err)
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetReadBuffer(hostileWindow)
		}
		_, err = conn.Write(request)
		return conn, err
	}
	for i := range n {
		h.reading.Go(func() {
			conn, err := ask(i)
			asked <- err
			if err != nil {
				return
			}
			for one := make([]byte, 1); sleep(ctx, time.Second) == nil; {
				switch i % 3 {
				case 1:
					_ = conn.SetReadDeadline(time.Now().Add(time.Second))
					_, _ = conn.Read(one) // whether it has been ended or not
				case 2:
					_ = conn.Close()
					if again, err := ask(i); err == nil {
						conn = again
					}
				}
			}
			_ = conn.Close()
		})
	}
	for range n {
		if err := <-asked; err != nil {
			return err
		}
	}
	return nil
}

func (h *hostileCrowd) close() {
	if h.stop != nil {
		h.stop()
		h.reading.Wait()
	}
}
