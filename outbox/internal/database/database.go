// Package database runs the statements of package outbox and of those beneath it: on a
// connection, on one of a pool, or in a transaction, and each under the settings that our
// statements need, also where a pooler is in between. It explains what goes wrong there.
//
// How a connection is made is in package outbox (Connect, PoolConfig). An application that
// appends needs none of this, but builds it: so it imports pgx alone.
package database

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Querier runs statements: a connection, a pool or a transaction.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Schema is an outbox.Schema: it rewrites a query that is written for the default schema.
type Schema interface {
	SQL(query string) string
}

// DB runs statements on the outbox of a schema.
type DB struct {
	Querier Querier
	Schema  Schema
}

// Exec runs a statement without rows.
func (d DB) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return d.Querier.Exec(ctx, d.Schema.SQL(sql), args...)
}

// Query runs a statement with rows, which the caller closes.
func (d DB) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return d.Querier.Query(ctx, d.Schema.SQL(sql), args...)
}

// QueryRow runs a statement with one row.
func (d DB) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return d.Querier.QueryRow(ctx, d.Schema.SQL(sql), args...)
}

// Tx is the transaction that d runs statements in. d must be of InTransaction.
func (d DB) Tx() pgx.Tx { return d.Querier.(pgx.Tx) }

// Savepoint calls fn in a savepoint of the transaction.
func (d DB) Savepoint(ctx context.Context, fn func(DB) error) error {
	return pgx.BeginFunc(ctx, d.Tx(), func(tx pgx.Tx) error { return fn(DB{tx, d.Schema}) })
}
