package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// stormShare is how many streams of a storm follow the same topic.
const stormShare = 100

// storm measures what happens when every stream is dropped at once, as by a proxy
// that is restarted, and all come back at once while events flow: the time from the
// drop until the last is live again, and the queries that the server needs for it.
func (b *bench) storm(ctx context.Context) (err error) {
	queries, unknown, err := b.countQueries(ctx)
	if err != nil {
		return err
	}
	if queries != nil {
		defer func() { err = errors.Join(err, b.uncountQueries(ctx, queries)) }()
	}
	n := slices.Max(b.Streams)
	topics := (n + stormShare - 1) / stormShare
	c := newCrowd(b.target.endpoint, n, func(i int) string { return b.topic("storm/%d", i%topics) }, nil)
	defer c.drop()
	b.say("storm: open %d streams", n)
	if err := c.open(ctx); err != nil {
		return err
	}
	rain, err := b.startRain(ctx, topics)
	if err != nil {
		return err
	}
	var back, asked []float64
	for run := range b.Runs {
		b.say("storm: drop %d streams, run %d", n, run+1)
		if err := sleep(ctx, b.pause()); err != nil {
			return errors.Join(err, rain.stop(ctx))
		}
		before, start := queries.count(), time.Now()
		c.drop()
		if err := c.open(ctx); err != nil {
			return errors.Join(err, rain.stop(ctx))
		}
		back = append(back, time.Since(start).Seconds())
		asked = append(asked, float64(queries.count()-before))
	}
	if err := errors.Join(sleep(ctx, b.pause()), rain.stop(ctx)); err != nil {
		return err
	}
	missing, err := c.await(ctx, rain.rounds)
	if err != nil {
		return err
	}
	count := c.count()
	count.Lost += missing
	b.report.Total.add(count)
	variant := fmt.Sprintf("%d streams at %v/s", n, b.StormRate)
	b.report.add(Figure{Measure: "storm", Variant: variant, Name: "drop to all caught up", Unit: "s", Runs: back, Aim: stormAim(n), Count: &count})
	ask := Figure{Measure: "storm", Variant: variant, Name: "queries beside the tail's", Unit: "queries", Runs: asked, Aim: stormQueriesAim(n), Count: &count}
	if unknown != "" {
		ask.Runs, ask.Aim, ask.Note = nil, nil, unknown
	}
	b.report.add(ask)
	return nil
}

// rain is a writer that goes round the topics, an event each, until it is stopped;
// it ends with a whole round.
type rain struct {
	writer *writer
	// rounds is how many events each topic has got, once it has stopped.
	rounds int64
	ending atomic.Bool
	ended  chan error
}

func (b *bench) startRain(ctx context.Context, topics int) (*rain, error) {
	w, err := b.newWriter(ctx, "outbox", "")
	if err != nil {
		return nil, err
	}
	r := &rain{writer: w, ended: make(chan error, 1)}
	go func() {
		r.ended <- r.fall(ctx, func(i int) string { return b.topic("storm/%d", i) }, topics, b.StormRate)
	}()
	return r, nil
}

func (r *rain) fall(ctx context.Context, topic func(int) string, topics int, rate float64) error {
	due := newClock(paced, rate)
	for !r.ending.Load() {
		for i := range topics {
			if err := due.tick(ctx); err != nil {
				return err
			}
			r.writer.topic, r.writer.number = topic(i), r.rounds
			if err := r.writer.append(ctx, 1); err != nil {
				return err
			}
		}
		r.rounds++
	}
	return nil
}

// stop waits for the end of the round.
func (r *rain) stop(ctx context.Context) error {
	r.ending.Store(true)
	defer r.writer.close(ctx)
	return <-r.ended
}
