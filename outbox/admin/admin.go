package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// Admin answers the questions of people who run an outbox (which events there were, who
// received them, which transactions and streams are open, which events are scheduled), and
// carries out their decisions. It may be used by many goroutines at the same time; few of
// them use the database at once, so that streams and appends never wait for a search.
type Admin struct {
	// Schema is where the outbox is; the default one by default.
	Schema outbox.Schema

	// pool is made with outbox.PoolConfig.
	pool *pgxpool.Pool
	// turns has a token for each call that may use the database at once.
	turns chan struct{}
	// searchTime is about how long a page of a search may take.
	searchTime time.Duration
}

// New makes an Admin that takes up to two of the pool's connections.
func New(pool *pgxpool.Pool) *Admin {
	return &Admin{pool: pool, turns: make(chan struct{}, 2), searchTime: time.Second}
}

// ErrTooSlow is returned when a query took longer than its limit.
var ErrTooSlow = errors.New("the database did not answer in time")

// statementLimit is how long one statement may take.
const statementLimit = 2 * time.Second

// settingsSQL undoes the settings of outbox.PoolConfig for the reads of streams: an admin's
// query runs once, and its plan depends on its parameters.
const settingsSQL = `
SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', '500ms', true),
	set_config('plan_cache_mode', 'force_custom_plan', true),
	set_config('enable_seqscan', 'on', true), set_config('enable_bitmapscan', 'on', true)`

// within calls fn in a transaction, once a token of turns is free.
func (a *Admin) within(ctx context.Context, options pgx.TxOptions, fn func(database.DB) error) error {
	select {
	case a.turns <- struct{}{}:
		defer func() { <-a.turns }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	conn, err := a.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	err = database.InTransaction(ctx, conn.Conn(), options, a.Schema, func(tx database.DB) error {
		if _, err := tx.Exec(ctx, settingsSQL, fmt.Sprint(statementLimit.Milliseconds())); err != nil {
			return err
		}
		return fn(tx)
	})
	if timedOut(err) {
		return ErrTooSlow
	}
	return database.Migrated(err)
}

// read calls fn with one snapshot.
func (a *Admin) read(ctx context.Context, fn func(database.DB) error) error {
	return a.within(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly, IsoLevel: pgx.RepeatableRead}, fn)
}

// change calls fn in a transaction that it commits.
func (a *Admin) change(ctx context.Context, fn func(database.DB) error) error {
	return a.within(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, fn)
}

// readAll reads the rows of one statement, by the order of their columns.
func readAll[T any](ctx context.Context, a *Admin, query string, args ...any) (list []T, err error) {
	err = a.read(ctx, func(tx database.DB) error {
		list, err = rowsOf[T](ctx, tx, query, args...)
		return err
	})
	return list, err
}

// rowsOf never returns nil without an error, so that it is an array in JSON.
func rowsOf[T any](ctx context.Context, tx database.DB, query string, args ...any) ([]T, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}

// timedOut reports whether Postgres gave up on a statement.
func timedOut(err error) bool {
	state := database.SQLState(err)
	return state == "57014" || state == "55P03" // query_canceled, lock_not_available
}
