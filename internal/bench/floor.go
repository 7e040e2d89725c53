package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// floor is the least that has to be done to hear of a row: a bare LISTEN, and one
// fetch by the id that the notification carries. No positions, no streams, no HTTP;
// what is missed while it is not connected is lost.
type floor struct {
	conn  *pgx.Conn
	fetch string
	ended chan error
	stop  context.CancelFunc
}

// newFloor listens to the notifying table of the scratch schema, and hands on the
// payloads that it fetches, unless to nobody.
func (b *bench) newFloor(ctx context.Context, fetched func(payload []byte) error) (*floor, error) {
	conn, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	f := &floor{conn: conn, fetch: `SELECT payload FROM ` + b.schema() + `.notifying WHERE id = $1`, ended: make(chan error, 1)}
	if _, err := conn.Exec(ctx, `LISTEN `+b.schema()); err != nil {
		_ = conn.Close(ctx)
		return nil, fmt.Errorf("listen: %w", err)
	}
	listening, stop := context.WithCancel(ctx)
	f.stop = stop
	go func() { f.ended <- f.listen(listening, fetched) }()
	return f, nil
}

func (f *floor) listen(ctx context.Context, fetched func(payload []byte) error) error {
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
		var payload []byte
		if err := f.conn.QueryRow(ctx, f.fetch, id).Scan(&payload); err != nil {
			return err
		}
		if err := fetched(payload); err != nil {
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
