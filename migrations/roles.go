package migrations

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

//go:embed roles.sql
var rolesSQL string

// Roles makes the roles outcrier_writer, outcrier_reader, outcrier_server, outcrier_operator,
// outcrier_eraser and outcrier_two_phase where they are missing, and grants each only the
// rights that it needs in this outbox; roles.sql has the list. It may be called again. The
// outbox's owner calls it, who needs CREATEROLE only while a role is missing.
//
// Faults that it can't remove, like rights that other roles have on the outbox's tables, it
// logs as warnings.
func (m Migrations) Roles(ctx context.Context) error {
	err := m.connected(ctx, func(conn *pgx.Conn) error {
		f, err := m.migrated(ctx, conn)
		if err != nil {
			return err
		}
		return transaction(ctx, conn, func(tx pgx.Tx) error { return m.grant(ctx, tx, f) })
	})
	if err != nil {
		return fmt.Errorf("migrate roles: %w", explained(err))
	}
	return nil
}

// RolesSQL returns what Roles runs, for somebody else to run with psql.
func (m Migrations) RolesSQL(ctx context.Context) (string, error) {
	var text string
	err := m.connected(ctx, func(conn *pgx.Conn) error {
		f, err := m.migrated(ctx, conn)
		if err == nil {
			text = "BEGIN;\n" + sessionSQL + "\n" + f.rewrite(revokeRightsSQL()+"\n"+rolesSQL) + "\nCOMMIT;\n"
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("migrate roles: %w", explained(err))
	}
	return text, nil
}

// migrated is like find. It fails unless all migrations are applied.
func (m Migrations) migrated(ctx context.Context, conn *pgx.Conn) (*found, error) {
	f, err := m.find(ctx, conn)
	switch {
	case err != nil:
		return nil, err
	case f.strange != "" || f.creators != "":
		return nil, m.refuse(f)
	case f.applied < Newest() || !f.viewThere:
		return nil, errors.New("the schema is not migrated: run outcrier migrate up before")
	}
	return f, nil
}

func (m Migrations) grant(ctx context.Context, tx pgx.Tx, f *found) error {
	// Postgres refuses two sessions that grant on the same object at once.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, lockID+1); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, sessionSQL+f.rewrite(revokeRightsSQL()+"\n"+rolesSQL))
	return err
}
