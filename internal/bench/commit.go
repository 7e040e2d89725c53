package bench

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
	business, table, topic string
	size                   int
	commits                int64
}

// commit makes one transaction.
func (c *committer) commit(ctx context.Context) error {
	var batch pgx.Batch
	payload := mark{writer: c.writer, number: c.commits + 1}.payload(c.size)
	batch.Queue(`BEGIN`)
	batch.Queue(`INSERT INTO `+c.business+` (account, amount) VALUES ($1, $2)`, c.writer, c.commits)
	batch.Queue(`INSERT INTO `+c.table+` (topic, type, payload) VALUES ($1, '`+eventType+`', $2)`, c.topic, payload)
	batch.Queue(`COMMIT`)
	if err := c.conn.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	c.commits++
	return nil
}

// commitRound lets n writers commit for the time of a round. It returns their rate
// in commits a second, and how many commits there are, each with one event.
func (b *bench) commitRound(ctx context.Context, n int, table, topic string) (rate float64, commits int64, err error) {
	committers := make([]*committer, n)
	for i := range committers {
		conn, err := b.connect(ctx)
		if err != nil {
			return 0, 0, err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		c := &committer{conn: conn, writer: i, business: b.schema() + ".business", table: table, topic: topic, size: b.Payload}
		committers[i] = c
		// The first one prepares its statements, outside of the time.
		if err := c.commit(ctx); err != nil {
			return 0, 0, err
		}
	}
	b.checkpoint(ctx)
	start := time.Now()
	end := start.Add(b.round())
	group, work := errgroup.WithContext(ctx)
	for _, c := range committers {
		group.Go(func() error {
			for time.Now().Before(end) {
				if err := c.commit(work); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, 0, err
	}
	took := time.Since(start)
	for _, c := range committers {
		commits += c.commits
	}
	return float64(commits-int64(n)) / took.Seconds(), commits, nil
}

// checkpoint has no round pay for the one before. The user of a database that was
// given may not be allowed to.
func (b *bench) checkpoint(ctx context.Context) {
	if b.target.private == nil {
		return
	}
	if _, err := b.target.admin.Exec(ctx, `CHECKPOINT`); err != nil {
		b.Log.Warn("no checkpoint before a round", "err", err)
	}
}
