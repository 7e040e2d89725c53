package main

import (
	"context"
	"errors"
)

// wholeWay measures how long an event takes from before its INSERT to a client, as a
// user of the business waits for it: the append, the commit, and the delivery.
func (b *bench) wholeWay(ctx context.Context) error {
	return b.withScratch(ctx, func() error { return b.wholeWayScratch(ctx) })
}

func (b *bench) wholeWayScratch(ctx context.Context) error {
	bare, err := b.startBare(ctx)
	if err != nil {
		return err
	}
	if b.Centrifugo == "" {
		return errors.Join(b.wholeWayBeside(ctx, bare, nil), bare.stop())
	}
	stop, centrifugo, err := b.startCentrifugo(ctx)
	if err != nil {
		return errors.Join(err, bare.stop())
	}
	return errors.Join(b.wholeWayBeside(ctx, bare, centrifugo), stop(), bare.stop())
}

// wholeWayBeside compares with a bare server and, if it is not nil, with Centrifugo.
func (b *bench) wholeWayBeside(ctx context.Context, bare *server, centrifugo *endpoint) error {
	sides := []string{sideOurs, sideFloor, sideBare}
	if centrifugo != nil {
		sides = append(sides, sideCentrifugo)
	}
	found := map[string][]delays{}
	var read Count
	for run := range b.Runs {
		for turn := range sides {
			side := sides[(run+turn)%len(sides)]
			b.say("way: from before the INSERT to a client, %s, run %d", side, run+1)
			t, err := b.latencyOf(ctx, side, bare, centrifugo, paced, b.topic("way/%d", run))
			if err != nil {
				return err
			}
			found[side] = append(found[side], t.fromInsert)
			read.add(t.count)
		}
	}
	b.report.Total.add(read)
	at := func(side string) (values []float64) {
		for _, d := range found[side] {
			values = append(values, quantile(d, 0.5))
		}
		return values
	}
	for _, side := range sides {
		f := Figure{Measure: "way", Variant: side + ", " + b.paceName(), Name: "before the INSERT to client p50", Unit: "ms", Runs: at(side)}
		if side == sideOurs {
			f.Count = &read
		}
		if side != sideFloor {
			f.Ratio = &Ratio{To: sideFloor, Runs: ratios(at(side), at(sideFloor))}
		}
		b.report.add(f)
	}
	b.report.add(Figure{
		Measure: "way", Variant: sideOurs + ", " + b.paceName(), Name: "before the INSERT to client p50 ÷ a bare server's", Unit: "1",
		Runs: ratios(at(sideOurs), at(sideBare)), Count: &read,
	})
	if centrifugo == nil {
		return nil
	}
	f := Figure{
		Measure: "way", Variant: sideOurs + ", " + b.paceName(), Name: "before the INSERT to client p50 ÷ Centrifugo's", Unit: "1",
		Runs: ratios(at(sideOurs), at(sideCentrifugo)), Count: &read,
	}
	if b.LatencyRate == 50 {
		f.Aim = &Aim{Bound: atMost, Value: 0.8}
	}
	b.report.add(f)
	return nil
}
