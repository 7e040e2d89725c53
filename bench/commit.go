package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// committer is one of many concurrent writers. Each transaction is one round trip,
// so that Postgres is measured and not the way to it.
type committer struct {
	conn                   *pgx.Conn
	writer                 int
	business, table, topic string // without a table no event
	size                   int
	commits                int64
}

// commit makes one transaction.
func (c *committer) commit(ctx context.Context) error {
	var batch pgx.Batch
	payload := mark{writer: c.writer, number: c.commits + 1}.payload(c.size)
	batch.Queue(`BEGIN`)
	batch.Queue(`INSERT INTO `+c.business+` (account, amount) VALUES ($1, $2)`, c.writer, c.commits)
	if c.table != "" {
		batch.Queue(`INSERT INTO `+c.table+` (topic, type, payload) VALUES ($1, '`+eventType+`', $2)`, c.topic, payload)
	}
	batch.Queue(`COMMIT`)
	if err := c.conn.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	c.commits++
	return nil
}

// team is a number of writers with a session each, who commit to one table in
// turns: they work, and rest while others do.
type team struct {
	committers []*committer
	// prepared is how many commits came before the first turn, worked how long all
	// turns took.
	prepared int64
	worked   time.Duration
}

// newTeam makes a team of n; the caller closes it. Each has made a commit, which
// prepares its statements.
func (b *bench) newTeam(ctx context.Context, n int, table, topic string) (*team, error) {
	t := &team{}
	for i := range n {
		conn, err := b.connect(ctx)
		if err != nil {
			t.close(ctx)
			return nil, err
		}
		c := &committer{conn: conn, writer: i, business: b.schema() + ".business", table: table, topic: topic, size: b.Payload}
		t.committers = append(t.committers, c)
		if err := c.commit(ctx); err != nil {
			t.close(ctx)
			return nil, err
		}
	}
	t.prepared = t.commits()
	return t, nil
}

// turn lets all commit for a time.
func (t *team) turn(ctx context.Context, d time.Duration) error {
	start := time.Now()
	group, work := errgroup.WithContext(ctx)
	for _, c := range t.committers {
		group.Go(func() error {
			for time.Since(start) < d {
				if err := c.commit(work); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	t.worked += time.Since(start)
	return err
}

// commits is how many there are, each with one event.
func (t *team) commits() (n int64) {
	for _, c := range t.committers {
		n += c.commits
	}
	return n
}

// rate is how many commits a second there were in the turns.
func (t *team) rate() float64 { return float64(t.commits()-t.prepared) / t.worked.Seconds() }

func (t *team) close(ctx context.Context) {
	for _, c := range t.committers {
		_ = c.conn.Close(context.WithoutCancel(ctx))
	}
}

// checkpoint has no run pay for the one before. The user of an existing database may lack
// the right.
func (b *bench) checkpoint(ctx context.Context) {
	if b.target.private == nil {
		return
	}
	if _, err := b.target.admin.Exec(ctx, `CHECKPOINT`); err != nil {
		b.Log.Warn("no checkpoint before a round", "err", err)
	}
}
