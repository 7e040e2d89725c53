package main

import (
	"context"
	"fmt"
	"time"
)

// tail measures how fast a node takes in a backlog: the package's tail on its own, in this
// process, and a whole server, one stream of which follows the topic of one event after all
// others.
func (b *bench) tail(ctx context.Context) error {
	for _, transactions := range []int{1, b.Backlog / 100} {
		variant := fmt.Sprintf("%d events of %d transactions", b.Backlog, transactions)
		if transactions == 1 {
			variant = fmt.Sprintf("%d events of one transaction", b.Backlog)
		}
		var runs []float64
		for run := range b.Runs {
			b.say("tail: %s, run %d", variant, run+1)
			rate, err := b.tailAlone(ctx, run, transactions)
			if err != nil {
				return err
			}
			runs = append(runs, rate)
		}
		b.report.add(Figure{
			Measure: "tail", Variant: variant + ", tail alone", Name: "events", Unit: "1/s", Runs: runs, Aim: tailAim(),
		})
	}
	var runs []float64
	var read Count
	for run := range b.Runs {
		b.say("tail: %d events of one transaction, server, run %d", b.Backlog, run+1)
		rate, count, err := b.tailOfServer(ctx, run)
		if err != nil {
			return err
		}
		runs = append(runs, rate)
		read.add(count)
	}
	b.report.Total.add(read)
	b.report.add(Figure{
		Measure: "tail", Variant: fmt.Sprintf("%d events of one transaction, server", b.Backlog),
		Name: "events", Unit: "1/s", Runs: runs, Aim: tailAim(), Count: &read,
	})
	return nil
}

// backlogLimit is how long a tail may take for the whole of it.
const backlogLimit = 5 * time.Minute

// tailAlone stops a tail by one event until the backlog is there, and takes the time
// from then until it has all of it.
func (b *bench) tailAlone(ctx context.Context, run, transactions int) (rate float64, err error) {
	topic := b.topic("tail/%d/%d", transactions, run)
	ctx, stop := context.WithTimeoutCause(ctx, backlogLimit, fmt.Errorf("the tail took more than %v", backlogLimit))
	defer stop()
	g, err := b.newGate(ctx, topic)
	if err != nil {
		return 0, err
	}
	defer func() {
		stop()
		<-g.ended
	}()
	if err := b.fill(ctx, topic, 0, 1, 1); err != nil {
		return 0, err
	}
	if _, err := g.next(ctx); err != nil {
		return 0, err
	}
	if err := b.fill(ctx, topic, 1, b.Backlog, (b.Backlog+transactions-1)/transactions); err != nil {
		return 0, err
	}
	start := time.Now()
	for taken := 0; taken < b.Backlog; {
		if err := g.through(ctx); err != nil {
			return 0, err
		}
		n, err := g.next(ctx)
		if err != nil {
			return 0, err
		}
		taken += n
	}
	return float64(b.Backlog) / time.Since(start).Seconds(), nil
}

// tailOfServer takes the time from the commit of the backlog until the event after it, in
// the same transaction, is at a stream.
func (b *bench) tailOfServer(ctx context.Context, run int) (rate float64, count Count, err error) {
	topic := b.topic("tail/followed/%d", run)
	c := newCrowd(b.target.endpoint, 1, func(int) string { return topic }, nil)
	defer c.drop()
	if err := c.open(ctx); err != nil {
		return 0, count, err
	}
	tx, err := b.target.admin.Begin(ctx)
	if err != nil {
		return 0, count, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // none after the commit
	if _, err := tx.Exec(ctx, fillSQL, b.Payload, b.topic("tail/unfollowed"), 1, b.Backlog); err != nil {
		return 0, count, fmt.Errorf("append a backlog: %w", err)
	}
	if _, err := tx.Exec(ctx, fillSQL, b.Payload, topic, 1, 1); err != nil {
		return 0, count, fmt.Errorf("append the event behind it: %w", err)
	}
	if err := tx.Commit(ctx); err != nil {
		return 0, count, fmt.Errorf("append a backlog: %w", err)
	}
	start := time.Now()
	missing, err := c.await(ctx, 1)
	if err != nil {
		return 0, count, err
	}
	took := time.Since(start)
	count = c.count()
	count.Lost += missing
	return float64(b.Backlog+1) / took.Seconds(), count, nil
}
