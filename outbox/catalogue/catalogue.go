package catalogue

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// EventType is the catalogue's entry for a type of events.
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

// Catalogue lists the catalogue, and edits it: Edit all of it, the other methods one entry in
// a transaction of the caller.
type Catalogue struct {
	Pool *pgxpool.Pool
	// Schema is where the outbox is; the default one by default.
	Schema outbox.Schema
}

// List is the whole catalogue, by type.
func (c Catalogue) List(ctx context.Context) (list []EventType, err error) {
	err = database.InPool(ctx, c.Pool, c.Schema, func(q database.DB) error {
		list, err = listTypes(ctx, q)
		return err
	})
	return list, err
}

func listTypes(ctx context.Context, q database.DB) ([]EventType, error) {
	rows, err := q.Query(ctx, `
		SELECT type, code, title, description, severity, action, payload_schema, updated_at
		FROM outcrier.event_type ORDER BY type`)
	if err != nil {
		return nil, fmt.Errorf("read the catalogue: %w", database.Migrated(err))
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t EventType, err error) {
		err = row.Scan(&t.Type, &t.Code, &t.Title, &t.Description, &t.Severity, &t.Action, &t.PayloadSchema, &t.UpdatedAt)
		t.UpdatedAt = t.UpdatedAt.UTC()
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the catalogue: %w", database.Migrated(err))
	}
	return list, nil
}
