package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// writer appends events on one topic, numbered from 1. One goroutine at a time uses
// it.
type writer struct {
	conn  *pgx.Conn
	table string
	topic string
	size  int // of a payload, in bytes
	// number is that of the last event.
	number int64
}

// connect opens a session of the bench's.
func (b *bench) connect(ctx context.Context) (*pgx.Conn, error) {
	return connect(ctx, b.target.database)
}

func connect(ctx context.Context, database string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(database)
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["application_name"] = "outcrier bench"
	return pgx.ConnectConfig(ctx, config)
}

// newWriter is a writer with a connection of its own; the caller closes it.
func (b *bench) newWriter(ctx context.Context, table, topic string) (*writer, error) {
	conn, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	return &writer{conn: conn, table: table, topic: topic, size: b.Payload}, nil
}

const appendSQL = ` (topic, type, payload)
SELECT $1::text, '` + eventType + `', p::json FROM unnest($2::text[]) WITH ORDINALITY AS u(p, n) ORDER BY n`

// append appends n events in one transaction.
func (w *writer) append(ctx context.Context, n int) error {
	payloads := make([]string, n)
	for i := range payloads {
		w.number++
		payloads[i] = mark{number: w.number, sent: time.Since(began)}.payload(w.size)
	}
	if _, err := w.conn.Exec(ctx, `INSERT INTO `+w.table+appendSQL, w.topic, payloads); err != nil {
		return fmt.Errorf("append %d events: %w", n, err)
	}
	return nil
}

func (w *writer) close(ctx context.Context) { _ = w.conn.Close(context.WithoutCancel(ctx)) }
