package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// appendSQL hands all drafts over in one round trip, a column an array.
const appendSQL = `SELECT outbox_append_all($1::text[], $2::text[], $3::json[], $4::text[], $5::jsonb[], $6::text[], $7::timestamptz[])`

// Append writes drafts to the outbox in the caller's transaction, in the order
// given: they become events together, when and only when tx commits. It
// returns an id for each draft: the event's, or, for one with a DeliverAt in
// the future, that of its row in outbox_scheduled.
//
// A draft that can't be stored fails the call, and with it the transaction, as
// any failed statement does. Errors are Postgres's own (a *pgconn.PgError with
// SQLSTATE 23514 and the name of the constraint for a draft outside the
// limits), wrapped.
//
// Where ctx has a span of OpenTelemetry, the append is a child of it, and drafts that
// have no header traceparent get its.
//
// The functions are found by the connection's search_path.
func Append(ctx context.Context, tx pgx.Tx, drafts ...Draft) (ids []int64, err error) {
	ctx, drafts, end := traced(ctx, drafts)
	defer func() { end(err) }()
	columns, err := columnsOf(drafts)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, appendSQL, columns...)
	if err != nil {
		return nil, appendError(err, drafts)
	}
	if ids, err = pgx.CollectRows(rows, pgx.RowTo[int64]); err != nil {
		return nil, appendError(err, drafts)
	}
	return ids, nil
}

// AppendSQL is Append for a transaction of database/sql, opened with pgx's
// stdlib driver.
func AppendSQL(ctx context.Context, tx *sql.Tx, drafts ...Draft) (ids []int64, err error) {
	ctx, drafts, end := traced(ctx, drafts)
	defer func() { end(err) }()
	columns, err := columnsOf(drafts)
	if err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, appendSQL, columns...)
	if err != nil {
		return nil, appendError(err, drafts)
	}
	defer rows.Close()
	ids = make([]int64, 0, len(drafts))
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, appendError(err, drafts)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		return nil, appendError(err, drafts)
	}
	return ids, nil
}

// columnsOf turns drafts into appendSQL's arguments.
func columnsOf(drafts []Draft) ([]any, error) {
	n := len(drafts)
	topics, types, sources := make([]string, n), make([]string, n), make([]string, n)
	payloads, headers, keys := make([]string, n), make([]*string, n), make([]*string, n)
	due := make([]*time.Time, n)
	for i, d := range drafts {
		payload, err := d.payload()
		if err != nil {
			return nil, appendError(err, drafts[i:i+1])
		}
		topics[i], types[i], payloads[i], sources[i] = d.Topic, d.Type, string(payload), d.Source
		if d.Source == "" {
			sources[i] = "/"
		}
		if d.Headers != nil {
			encoded, err := Draft{Payload: d.Headers}.payload()
			if err != nil {
				return nil, appendError(err, drafts[i:i+1])
			}
			text := string(encoded)
			headers[i] = &text
		}
		if d.DedupKey != "" {
			keys[i] = &drafts[i].DedupKey
		}
		if !d.DeliverAt.IsZero() {
			due[i] = &drafts[i].DeliverAt
		}
	}
	columns := []any{topics, types, payloads, sources, headers, keys, due}
	return columns, nil
}

func appendError(err error, drafts []Draft) error {
	if len(drafts) == 1 {
		return fmt.Errorf("append event on topic %q: %w", drafts[0].Topic, err)
	}
	return fmt.Errorf("append %d events: %w", len(drafts), err)
}
