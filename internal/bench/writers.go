package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// writers measures what the outbox costs those who write: commits a second of
// concurrent writers, each transaction a small business row and an outbox row,
// against the same outbox without trigger and watcher, and against one that notifies
// by a trigger for each row, as others do.
func (b *bench) writers(ctx context.Context) error {
	return b.withScratch(ctx, func() (err error) {
		// It listens throughout, so that the NOTIFY trigger has somebody to wake.
		listener, err := newFloor(ctx, b.target.database, b.schema(), nil)
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
		rates, _, err := b.commit(ctx, 1, []string{table}, b.topic("elsewhere"))
		if err != nil {
			return err
		}
		runs = append(runs, rates[0])
	}
	b.report.add(Figure{Measure: "writers", Variant: "1 writer, no trigger", Name: "commits", Unit: "1/s", Runs: runs})
	return nil
}

// writersOf measures n writers of each variant.
func (b *bench) writersOf(ctx context.Context, n int, quietTable, notifyingTable string) error {
	const quiet, ours = 0, 1
	tables := []string{quietTable, "outbox", notifyingTable}
	names := []string{"no trigger", "outcrier", "NOTIFY trigger"}
	rates := make([][]float64, len(tables))
	var read Count
	for run := range b.Runs {
		b.say("writers: %d writers in turns, run %d", n, run+1)
		done, given, err := b.commitWitnessed(ctx, n, tables, ours, b.topic("writers/%d/%d", n, run))
		if err != nil {
			return err
		}
		for variant, rate := range done {
			rates[variant] = append(rates[variant], rate)
		}
		read.add(given)
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

// commitWitnessed is commit; afterwards, so as not to take of its time, a stream
// reads what was appended to the table with the number watched.
func (b *bench) commitWitnessed(ctx context.Context, n int, tables []string, watched int, topic string) (rates []float64, given Count, err error) {
	witness := newCrowd(b.target.endpoint, 1, func(int) string { return topic }, nil)
	if err := witness.open(ctx); err != nil {
		return nil, given, err
	}
	witness.drop()
	rates, commits, err := b.commit(ctx, n, tables, topic)
	if err != nil {
		return nil, given, err
	}
	if err := witness.open(ctx); err != nil {
		return nil, given, err
	}
	defer witness.drop()
	missing, err := witness.await(ctx, commits[watched])
	given = witness.count()
	given.Lost += missing
	return rates, given, err
}

// turnTime is short, so that what the machine does beside falls on all alike.
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
