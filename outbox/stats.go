package outbox

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Stats keeps the counts of the view outbox_topic_stats. Every node runs one; one
// at a time counts, what is new since the last time, and no writer waits for it.
type Stats struct {
	Pool *pgxpool.Pool
	Log  *slog.Logger
}

// statsTurn is how old the counts may get.
const statsTurn = time.Minute

// Run works until ctx ends and returns its cause.
func (s Stats) Run(ctx context.Context) error {
	for {
		if err := s.Turn(ctx); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "topics not counted", "err", err, "retry_in", statsTurn)
		}
		select {
		case <-time.After(statsTurn):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Turn counts what there is. Each statement counts one partition as a whole at
// most, of those that were not counted yet.
func (s Stats) Turn(ctx context.Context) error {
	for {
		more, err := s.count(ctx)
		if err != nil || more == nil || !*more {
			return err
		}
	}
}

func (s Stats) count(ctx context.Context) (more *bool, err error) {
	ctx, cancel := within(ctx, upkeepLimit)
	defer cancel()
	err = s.Pool.QueryRow(ctx, `SELECT outbox_count_topics()`).Scan(&more)
	return more, err
}
