package catalogue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// Change is a change of one entry of the catalogue.
type Change struct {
	Type string
	// Before is nil for an entry that was added, After for one that was removed.
	Before, After *EventType
}

// EntryError says which entry of the catalogue is not valid, and why. It wraps an error
// that outbox.Refused explains, or ErrExists where another entry has its code.
type EntryError struct {
	Type, Reason string
	err          error
}

func (e *EntryError) Error() string { return fmt.Sprintf("type %q: %s", e.Type, e.Reason) }
func (e *EntryError) Unwrap() error { return e.err }

// entryError returns an EntryError if err is about the entry, and err otherwise.
func entryError(t EventType, err error) error {
	if reason, refused := outbox.Refused(err); refused {
		return &EntryError{t.Type, reason, err}
	}
	if err = taken(err); errors.Is(err, ErrExists) && t.Code != nil {
		return &EntryError{t.Type, fmt.Sprintf("another type has the code %q", *t.Code), err}
	}
	return fmt.Errorf("type %q: %w", t.Type, err)
}

// errTried rolls back the transaction of a trial run.
var errTried = errors.New("tried")

// Edit replaces the catalogue's entries by those that wanted returns, all or nothing, and
// returns the changes, by type: entries with the same content as before are not touched.
// The catalogue is locked against other changes meanwhile. wanted receives all entries, by
// type, and may return them in any order; UpdatedAt is ignored, and an empty severity or
// action is the default. With try Edit changes nothing, and fails where it would otherwise
// fail.
//
// An entry that is not valid is an EntryError. Edit needs the rights of outcrier_server, or
// of the owner.
func (c Catalogue) Edit(ctx context.Context, try bool, wanted func([]EventType) ([]EventType, error)) (changes []Change, err error) {
	conn, err := c.Pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	err = database.InTransaction(ctx, conn.Conn(), pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, c.Schema, func(tx database.DB) error {
		// This lock does not block readers.
		if _, err := tx.Exec(ctx, `LOCK TABLE outcrier.event_type IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return database.Migrated(err)
		}
		before, err := listTypes(ctx, tx)
		if err != nil {
			return err
		}
		after, err := wanted(slices.Clone(before))
		if err != nil {
			return err
		}
		if changes, err = difference(before, after); err != nil {
			return err
		}
		if err := change(ctx, tx, changes); err != nil {
			return err
		}
		if try {
			return errTried
		}
		return nil
	})
	if errors.Is(err, errTried) {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return changes, nil
}

// difference returns the changes from one catalogue to another, by type.
func difference(before, after []EventType) (changes []Change, err error) {
	byType := map[string]*EventType{}
	for i := range after {
		entry := &after[i]
		if entry.Severity == "" {
			entry.Severity = "info"
		}
		if entry.Action == "" {
			entry.Action = "none"
		}
		if entry.Code != nil && *entry.Code == "" {
			entry.Code = nil
		}
		if byType[entry.Type] != nil {
			return nil, &EntryError{Type: entry.Type, Reason: "it comes twice"}
		}
		byType[entry.Type] = entry
	}
	for i := range before {
		entry, kept := byType[before[i].Type]
		delete(byType, before[i].Type)
		c := Change{before[i].Type, &before[i], entry}
		if !kept || c.Fields() != nil {
			changes = append(changes, c)
		}
	}
	for name, entry := range byType {
		changes = append(changes, Change{name, nil, entry})
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(a.Type, b.Type) })
	return changes, nil
}

// Fields returns the JSON names of the fields that differ; none where an entry was added or
// removed.
func (c Change) Fields() (names []string) {
	if c.Before == nil || c.After == nil {
		return nil
	}
	before, after := c.Before, c.After
	for _, field := range []struct {
		name string
		same bool
	}{
		{"code", reflect.DeepEqual(before.Code, after.Code)},
		{"title", before.Title == after.Title},
		{"description", before.Description == after.Description},
		{"severity", before.Severity == after.Severity},
		{"action", before.Action == after.Action},
		{"payload_schema", reflect.DeepEqual(plain(before.PayloadSchema), plain(after.PayloadSchema))},
	} {
		if !field.same {
			names = append(names, field.name)
		}
	}
	return names
}

// plain returns the value of JSON, so that formatting makes no difference; nil for empty or
// malformed JSON.
func plain(text json.RawMessage) (value any) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if decoder.Decode(&value) != nil {
		return nil
	}
	return value
}

// change applies changes. Codes are unique, and may move from one entry to another: so
// codes are removed before others are set.
func change(ctx context.Context, tx database.DB, changes []Change) error {
	const (
		removeSQL = `DELETE FROM outcrier.event_type WHERE type = $1`
		uncodeSQL = `UPDATE outcrier.event_type SET code = NULL WHERE type = $1`
		putSQL    = `
INSERT INTO outcrier.event_type (type, code, title, description, severity, action, payload_schema)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (type) DO UPDATE SET
	code = excluded.code, title = excluded.title, description = excluded.description,
	severity = excluded.severity, action = excluded.action, payload_schema = excluded.payload_schema`
	)
	for _, c := range changes {
		var err error
		switch {
		case c.After == nil:
			_, err = tx.Exec(ctx, removeSQL, c.Type)
		case c.Before != nil && !reflect.DeepEqual(c.Before.Code, c.After.Code):
			_, err = tx.Exec(ctx, uncodeSQL, c.Type)
		}
		if err != nil {
			return fmt.Errorf("type %q: %w", c.Type, err)
		}
	}
	for _, c := range changes {
		if c.After == nil {
			continue
		}
		schema, err := c.After.schemaText()
		if err == nil {
			t := c.After
			_, err = tx.Exec(ctx, putSQL, t.Type, t.Code, t.Title, t.Description, t.Severity, t.Action, schema)
		}
		if err != nil {
			return entryError(*c.After, err)
		}
	}
	return nil
}
