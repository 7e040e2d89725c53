package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Retention makes daily partitions ahead and drops those that are past. Every
// node runs one; an advisory lock lets one at a time do it.
type Retention struct {
	Pool *pgxpool.Pool
	// Keep is the age at which a day's events are removed; 0 keeps them for
	// ever.
	Keep time.Duration
	Log  *slog.Logger
}

// retentionTurn is how often Run looks.
const retentionTurn = time.Minute

// Run works until ctx ends and returns its cause.
func (r Retention) Run(ctx context.Context) error {
	for {
		if err := r.Turn(ctx); err != nil && ctx.Err() == nil {
			r.Log.WarnContext(ctx, "partitions not kept up", "err", err, "retry_in", retentionTurn)
		}
		select {
		case <-time.After(retentionTurn):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Turn does at once what there is to do.
func (r Retention) Turn(ctx context.Context) error {
	var made *int
	if err := r.locked(ctx, `SELECT outbox_partitions_ahead()`, &made); err != nil {
		return fmt.Errorf("make partitions ahead: %w", err)
	}
	for r.Keep > 0 {
		var dropped *string
		if err := r.locked(ctx, `SELECT outbox_retain($1)`, &dropped, r.Keep); err != nil {
			return fmt.Errorf("drop a partition: %w", err)
		}
		if dropped == nil {
			break
		}
		r.Log.InfoContext(ctx, "partition dropped", "partition", *dropped, "keep", r.Keep)
	}
	return nil
}

// locked runs one statement in a transaction of its own, while no other node
// does. What it locks it must get at once: it never queues in front of writers,
// and the next turn tries again.
func (r Retention) locked(ctx context.Context, query string, result any, args ...any) error {
	err := pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
		var mine bool
		err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock('outbox_trim'::regclass::oid::int, 0)
			FROM set_config('lock_timeout', '100ms', true)`).Scan(&mine)
		if err != nil || !mine {
			return err
		}
		return tx.QueryRow(ctx, query, args...).Scan(result)
	})
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "55P03" { // lock_not_available
		r.Log.DebugContext(ctx, "table busy, partitions are left for the next turn")
		return nil
	}
	return err
}
