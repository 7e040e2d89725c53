package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// floor is the least work to learn of a row: a bare LISTEN, and one fetch by the id that
// the notification carries. No positions, no streams, no HTTP; rows that it misses while it
// is not connected are lost.
type floor struct {
	conn  *pgx.Conn
	fetch string
	ended chan error
	stop  context.CancelFunc
}

// row is what a floor fetches.
type row struct {
	id          int64
	topic, kind string
	payload     []byte
	createdAt   time.Time
}

// newFloor listens to the notifying table of a scratch schema, and passes on the rows that
// it fetches, if there is a receiver.
func newFloor(ctx context.Context, database, schema string, fetched func(row) error) (*floor, error) {
	conn, err := connect(ctx, database)
	if err != nil {
		return nil, err
	}
	schema = pgx.Identifier{schema}.Sanitize()
	f := &floor{
		conn: conn, fetch: `SELECT id, topic, type, payload, created_at FROM ` + schema + `.notifying WHERE id = $1`, ended: make(chan error, 1),
	}
	if _, err := conn.Exec(ctx, `LISTEN `+schema); err != nil {
		_ = conn.Close(ctx)
		return nil, fmt.Errorf("listen: %w", err)
	}
	listening, stop := context.WithCancel(ctx)
	f.stop = stop
	go func() { f.ended <- f.listen(listening, fetched) }()
	return f, nil
}

func (f *floor) listen(ctx context.Context, fetched func(row) error) error {
	for {
		notification, err := f.conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		if fetched == nil {
			continue
		}
		id, err := strconv.ParseInt(notification.Payload, 10, 64)
		if err != nil {
			return err
		}
		var r row
		if err := f.conn.QueryRow(ctx, f.fetch, id).Scan(&r.id, &r.topic, &r.kind, &r.payload, &r.createdAt); err != nil {
			return err
		}
		if err := fetched(r); err != nil {
			return fmt.Errorf("row %d: %w", id, err)
		}
	}
}

// close stops listening, and tells why it had stopped by itself.
func (f *floor) close(ctx context.Context) error {
	f.stop()
	err := <-f.ended
	_ = f.conn.Close(context.WithoutCancel(ctx))
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("hear of rows by NOTIFY: %w", err)
}
