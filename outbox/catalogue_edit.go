package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/outcrier/outcrier/outbox/internal/database"
)

// Why a change of the catalogue fails, in addition to the reasons of Refused.
var (
	// ErrTypeExists: the catalogue already has an entry with the new entry's type or code.
	ErrTypeExists = errors.New("the catalogue has an entry of this type or code already")
	// ErrTypeChanged: somebody else has changed or deleted the entry since it was
	// read.
	ErrTypeChanged = errors.New("the entry was changed or deleted meanwhile")
)

// EventTypes is the whole catalogue, by type.
func (a *Admin) EventTypes(ctx context.Context) ([]EventType, error) {
	return Catalogue{Pool: a.pool, Schema: a.Schema}.List(ctx)
}

// CreateEventType adds an entry, and returns it as it is now. Errors are those above, and
// those that Refused explains.
func (a *Admin) CreateEventType(ctx context.Context, t EventType) (EventType, error) {
	const createSQL = `
INSERT INTO outcrier.event_type (type, code, title, description, severity, action, payload_schema)
VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING updated_at`
	schema, err := t.schemaText()
	if err != nil {
		return t, err
	}
	err = a.change(ctx, func(tx database.DB) error {
		return tx.QueryRow(ctx, createSQL, t.Type, t.Code, t.Title, t.Description, t.Severity, t.Action, schema).Scan(&t.UpdatedAt)
	})
	return t, taken(err)
}

// ChangeEventType changes the entry of t.Type, if it is still as of t.UpdatedAt.
func (a *Admin) ChangeEventType(ctx context.Context, t EventType) (EventType, error) {
	const changeSQL = `
UPDATE outcrier.event_type SET code = $2, title = $3, description = $4, severity = $5, action = $6, payload_schema = $7
WHERE type = $1 AND updated_at = $8 RETURNING updated_at`
	schema, err := t.schemaText()
	if err != nil {
		return t, err
	}
	err = a.change(ctx, func(tx database.DB) error {
		return tx.QueryRow(ctx, changeSQL, t.Type, t.Code, t.Title, t.Description, t.Severity, t.Action, schema, t.UpdatedAt).Scan(&t.UpdatedAt)
	})
	return t, taken(err)
}

// DeleteEventType deletes an entry, if updatedAt is still its UpdatedAt. Events of the type
// stay, and can still be appended.
func (a *Admin) DeleteEventType(ctx context.Context, name string, updatedAt time.Time) error {
	return a.change(ctx, func(tx database.DB) error {
		tag, err := tx.Exec(ctx, `DELETE FROM outcrier.event_type WHERE type = $1 AND updated_at = $2`, name, updatedAt)
		if err == nil && tag.RowsAffected() == 0 {
			return ErrTypeChanged
		}
		return err
	})
}

// schemaText returns the schema as text, or nil for NULL. A schema that does not compile is
// an error.
func (t EventType) schemaText() (*string, error) {
	if len(t.PayloadSchema) == 0 || string(t.PayloadSchema) == "null" {
		return nil, nil
	}
	if _, err := compile(t.PayloadSchema); errors.Is(err, errUnlinked) {
		return nil, err
	} else if err != nil {
		return nil, &SchemaError{Type: t.Type, Draft: -1, Reason: err.Error()}
	}
	text := string(t.PayloadSchema)
	return &text, nil
}

func taken(err error) error {
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == "23505": // unique_violation
		return ErrTypeExists
	case errors.Is(err, pgx.ErrNoRows):
		return ErrTypeChanged
	}
	return err
}
