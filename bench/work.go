package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// work measures what an event costs Postgres while a client follows it, with one node
// and with more, against a bare LISTEN and a fetch; and how many queries a node asks
// that has nothing to do.
func (b *bench) work(ctx context.Context) error {
	return b.withScratch(ctx, func() error { return b.workScratch(ctx) })
}

func (b *bench) workScratch(ctx context.Context) error {
	postmaster, unknown := b.postmaster(ctx)
	one, many, floor, err := b.cpuPerEvent(ctx, postmaster)
	if err != nil {
		return err
	}
	add := func(variant, name string, of []float64, aim *Aim) {
		f := Figure{Measure: "work", Variant: variant + ", " + b.paceName(), Name: name, Unit: "ms", Runs: of, Aim: aim}
		if variant == "outcrier, 1 node" {
			f.Count = &b.worked
		}
		if unknown != "" {
			f.Runs, f.Aim, f.Note = nil, nil, unknown
		}
		b.report.add(f)
	}
	add(sideFloor, "Postgres CPU per event", floor, nil)
	add("outcrier, 1 node", "Postgres CPU per event", one, b.cpuAim(1))
	if len(many) > 0 {
		var further []float64
		for run := range many {
			further = append(further, (many[run]-one[run])/float64(b.Nodes-1))
		}
		add(fmt.Sprintf("outcrier, each of %d further nodes", b.Nodes-1), "Postgres CPU per event", further, b.cpuAim(0.3))
	}
	return b.idleQueries(ctx)
}

// paceName is the pace of latency and of the measures at the same pace.
func (b *bench) paceName() string { return fmt.Sprintf("%v/s", b.LatencyRate) }

func (b *bench) cpuAim(value float64) *Aim {
	if b.LatencyRate != 50 {
		return nil
	}
	return &Aim{Bound: atMost, Value: value}
}

// cpuPerEvent is in ms, a value a run: with one node, with further ones too (none
// where the bench starts no nodes), and of the floor.
func (b *bench) cpuPerEvent(ctx context.Context, postmaster int) (one, many, floor []float64, err error) {
	for run := range b.Runs {
		b.say("work: work of Postgres for a bare LISTEN and a fetch, run %d", run+1)
		cost, err := b.cpuOfFloor(ctx, postmaster, b.topic("work/floor/%d", run))
		if err != nil {
			return nil, nil, nil, err
		}
		floor = append(floor, cost)
		b.say("work: work of Postgres, 1 node, run %d", run+1)
		if cost, err = b.cpuOfNodes(ctx, postmaster, b.topic("work/1/%d", run)); err != nil {
			return nil, nil, nil, err
		}
		one = append(one, cost)
		if b.target.own == nil || b.Nodes == 1 {
			continue
		}
		b.say("work: work of Postgres, %d nodes, run %d", b.Nodes, run+1)
		if cost, err = b.cpuOfMoreNodes(ctx, postmaster, b.topic("work/%d/%d", b.Nodes, run)); err != nil {
			return nil, nil, nil, err
		}
		many = append(many, cost)
	}
	return one, many, floor, nil
}

// cpuOfFloor lets a floor fetch the events of a notifying table. The node has nothing to do
// meanwhile, which is subtracted.
func (b *bench) cpuOfFloor(ctx context.Context, postmaster int, topic string) (cost float64, err error) {
	f, err := newFloor(ctx, b.target.database, b.schema(), func(row) error { return nil })
	if err != nil {
		return 0, err
	}
	cost, _, err = b.cpuOfEvents(ctx, postmaster, b.notifying(), topic)
	return cost, errors.Join(err, f.close(ctx))
}

func (b *bench) cpuOfNodes(ctx context.Context, postmaster int, topic string) (cost float64, err error) {
	client := newCrowd(b.target.endpoint, 1, func(int) string { return topic }, nil)
	defer client.drop()
	if err := client.open(ctx); err != nil {
		return 0, err
	}
	cost, appended, err := b.cpuOfEvents(ctx, postmaster, "outbox", topic)
	if err != nil {
		return 0, err
	}
	missing, err := client.await(ctx, int64(appended))
	count := client.count()
	count.Lost += missing
	b.worked.add(count)
	b.report.Total.add(count)
	return cost, err
}

func (b *bench) cpuOfMoreNodes(ctx context.Context, postmaster int, topic string) (cost float64, err error) {
	var further []*server
	for range b.Nodes - 1 {
		s, startErr := b.startOutcrier(ctx, b.target.database)
		further = append(further, s)
		err = errors.Join(err, startErr)
	}
	if err == nil {
		cost, err = b.cpuOfNodes(ctx, postmaster, topic)
	}
	for _, s := range further {
		err = errors.Join(err, s.stop())
	}
	return cost, err
}

// cpuOfEvents is the CPU time of Postgres in ms for each event that is appended to a
// table at a pace. What Postgres needs for as long without events is counted off; the
// writer is connected meanwhile.
func (b *bench) cpuOfEvents(ctx context.Context, postmaster int, table, topic string) (cost float64, appended int, err error) {
	w, err := b.newPacedWriter(ctx, insertSQL(table), topic)
	if err != nil {
		return 0, 0, err
	}
	defer w.close(ctx)
	if err := w.write(ctx, paced, b.LatencyRate, b.pause()); err != nil { // caches are warm then
		return 0, 0, err
	}
	if err := sleep(ctx, b.pause()); err != nil {
		return 0, 0, err
	}
	idle, idleFor, err := cpuDuring(postmaster, func() error { return sleep(ctx, b.round()) })
	if err != nil {
		return 0, 0, err
	}
	before := len(w.acked)
	busy, busyFor, err := cpuDuring(postmaster, func() error { return w.write(ctx, paced, b.LatencyRate, b.round()) })
	if err != nil {
		return 0, 0, err
	}
	used := busy.Seconds() - idle.Seconds()*busyFor.Seconds()/idleFor.Seconds()
	return used * 1e3 / float64(len(w.acked)-before), len(w.acked), nil
}

// cpuDuring returns how long Postgres was on a CPU while do ran, and how long do ran.
func cpuDuring(postmaster int, do func() error) (used, took time.Duration, err error) {
	before, start := treeOf(postmaster), time.Now()
	if err := do(); err != nil {
		return 0, 0, err
	}
	took = time.Since(start)
	return treeOf(postmaster).since(before), took, nil
}

// idleQueries counts what a node asks while nothing happens: all its sessions, the
// tail's and the pool's, go through a counter.
func (b *bench) idleQueries(ctx context.Context) error {
	figure := Figure{Measure: "work", Variant: "an idle node", Name: "queries", Unit: "1/s", Aim: &Aim{Bound: atMost, Value: 1}}
	if figure.Note = b.uncountable(); figure.Note != "" {
		figure.Aim = nil
		b.report.add(figure)
		return nil
	}
	for run := range b.Runs {
		b.say("work: queries of an idle node, run %d", run+1)
		rate, err := b.idleQueriesRound(ctx)
		if err != nil {
			return err
		}
		figure.Runs = append(figure.Runs, rate)
	}
	b.report.add(figure)
	return nil
}

func (b *bench) idleQueriesRound(ctx context.Context) (rate float64, err error) {
	q, err := newQueryCounter(ctx, b.target.database)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, q.close()) }()
	node, err := startServer(ctx, b.outcrierCommand(), q.url(), b.Log)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, node.stop()) }()
	// Its work at the start is over.
	if err := sleep(ctx, 3*b.pause()); err != nil {
		return 0, err
	}
	before, start := q.count(), time.Now()
	if err := sleep(ctx, b.round()); err != nil {
		return 0, err
	}
	return float64(q.count()-before) / time.Since(start).Seconds(), nil
}
