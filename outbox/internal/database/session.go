package database

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// localKey is the key of the settings that are set in each transaction of a connection, in
// its custom data.
const localKey = "outcrier.local"

// local are settings, and their values.
type local struct{ names, values []string }

// SetLocally has each transaction on a connection set these settings: for one with a pooler
// in between, whose sessions are others' too.
func SetLocally(conn *pgx.Conn, names, values []string) {
	conn.PgConn().CustomData()[localKey] = local{names, values}
}

// InSession calls fn with a DB whose statements run under our settings: the connection
// itself, or, with a pooler in between, a transaction.
func InSession(ctx context.Context, conn *pgx.Conn, schema Schema, fn func(DB) error) error {
	if conn.PgConn().CustomData()[localKey] == nil {
		return fn(DB{conn, schema})
	}
	return InTransaction(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, schema, fn)
}

// InTransaction calls fn in a transaction under our settings.
func InTransaction(ctx context.Context, conn *pgx.Conn, options pgx.TxOptions, schema Schema, fn func(DB) error) error {
	if options.AccessMode == "" {
		options.AccessMode = pgx.ReadWrite
	}
	return pgx.BeginTxFunc(ctx, conn, options, func(tx pgx.Tx) error {
		if want, is := conn.PgConn().CustomData()[localKey].(local); is {
			if _, err := tx.Exec(ctx, setLocalSQL, want.names, want.values); err != nil {
				return fmt.Errorf("set the transaction's settings: %w", err)
			}
		}
		return fn(DB{tx, schema})
	})
}

const setLocalSQL = `
SELECT pg_catalog.set_config(($1::pg_catalog.text[])[i], ($2::pg_catalog.text[])[i], true)
FROM pg_catalog.generate_series(1, pg_catalog.cardinality($1::pg_catalog.text[])) AS i
WHERE pg_catalog.current_setting(($1::pg_catalog.text[])[i], true) OPERATOR(pg_catalog.<>) ($2::pg_catalog.text[])[i]`

// InPool is InSession on a connection of a pool.
func InPool(ctx context.Context, pool *pgxpool.Pool, schema Schema, fn func(DB) error) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return InSession(ctx, conn.Conn(), schema, fn)
}

// Within bounds a statement. Without it, a statement on a half-open connection would wait
// for ever.
func Within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, ErrSilent)
}

// madeKey is the key of the time at which a connection was made, in its custom data.
const madeKey = "outcrier.made"

// SetMade records when a connection was made.
func SetMade(conn *pgx.Conn, at time.Time) { conn.PgConn().CustomData()[madeKey] = at }

// MadeAt returns when a connection of a pool of PoolConfig was made; now for others.
func MadeAt(conn *pgx.Conn) time.Time {
	if at, ok := conn.PgConn().CustomData()[madeKey].(time.Time); ok {
		return at
	}
	return time.Now()
}
