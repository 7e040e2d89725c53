package bench

import (
	"context"
	"errors"
	"fmt"
)

// writers measures what the outbox costs those who write: commits a second of
// concurrent writers, each transaction a small business row and an outbox row,
// against the same outbox without trigger and watcher, and against one that notifies
// by a trigger for each row, as others do.
func (b *bench) writers(ctx context.Context) error {
	return b.withScratch(ctx, func() (err error) {
		// It listens throughout, so that the NOTIFY trigger has somebody to wake.
		listener, err := b.newFloor(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, listener.close(ctx)) }()
		quiet, err := b.outboxIn(ctx, b.schema()+"_quiet")
		if err != nil {
			return fmt.Errorf("make an outbox without a trigger: %w", err)
		}
		notifying, err := b.outboxIn(ctx, b.schema()+"_notifying")
		if err != nil {
			return fmt.Errorf("make an outbox with another trigger: %w", err)
		}
		_, err = b.target.admin.Exec(ctx, `CREATE TRIGGER ring AFTER INSERT ON `+notifying+` FOR EACH ROW EXECUTE FUNCTION `+b.schema()+`.ring()`)
		if err != nil {
			return err
		}
		if err := b.oneWriter(ctx, quiet); err != nil {
			return err
		}
		for _, n := range b.Writers {
			if err := b.writersOf(ctx, n, quiet, notifying); err != nil {
				return err
			}
		}
		return nil
	})
}

// oneWriter tells what a commit costs on this machine, most of it the sync.
func (b *bench) oneWriter(ctx context.Context, table string) error {
	var runs []float64
	for run := range b.Runs {
		b.say("writers: 1 writer alone, run %d", run+1)
		r, err := b.commit(ctx, 1, table, "")
		if err != nil {
			return err
		}
		runs = append(runs, r.rate)
	}
	b.report.add(Figure{Measure: "writers", Variant: "1 writer, no trigger", Name: "commits", Unit: "1/s", Runs: runs})
	return nil
}

// writersOf makes the rounds of n writers in turns, each run beginning with another
// variant.
func (b *bench) writersOf(ctx context.Context, n int, quietTable, notifyingTable string) error {
	const quiet, ours = 0, 1
	tables := []string{quietTable, "outbox", notifyingTable}
	names := []string{"no trigger", "outcrier", "NOTIFY trigger"}
	rates := make([][]float64, len(tables))
	var read Count
	for run := range b.Runs {
		for turn := range tables {
			variant := (run + turn) % len(tables)
			b.say("writers: %d writers, %s, run %d", n, names[variant], run+1)
			topic := ""
			if variant == ours {
				topic = b.topic("writers/%d/%d", n, run)
			}
			r, err := b.commit(ctx, n, tables[variant], topic)
			if err != nil {
				return err
			}
			rates[variant] = append(rates[variant], r.rate)
			read.add(r.read)
		}
	}
	b.report.Total.add(read)
	for variant, name := range names {
		f := Figure{Measure: "writers", Variant: fmt.Sprintf("%d writers, %s", n, name), Name: "commits", Unit: "1/s", Runs: rates[variant]}
		if variant != quiet {
			f.Ratio = &Ratio{To: names[quiet], Runs: ratios(rates[variant], rates[quiet])}
		}
		if variant == ours {
			f.Budget, f.Count = writersBudget(n), &read
		}
		b.report.add(f)
	}
	return nil
}

// committed is what a round of writers came to.
type committed struct {
	rate float64 // commits a second
	read Count
}

// commit lets n writers commit for a round. With a topic, a stream then reads what
// they have appended there: after the round, so as not to take of its time.
func (b *bench) commit(ctx context.Context, n int, table, topic string) (done committed, err error) {
	if topic == "" {
		done.rate, _, err = b.commitRound(ctx, n, table, b.topic("elsewhere"))
		return done, err
	}
	witness := newCrowd(b.target.endpoint, 1, func(int) string { return topic }, nil)
	if err := witness.open(ctx); err != nil {
		return done, err
	}
	witness.drop()
	rate, commits, err := b.commitRound(ctx, n, table, topic)
	if err != nil {
		return done, err
	}
	if err := witness.open(ctx); err != nil {
		return done, err
	}
	defer witness.drop()
	missing, err := witness.await(ctx, commits)
	done = committed{rate, witness.count()}
	done.read.Lost += missing
	return done, err
}
