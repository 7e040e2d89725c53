package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// appendSQL hands all drafts over in one round trip, a column an array, and with
// them the versions of the catalogue's schemas by which they passed. It appends
// nothing and returns nothing when the present version is another one.
const appendSQL = `SELECT outbox_append_checked($1::bigint[], $2::text[], $3::text[], $4::json[], $5::text[], $6::jsonb[], $7::text[], $8::timestamptz[])`

const schemasSQL = `SELECT version, type, payload_schema FROM outbox_schemas()`

// Append writes drafts to the outbox in the caller's transaction, in the order
// given: they become events together, when and only when tx commits. It
// returns an id for each draft: the event's, or, for one with a DeliverAt in
// the future, that of its row in outbox_scheduled; for one whose DedupKey is
// taken, that of the one that took it.
//
// A draft that can't be stored fails the call, and with it the transaction, as
// any failed statement does. Errors are Postgres's own (a *pgconn.PgError with
// SQLSTATE 23514 and the name of the constraint for a draft outside the
// limits), wrapped. A payload that does not match the catalogue's schema of its
// type is a *SchemaError; then nothing was sent, and it is for the caller not to
// commit.
//
// Where ctx has a span of OpenTelemetry, the append is a child of it, and drafts that
// have no header traceparent get its.
//
// The functions are found by the connection's search_path.
func Append(ctx context.Context, tx pgx.Tx, drafts ...Draft) (ids []int64, err error) {
	ctx, drafts, end := traced(ctx, drafts)
	defer func() { end(err) }()
	return appendDrafts(drafts, func(columns ...any) ([]int64, error) {
		rows, err := tx.Query(ctx, appendSQL, columns...)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, pgx.RowTo[int64])
	}, func() ([]schemaRow, error) {
		rows, err := tx.Query(ctx, schemasSQL)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r schemaRow, err error) {
			return r, row.Scan(&r.version, &r.kind, &r.schema)
		})
	})
}

// AppendSQL is Append for a transaction of database/sql, opened with pgx's
// stdlib driver.
func AppendSQL(ctx context.Context, tx *sql.Tx, drafts ...Draft) (ids []int64, err error) {
	ctx, drafts, end := traced(ctx, drafts)
	defer func() { end(err) }()
	return appendDrafts(drafts, func(columns ...any) ([]int64, error) {
		return collect(tx, func(rows *sql.Rows) (id int64, err error) { return id, rows.Scan(&id) }, ctx, appendSQL, columns...)
	}, func() ([]schemaRow, error) {
		return collect(tx, func(rows *sql.Rows) (r schemaRow, err error) {
			var schema []byte
			err = rows.Scan(&r.version, &r.kind, &schema)
			r.schema = schema
			return r, err
		}, ctx, schemasSQL)
	})
}

// collect is pgx.CollectRows for database/sql.
func collect[T any](tx *sql.Tx, scan func(*sql.Rows) (T, error), ctx context.Context, query string, args ...any) ([]T, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		value, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	return list, rows.Err()
}

// maxChanges is how often the catalogue may change under one append.
const maxChanges = 5

// appendDrafts appends what passes the catalogue's schemas. As a rule those are
// known and unchanged, and it is one round trip.
func appendDrafts(drafts []Draft, store func(columns ...any) ([]int64, error), ask func() ([]schemaRow, error)) ([]int64, error) {
	columns, err := columnsOf(drafts)
	if err != nil || len(drafts) == 0 {
		return nil, err
	}
	payloads, _ := columns[2].([]string)
	known := knownSchemas()
	for range maxChanges {
		passed := make([]int64, 0, len(known))
		for _, s := range known {
			if err = s.check(drafts, payloads); err == nil {
				passed = append(passed, s.version)
			}
		}
		if len(passed) > 0 {
			ids, err := store(append([]any{passed}, columns...)...)
			if err != nil || len(ids) > 0 {
				return ids, appendError(err, drafts)
			}
		}
		rows, asked := ask()
		if asked != nil {
			return nil, appendError(asked, drafts)
		}
		present := learn(rows)
		if err = present.check(drafts, payloads); err != nil {
			return nil, appendError(err, drafts)
		}
		known = []*schemas{present}
	}
	return nil, appendError(errors.New("the catalogue changes all the time"), drafts)
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
	if err == nil {
		return nil
	}
	if len(drafts) == 1 {
		return fmt.Errorf("append event on topic %q: %w", drafts[0].Topic, err)
	}
	return fmt.Errorf("append %d events: %w", len(drafts), err)
}
