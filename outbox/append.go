package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// appendSQL sends all drafts in one round trip, one array per column, and the versions of
// the catalogue's schemas that they were validated with. It appends and returns nothing
// when the current version is another one, or when the session's encoding is not UTF-8.
//
// It runs in the caller's session: every name in it is qualified.
const appendSQL = `
SELECT outcrier.append_checked($1::pg_catalog.int8[], $2::pg_catalog.text[], $3::pg_catalog.text[], $4::pg_catalog.json[], $5::pg_catalog.text[],
	$6::pg_catalog.jsonb[], $7::pg_catalog.text[], $8::pg_catalog.timestamptz[])
WHERE pg_catalog.current_setting('client_encoding') OPERATOR(pg_catalog.=) 'UTF8'`

const schemasSQL = `
SELECT s.version, s.type, s.payload_schema, pg_catalog.current_setting('client_encoding')
FROM (SELECT 1) AS one LEFT JOIN outcrier.payload_schemas() AS s ON true`

// Append writes drafts to the outbox in the caller's transaction, in their order: they
// become events together, when and only when tx commits. It returns an id for each draft:
// the event's, or, for one with a DeliverAt in the future, that of the scheduled event; for
// one whose DedupKey is taken, that of the event that took it.
//
// A draft that can't be stored fails the call, and with it the transaction, as any failed
// statement does. Errors are Postgres's own (a *pgconn.PgError with SQLSTATE 23514 and the
// column for a draft outside the limits), wrapped. A payload that does not match the
// catalogue's schema of its type is a *SchemaError; then nothing was sent, the transaction
// still works, and the caller must not commit it.
//
// Payloads are checked by package outbox/jsonschema, which a program imports for that alone;
// without it events of a type with a schema are refused. With package outbox/opentelemetry
// the append is a child of the span that ctx has.
//
// The outbox is that of the default schema; Schema.Append is for another.
func Append(ctx context.Context, tx pgx.Tx, drafts ...Draft) ([]int64, error) {
	return DefaultSchema.Append(ctx, tx, drafts...)
}

// Append is the function Append for the outbox of the schema.
func (s Schema) Append(ctx context.Context, tx pgx.Tx, drafts ...Draft) (ids []int64, err error) {
	ctx, drafts, end := traced(ctx, drafts)
	defer func() { end(err) }()
	return appendDrafts(drafts, func(passed []int64, c *columns) ([]int64, error) {
		rows, err := tx.Query(ctx, s.SQL(appendSQL), passed, c.topics, c.types, c.payloads, c.sources, c.headers, c.keys, c.due)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, pgx.RowTo[int64])
	}, func() ([]schemaRow, error) {
		rows, err := tx.Query(ctx, s.SQL(schemasSQL))
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r schemaRow, err error) {
			return r, row.Scan(&r.version, &r.kind, &r.schema, &r.encoding)
		})
	})
}

// SQLQuerier is the part of a transaction of database/sql that AppendSQL needs. *sql.Tx
// implements it, and so do *sql.Conn, gorm's ConnPool, the field Tx of bun's transactions,
// and ent's transactions with the feature sql/execquery.
type SQLQuerier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// AppendSQL is Append for a transaction of database/sql, with any driver: parameters are
// plain strings.
func AppendSQL(ctx context.Context, tx SQLQuerier, drafts ...Draft) ([]int64, error) {
	return DefaultSchema.AppendSQL(ctx, tx, drafts...)
}

// AppendSQL is the function AppendSQL for the outbox of the schema.
func (s Schema) AppendSQL(ctx context.Context, tx SQLQuerier, drafts ...Draft) (ids []int64, err error) {
	ctx, drafts, end := traced(ctx, drafts)
	defer func() { end(err) }()
	return appendDrafts(drafts, func(passed []int64, c *columns) ([]int64, error) {
		return collect(tx, func(rows *sql.Rows) (id int64, err error) { return id, rows.Scan(&id) },
			ctx, s.SQL(appendSQL), c.literals(passed)...)
	}, func() ([]schemaRow, error) {
		return collect(tx, func(rows *sql.Rows) (r schemaRow, err error) {
			var schema []byte
			err = rows.Scan(&r.version, &r.kind, &schema, &r.encoding)
			r.schema = schema
			return r, err
		}, ctx, s.SQL(schemasSQL))
	})
}

// collect is pgx.CollectRows for database/sql.
func collect[T any](tx SQLQuerier, scan func(*sql.Rows) (T, error), ctx context.Context, query string, args ...any) ([]T, error) {
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

// schemaRow is a row of schemasSQL.
type schemaRow struct {
	version  *int64
	kind     *string
	schema   json.RawMessage
	encoding string
}

// maxChanges is how often the catalogue may change under one append.
const maxChanges = 5

// appendDrafts appends drafts that match the catalogue's schemas. Usually those are known
// and unchanged, and the append is one round trip.
func appendDrafts(drafts []Draft, store func(passed []int64, c *columns) ([]int64, error), ask func() ([]schemaRow, error)) ([]int64, error) {
	columns, err := columnsOf(drafts)
	if err != nil || len(drafts) == 0 {
		return nil, err
	}
	known := knownSchemas()
	for range maxChanges {
		passed := make([]int64, 0, len(known))
		for _, s := range known {
			if err = s.check(drafts, columns.payloads); err == nil {
				passed = append(passed, s.version)
			}
		}
		if len(passed) > 0 {
			ids, err := store(passed, columns)
			if err != nil || len(ids) > 0 {
				return ids, appendError(err, drafts)
			}
		}
		rows, asked := ask()
		if asked != nil {
			return nil, appendError(asked, drafts)
		}
		if len(rows) > 0 && rows[0].encoding != "UTF8" {
			return nil, appendError(fmt.Errorf("the session's client_encoding is %s, and Go sends UTF-8: text would be altered; SET client_encoding = UTF8", rows[0].encoding), drafts)
		}
		present := learn(rows)
		if err = present.check(drafts, columns.payloads); err != nil {
			return nil, appendError(err, drafts)
		}
		known = []*schemas{present}
	}
	return nil, appendError(errors.New("the catalogue changed during each of several attempts"), drafts)
}

// columns are drafts by column.
type columns struct {
	topics, types, payloads, sources []string
	headers, keys                    []*string
	due                              []*time.Time
}

// columnsOf turns drafts into appendSQL's arguments.
func columnsOf(drafts []Draft) (*columns, error) {
	n := len(drafts)
	c := &columns{
		topics: make([]string, n), types: make([]string, n), payloads: make([]string, n), sources: make([]string, n),
		headers: make([]*string, n), keys: make([]*string, n), due: make([]*time.Time, n),
	}
	for i, d := range drafts {
		payload, err := d.payload()
		if err != nil {
			return nil, appendError(err, drafts[i:i+1])
		}
		c.topics[i], c.types[i], c.payloads[i], c.sources[i] = d.Topic, d.Type, string(payload), d.Source
		if d.Headers != nil {
			encoded, err := Draft{Payload: d.Headers}.payload()
			if err != nil {
				return nil, appendError(err, drafts[i:i+1])
			}
			text := string(encoded)
			c.headers[i] = &text
		}
		if d.DedupKey != "" {
			c.keys[i] = &drafts[i].DedupKey
		}
		if !d.DeliverAt.IsZero() {
			c.due[i] = &drafts[i].DeliverAt
		}
	}
	return c, nil
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
