package outbox

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Schedule moves scheduled events into the outbox when they are due. Every node
// runs one; each row is moved by one of them.
type Schedule struct {
	Pool *pgxpool.Pool
	// Schema is where the outbox is; the default one by default.
	Schema Schema
	// Log gets failures. Nothing by default.
	Log *slog.Logger
}

// scheduleTurn is how late an event that was scheduled at the last moment may be.
const scheduleTurn = 100 * time.Millisecond

// Run works until ctx ends and returns its cause. While the database is gone it
// tries again once a second.
func (s Schedule) Run(ctx context.Context) error {
	s.Log = logOr(s.Log)
	failing := false
	for {
		pause, err := s.turn(ctx)
		switch {
		case err != nil && ctx.Err() == nil && !failing:
			s.Log.WarnContext(ctx, "scheduled events can't be moved", "err", err, "retry_in", time.Second)
			fallthrough
		case err != nil:
			pause = time.Second
		}
		failing = err != nil
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// turn moves what is due, and returns how long nothing else will be, or need not
// be looked for.
func (s Schedule) turn(ctx context.Context) (pause time.Duration, err error) {
	for more := true; more && err == nil; {
		pause, more, err = s.move(ctx)
	}
	return pause, err
}

// move moves some of what is due, and reports whether there may be more.
func (s Schedule) move(ctx context.Context) (pause time.Duration, more bool, err error) {
	ctx, cancel := within(ctx, statementLimit)
	defer cancel()
	var seconds *float64
	err = inPool(ctx, s.Pool, s.Schema, func(q db) error {
		return q.QueryRow(ctx, `SELECT extract(epoch FROM min(deliver_at) - clock_timestamp())::float8 FROM outcrier.scheduled`).Scan(&seconds)
	})
	switch {
	case err != nil:
		return 0, false, err
	case seconds == nil:
		return scheduleTurn, false, nil
	case *seconds > 0:
		return min(scheduleTurn, time.Duration(*seconds*float64(time.Second))), false, nil
	}
	var moved int
	err = inPool(ctx, s.Pool, s.Schema, func(q db) error {
		return q.QueryRow(ctx, `SELECT outcrier.deliver_scheduled()`).Scan(&moved)
	})
	// Another node may hold what is due.
	return scheduleTurn, moved > 0, err
}
