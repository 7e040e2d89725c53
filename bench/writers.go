package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// writers measures what the outbox costs a business that writes to it: one INSERT,
// whole transactions of many writers at once, the way of an event from before its
// INSERT to a client, and the work of Postgres for it.
func (b *bench) writers(ctx context.Context) error {
	return b.withScratch(ctx, func() (err error) {
		q, err := b.newQuiet(ctx)
		if err != nil {
			return err
		}
		// It listens throughout, so that the NOTIFY trigger has somebody to wake.
		listener, err := newFloor(ctx, b.target.database, b.schema(), nil)
		if err != nil {
			return err
		}
		err = b.price(ctx, q)
		if err == nil {
			err = b.withoutTriggers(ctx, q)
		}
		for _, n := range append([]int{1}, b.Writers...) {
			if err == nil {
				err = b.business(ctx, n, q)
			}
		}
		return errors.Join(err, listener.close(ctx))
	})
}

// businessVariants are what a business transaction does besides its own row.
var businessVariants = []string{
	withoutOutbox: "no outbox",
	withBare:      "bare table",
	withNotify:    "bare table with a NOTIFY trigger",
	withTable:     "outcrier's table, no trigger or node",
	withQuiet:     "outcrier, no node",
	withOutbox:    "outcrier",
}

const (
	withoutOutbox = iota
	withBare
	withNotify
	withTable
	withQuiet
	withOutbox
)

// business measures commits a second of n concurrent writers, each transaction a small
// business row and, except in the first variant, an outbox row.
func (b *bench) business(ctx context.Context, n int, q quiet) error {
	tables := []string{withoutOutbox: "", withBare: b.bare(), withNotify: b.notifying(), withTable: q.table, withQuiet: q.view, withOutbox: "outbox"}
	rates := make([][]float64, len(tables))
	var read Count
	for run := range b.Runs {
		b.say("writers: %d at a time, in turns, run %d", n, run+1)
		topic := b.topic("writers/%d/%d", n, run)
		var done []float64
		given, err := b.witnessed(ctx, topic, func() (int64, error) {
			found, commits, err := b.commit(ctx, n, tables, topic)
			if err != nil {
				return 0, err
			}
			done = found
			return commits[withOutbox], nil
		})
		if err != nil {
			return err
		}
		for variant, rate := range done {
			rates[variant] = append(rates[variant], rate)
		}
		read.add(given)
	}
	b.report.Total.add(read)
	for variant, name := range businessVariants {
		f := Figure{Measure: "writers", Variant: fmt.Sprintf("%d at a time, %s", n, name), Name: "commits", Unit: "1/s", Runs: rates[variant]}
		if variant != withoutOutbox {
			f.Ratio = &Ratio{To: businessVariants[withoutOutbox], Runs: ratios(rates[variant], rates[withoutOutbox])}
		}
		if variant == withOutbox {
			f.Count = &read
		}
		b.report.add(f)
	}
	b.report.add(Figure{
		Measure: "writers", Variant: fmt.Sprintf("%d at a time, outcrier", n), Name: "commits ÷ those with the table alone", Unit: "1",
		Runs: ratios(rates[withOutbox], rates[withTable]), Aim: writersAim(n), Count: &read,
	})
	b.report.add(Figure{
		Measure: "writers", Variant: fmt.Sprintf("%d at a time, outcrier", n), Name: "commits ÷ those without a node", Unit: "1",
		Runs: ratios(rates[withOutbox], rates[withQuiet]), Count: &read,
	})
	return nil
}

// witnessed calls do, which appends events on a topic and returns how many; afterwards,
// so as not to take of its time, a stream reads them.
func (b *bench) witnessed(ctx context.Context, topic string, do func() (appended int64, err error)) (given Count, err error) {
	witness := newCrowd(b.target.endpoint, 1, func(int) string { return topic }, nil)
	if err := witness.open(ctx); err != nil {
		return given, err
	}
	witness.drop()
	appended, err := do()
	if err != nil {
		return given, err
	}
	if err := witness.open(ctx); err != nil {
		return given, err
	}
	defer witness.drop()
	missing, err := witness.await(ctx, appended)
	given = witness.count()
	given.Lost += missing
	return given, err
}

// turnTime is short, so that other work of the machine affects all alike.
const turnTime = 500 * time.Millisecond

// commit lets a team of n writers commit to each table for the time of a round, in
// turns, so that all see the same minute of the machine. It returns their rates in
// commits a second, and how many commits each table has got.
func (b *bench) commit(ctx context.Context, n int, tables []string, topic string) (rates []float64, commits []int64, err error) {
	teams := make([]*team, len(tables))
	for i, table := range tables {
		if teams[i], err = b.newTeam(ctx, n, table, topic); err != nil {
			return nil, nil, err
		}
		defer teams[i].close(ctx)
	}
	b.checkpoint(ctx)
	turns := max(1, int(b.round()/turnTime))
	for turn := range turns {
		for i := range teams {
			if err := teams[(turn+i)%len(teams)].turn(ctx, b.round()/time.Duration(turns)); err != nil {
				return nil, nil, err
			}
		}
	}
	for _, t := range teams {
		rates, commits = append(rates, t.rate()), append(commits, t.commits())
	}
	return rates, commits, nil
}
