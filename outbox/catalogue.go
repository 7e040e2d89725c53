package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// EventType is what the catalogue says of a type of events.
type EventType struct {
	Type string `json:"type"`
	// Code is a short name for people to quote, unique; null for none.
	Code        *string `json:"code"`
	Title       string  `json:"title"`
	Description string  `json:"description"`
	// Severity is info, warning or error; info by default.
	Severity string `json:"severity"`
	// Action is what the client should do: none (the default), refresh, retry,
	// sign_in_again, contact_support, show_details, or one of the clients' own.
	Action string `json:"action"`
	// PayloadSchema is the JSON Schema that payloads must match; null for none.
	PayloadSchema json.RawMessage `json:"payload_schema"`
	// UpdatedAt is when it was last changed, by the database's clock.
	UpdatedAt time.Time `json:"updated_at"`
}

// Catalogue reads and edits the catalogue. Its methods may be called at the same
// time.
type Catalogue struct {
	Pool *pgxpool.Pool
}

// List is the whole catalogue, by type.
func (c Catalogue) List(ctx context.Context) ([]EventType, error) {
	return listTypes(ctx, c.Pool)
}

func listTypes(ctx context.Context, q interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}) ([]EventType, error) {
	rows, err := q.Query(ctx, `
		SELECT type, code, title, description, severity, action, payload_schema, updated_at
		FROM outbox_event_type ORDER BY type`)
	if err != nil {
		return nil, fmt.Errorf("read the catalogue: %w", migrated(err))
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t EventType, err error) {
		err = row.Scan(&t.Type, &t.Code, &t.Title, &t.Description, &t.Severity, &t.Action, &t.PayloadSchema, &t.UpdatedAt)
		t.UpdatedAt = t.UpdatedAt.UTC()
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the catalogue: %w", migrated(err))
	}
	return list, nil
}

// Put adds a type or replaces what is said of it; UpdatedAt is not looked at. What
// is not valid it refuses with a reason for Refused, a schema that does not
// compile among it. The next append anywhere is held to the new schema.
func (c Catalogue) Put(ctx context.Context, t EventType) error {
	var schema *string
	if len(t.PayloadSchema) > 0 && string(t.PayloadSchema) != "null" {
		if _, err := CompileSchema(t.PayloadSchema); err != nil {
			return fmt.Errorf("put type %q: %w", t.Type, &SchemaError{Type: t.Type, Draft: -1, Reason: err.Error()})
		}
		text := string(t.PayloadSchema)
		schema = &text
	}
	_, err := c.Pool.Exec(ctx, `
		INSERT INTO outbox_event_type (type, code, title, description, severity, action, payload_schema)
		VALUES ($1, $2, $3, $4, coalesce(nullif($5, ''), 'info'), coalesce(nullif($6, ''), 'none'), $7)
		ON CONFLICT (type) DO UPDATE SET
			code = excluded.code, title = excluded.title, description = excluded.description,
			severity = excluded.severity, action = excluded.action, payload_schema = excluded.payload_schema`,
		t.Type, t.Code, t.Title, t.Description, t.Severity, t.Action, schema)
	if err != nil {
		return fmt.Errorf("put type %q: %w", t.Type, err)
	}
	return nil
}

// ErrNoType is returned for a type that the catalogue does not have.
var ErrNoType = errors.New("the catalogue has no such type")

// Remove takes a type out of the catalogue. Its events stay, and more can be
// appended.
func (c Catalogue) Remove(ctx context.Context, name string) error {
	removed, err := c.Pool.Exec(ctx, `DELETE FROM outbox_event_type WHERE type = $1`, name)
	switch {
	case err != nil:
		return fmt.Errorf("remove type %q: %w", name, err)
	case removed.RowsAffected() == 0:
		return fmt.Errorf("remove type %q: %w", name, ErrNoType)
	}
	return nil
}
