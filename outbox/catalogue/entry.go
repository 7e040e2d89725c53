package catalogue

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/internal/plug"
)

// Why a change of the catalogue fails, in addition to the reasons of outbox.Refused.
var (
	// ErrExists: the catalogue already has an entry with the new entry's type or code.
	ErrExists = errors.New("the catalogue has an entry of this type or code already")
	// ErrChanged: somebody else has changed or deleted the entry since it was
	// read.
	ErrChanged = errors.New("the entry was changed or deleted meanwhile")
)

// Create adds an entry in the caller's transaction, and returns it as it is then. Errors are
// those above, and those that outbox.Refused explains.
func (c Catalogue) Create(ctx context.Context, tx pgx.Tx, t EventType) (EventType, error) {
	const createSQL = `
INSERT INTO outcrier.event_type (type, code, title, description, severity, action, payload_schema)
VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING updated_at`
	schema, err := t.schemaText()
	if err != nil {
		return t, err
	}
	err = tx.QueryRow(ctx, c.Schema.SQL(createSQL), t.Type, t.Code, t.Title, t.Description, t.Severity, t.Action, schema).Scan(&t.UpdatedAt)
	return t, taken(err)
}

// Change changes the entry of t.Type in the caller's transaction, if it is still as of
// t.UpdatedAt.
func (c Catalogue) Change(ctx context.Context, tx pgx.Tx, t EventType) (EventType, error) {
	const changeSQL = `
UPDATE outcrier.event_type SET code = $2, title = $3, description = $4, severity = $5, action = $6, payload_schema = $7
WHERE type = $1 AND updated_at = $8 RETURNING updated_at`
	schema, err := t.schemaText()
	if err != nil {
		return t, err
	}
	err = tx.QueryRow(ctx, c.Schema.SQL(changeSQL), t.Type, t.Code, t.Title, t.Description, t.Severity, t.Action, schema, t.UpdatedAt).Scan(&t.UpdatedAt)
	return t, taken(err)
}

// Delete deletes an entry in the caller's transaction, if updatedAt is still its UpdatedAt.
// Events of the type stay, and can still be appended.
func (c Catalogue) Delete(ctx context.Context, tx pgx.Tx, name string, updatedAt time.Time) error {
	tag, err := tx.Exec(ctx, c.Schema.SQL(`DELETE FROM outcrier.event_type WHERE type = $1 AND updated_at = $2`), name, updatedAt)
	if err == nil && tag.RowsAffected() == 0 {
		return ErrChanged
	}
	return err
}

// schemaText returns the schema as text, or nil for NULL. A schema that does not compile is
// an error.
func (t EventType) schemaText() (*string, error) {
	if len(t.PayloadSchema) == 0 || string(t.PayloadSchema) == "null" {
		return nil, nil
	}
	if _, err := plug.Compiled(t.PayloadSchema); errors.Is(err, plug.ErrUnlinked) {
		return nil, err
	} else if err != nil {
		return nil, &outbox.SchemaError{Type: t.Type, Draft: -1, Reason: err.Error()}
	}
	text := string(t.PayloadSchema)
	return &text, nil
}

func taken(err error) error {
	switch {
	case database.SQLState(err) == "23505": // unique_violation
		return ErrExists
	case errors.Is(err, pgx.ErrNoRows):
		return ErrChanged
	}
	return err
}
