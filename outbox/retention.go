package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Retention makes daily partitions ahead, drops those that are past, removes single
// topics' events before that, and forgets what is only about events that are gone.
// Every node runs one; a row that is locked lets one at a time do it.
type Retention struct {
	Pool *pgxpool.Pool
	// Keep is the age at which a day's events are removed; 0 keeps them for
	// ever.
	Keep time.Duration
	// Rules are for topics whose events go earlier than that.
	Rules []RetentionRule
	// Clock says what time it is, instead of the database; for tests, and for the
	// owner of the schema only.
	Clock func() time.Time
	Log   *slog.Logger
}

// RetentionRule says when the events of a pattern's topics are removed. Where several
// select a topic the shortest counts.
type RetentionRule struct {
	// Pattern begins with a segment that is no wildcard.
	Pattern Pattern
	// Keep is the age at which they are removed, a minute at least.
	Keep time.Duration
}

const (
	// retentionTurn is how often Run looks.
	retentionTurn = time.Minute
	// busyTurns is for how many turns a lock may not be had until that is worth a
	// warning.
	busyTurns = 15
	// forEver is a century: more is more than there is.
	forEver = 100 * 365 * 24 * time.Hour
	// daysAhead is how many days after today have their partition.
	daysAhead = 3
	// sweptRows is how many rows are removed in one transaction.
	sweptRows = 5000
	// upkeepLimit is for a statement that may have to go through a day of events.
	// One on a connection that is dead without a word would else never end.
	upkeepLimit = time.Hour
)

// Run works until ctx ends and returns its cause.
func (r Retention) Run(ctx context.Context) error {
	busy := 0
	for {
		kept, err := r.turn(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			r.Log.WarnContext(ctx, "partitions not kept up", "err", err, "retry_in", retentionTurn)
		case !kept:
			busy = 0
		case busy < busyTurns:
			busy++
		default:
			busy = 0
			r.Log.WarnContext(ctx, "a transaction that stays open keeps partitions from being made or dropped", "for", busyTurns*retentionTurn)
		}
		select {
		case <-time.After(retentionTurn):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Turn does at once what there is to do, but for what is locked by others: that is
// left for the next turn.
func (r Retention) Turn(ctx context.Context) error {
	_, err := r.turn(ctx)
	return err
}

// turn tells whether something was left because it was locked.
func (r Retention) turn(ctx context.Context) (busy bool, err error) {
	var now time.Time // one for all of the turn
	if r.Clock != nil {
		now = r.Clock()
	}
	var failures []error
	// until calls the function until it finds nothing more to do. What fails keeps
	// nothing else from being done.
	until := func(what, call string, done func() bool, result any, args ...any) {
		if r.Clock != nil { // which takes the owner
			args = append(args, now)
			call = fmt.Sprintf("%s, $%d)", strings.TrimSuffix(call, ")"), len(args))
		}
		for ctx.Err() == nil {
			err := r.call(ctx, call, result, args...)
			var pg *pgconn.PgError
			switch {
			case errors.As(err, &pg) && pg.Code == pgerrLockNotAvailable:
				r.Log.DebugContext(ctx, "table busy, it is left for the next turn", "to", what)
				busy = true
				return
			case err != nil:
				failures = append(failures, fmt.Errorf("%s: %w", what, err))
				return
			case done():
				return
			}
		}
	}

	var name *string
	var n int
	if r.Keep > 0 {
		until("drop a partition", `outbox_drop($1)`, func() bool {
			if name != nil {
				r.Log.InfoContext(ctx, "past events dropped", "partition", *name, "keep", r.Keep)
			}
			return name == nil
		}, &name, r.Keep)
	}
	until("make partitions ahead", `outbox_ahead($1)`, func() bool {
		if name != nil {
			r.Log.DebugContext(ctx, "partition made", "partition", *name)
		}
		return name == nil
	}, &name, daysAhead)
	for _, rule := range r.Rules {
		swept := 0
		until("remove events of "+string(rule.Pattern), `outbox_sweep($1, $2, $3)`, func() bool {
			swept += n
			return n < sweptRows
		}, &n, rule.Pattern, rule.Keep, sweptRows)
		if swept > 0 {
			r.Log.InfoContext(ctx, "past events removed", "pattern", rule.Pattern, "events", swept, "keep", rule.Keep)
		}
	}
	// Keys are kept for as long as events are, what is remembered of removals is not.
	until("forget what is past", `outbox_forget($1)`, func() bool { return n == 0 }, &n, cmp.Or(r.Keep, forEver))
	return busy, errors.Join(failures...)
}

func (r Retention) call(ctx context.Context, call string, result any, args ...any) error {
	ctx, cancel := within(ctx, upkeepLimit)
	defer cancel()
	return r.Pool.QueryRow(ctx, "SELECT "+call, args...).Scan(result)
}

const pgerrLockNotAvailable = "55P03"
