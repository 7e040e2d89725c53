package upkeep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/internal/outage"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// Retention makes partitions ahead, drops expired ones, removes the events of topics
// with retention rules earlier, and removes records about events that are gone. It
// chains the audit, a day at a time, and removes records past the audit's own
// retention. Every node runs one; a row lock lets one of them work at a time.
type Retention struct {
	Pool *pgxpool.Pool
	// Schema is where the outbox is; the default one by default.
	Schema outbox.Schema
	// Keep is the age at which events are removed, a partition at a time; 0 keeps them for
	// ever. The longer it is, the more days one partition has, so that there are never more
	// than about forty.
	Keep time.Duration
	// Rules are for topics whose events are removed earlier than that.
	Rules []Rule
	// AuditKeep is the age at which whole days of the audit are removed, a week at least;
	// 0 keeps them for as long as the oldest event.
	AuditKeep time.Duration
	// Log gets removals and failures. Nothing by default.
	Log *slog.Logger
}

// Rule says when the events of a pattern's topics are removed. Where several
// select a topic the shortest age counts.
type Rule struct {
	// Pattern begins with a segment that is no wildcard.
	Pattern outbox.Pattern
	// Keep is the age at which they are removed, at least a minute.
	Keep time.Duration
}

const (
	// retentionTurn is the time between two turns of Run. After a failure the next one comes
	// sooner.
	retentionTurn = time.Minute
	// busyTurns is after how many consecutive turns without the lock Run logs a warning.
	busyTurns = 15
	// forEver stands for keeping everything: a century.
	forEver = 100 * 365 * 24 * time.Hour
	// removedRows is how many rows are removed in one transaction.
	removedRows = 5000
	// upkeepLimit is for a statement that may have to go through a partition of events.
	// Without it a statement on a half-open connection would hang for ever.
	upkeepLimit = time.Hour
)

// Run works until ctx ends and returns its cause.
func (r Retention) Run(ctx context.Context) error {
	r.Log = cmp.Or(r.Log, slog.New(slog.DiscardHandler))
	var failing outage.Outage
	retry := database.Retry{First: time.Second, Longest: retentionTurn}
	busy := 0
	for {
		locked, err := r.turn(ctx)
		pause := retentionTurn
		switch {
		case err != nil:
			pause = retry.Next()
			if ctx.Err() == nil && failing.Fails(database.Cause(err)) {
				r.Log.WarnContext(ctx, "partitions not maintained", "err", database.OneLine(err), "retry_in", pause)
			}
		case !locked:
			busy = 0
		case busy < busyTurns:
			busy++
		default:
			busy = 0
			r.Log.WarnContext(ctx, "an open transaction keeps partitions from being made or dropped", "for", busyTurns*retentionTurn)
		}
		if err == nil {
			retry.Reset()
			if failures, lasted := failing.Ends(); failures > 0 {
				r.Log.InfoContext(ctx, "partitions are maintained again", "after", lasted, "failures", failures)
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Turn does all work that is due, except on what others have locked: that is left for the
// next turn.
func (r Retention) Turn(ctx context.Context) error {
	r.Log = cmp.Or(r.Log, slog.New(slog.DiscardHandler))
	_, err := r.turn(ctx)
	return err
}

// turn reports whether something was left because it was locked.
func (r Retention) turn(ctx context.Context) (locked bool, err error) {
	var failures []error
	// until calls a function until it finds nothing more to do. A failure does not prevent
	// the other work.
	until := func(what, call string, done func() bool, result any, args ...any) {
		for ctx.Err() == nil {
			err := r.call(ctx, call, result, args...)
			switch {
			case database.SQLState(err) == "55P03": // lock_not_available
				r.Log.DebugContext(ctx, "table busy, it is left for the next turn", "to", what)
				locked = true
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
		until("drop a partition", `SELECT outcrier.drop_partition($1)`, func() bool {
			if name != nil {
				r.Log.InfoContext(ctx, "past events dropped", "partition", *name, "retention", r.Keep)
			}
			return name == nil
		}, &name, r.Keep)
	}
	until("add a partition", `SELECT outcrier.add_partition($1)`, func() bool {
		if name != nil {
			r.Log.DebugContext(ctx, "partition added", "partition", *name)
		}
		return name == nil
	}, &name, r.Keep)
	for _, rule := range r.Rules {
		removed := 0
		until("remove events of "+string(rule.Pattern), `SELECT outcrier.delete_expired($1, $2, $3)`, func() bool {
			removed += n
			return n < removedRows
		}, &n, rule.Pattern, rule.Keep, removedRows)
		if removed > 0 {
			r.Log.InfoContext(ctx, "past events removed", "pattern", rule.Pattern, "events", removed, "retention", rule.Keep)
		}
	}
	// Dedup keys are kept for as long as events are, records of removals are not.
	until("purge what is past", `SELECT outcrier.purge_records($1)`, func() bool { return n == 0 }, &n, cmp.Or(r.Keep, forEver))
	until("chain the audit", `SELECT outcrier.link_audit_days()`, func() bool { return n == 0 }, &n)
	until("purge the audit", `SELECT outcrier.purge_audit($1)`, func() bool { return n == 0 }, &n, r.AuditKeep)
	return locked, errors.Join(failures...)
}

func (r Retention) call(ctx context.Context, call string, result any, args ...any) error {
	ctx, cancel := database.Within(ctx, upkeepLimit)
	defer cancel()
	return database.InPool(ctx, r.Pool, r.Schema, func(q database.DB) error {
		return q.QueryRow(ctx, call, args...).Scan(result)
	})
}
