package main

import (
	"context"
	"fmt"
	"slices"
)

// idle measures what the server holds in memory for each stream on which nothing
// happens, each on a topic of its own.
func (b *bench) idle(ctx context.Context) error {
	n := slices.Max(b.Streams)
	var resident, proportional []float64
	var read Count
	unknown := ""
	for run := range b.Runs {
		if b.target.own != nil {
			// Memory of earlier measures must not be counted, nor reused.
			if err := b.target.own.restart(ctx); err != nil {
				return err
			}
		}
		held, count, err := b.idleRound(ctx, n, run)
		if err != nil {
			return err
		}
		read.add(count)
		if held.unknown != "" {
			unknown = held.unknown
			continue
		}
		resident = append(resident, float64(held.resident)/float64(n)/1e3)
		proportional = append(proportional, float64(held.proportional)/float64(n)/1e3)
	}
	b.report.Total.add(read)
	variant := fmt.Sprintf("%d streams", n)
	rss := Figure{Measure: "idle", Variant: variant, Name: "resident memory per stream", Unit: "kB", Runs: resident, Aim: idleAim(n), Count: &read}
	pss := Figure{Measure: "idle", Variant: variant, Name: "proportional memory per stream", Unit: "kB", Runs: proportional, Count: &read}
	if b.target.own == nil {
		rss.Note = "the server was not fresh: what it had to spare before is not counted, and what it gave back is counted off"
		pss.Note = rss.Note
	}
	if unknown != "" {
		rss.Runs, rss.Aim, rss.Note = nil, nil, unknown
		pss.Runs, pss.Note = nil, unknown
	}
	b.report.add(rss)
	b.report.add(pss)
	return nil
}

// held is what the server holds for a crowd, in bytes, and why that is not known.
type held struct {
	memory
	unknown string
}

func (b *bench) idleRound(ctx context.Context, n, run int) (h held, count Count, err error) {
	before, memoryErr := memoryOf(b.pid())
	b.say("idle: open %d streams, run %d", n, run+1)
	topic := func(i int) string { return b.topic("idle/%d/%d", run, i) }
	c := newCrowd(b.target.endpoint, n, topic, nil)
	defer c.drop()
	if err := c.open(ctx); err != nil {
		return h, count, err
	}
	b.say("idle: %d streams settle for %v, run %d", n, b.Settle, run+1)
	if err := sleep(ctx, b.Settle); err != nil {
		return h, count, err
	}
	after, err := memoryOf(b.pid())
	if memoryErr == nil {
		memoryErr = err
	}
	if memoryErr != nil {
		h.unknown = "not measured: " + memoryErr.Error()
	}
	h.memory = memory{after.resident - before.resident, after.proportional - before.proportional}

	// Each receives an event: the counted streams are alive.
	const appendEachSQL = `
INSERT INTO outbox (topic, type, payload)
SELECT $2::text || (i - 1), '` + eventType + `', ` + markSQL + `
FROM (SELECT i, 1 AS n FROM generate_series(1, $3::int) AS i) AS s`
	if _, err := b.target.admin.Exec(ctx, appendEachSQL, b.Payload, b.topic("idle/%d/", run), n); err != nil {
		return h, count, fmt.Errorf("append an event on each topic: %w", err)
	}
	missing, err := c.await(ctx, 1)
	count = c.count()
	count.Lost += missing
	return h, count, err
}
