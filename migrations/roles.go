package migrations

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed roles.sql
var rolesSQL string

// Roles makes the roles outbox_writer, outbox_reader and outbox_server where they
// are missing, and grants each what it may do to this outbox and no more; roles.sql
// says what that is. It may be called again. The outbox's owner calls it, who
// needs CREATEROLE only while a role is missing.
//
// What it can't mend, like rights that others have on the outbox's tables, it
// logs as warnings.
func (m Migrations) Roles(ctx context.Context) error {
	err := m.connected(ctx, func(conn *pgx.Conn) error { return grant(ctx, conn) })
	if err != nil {
		return fmt.Errorf("migrate roles: %w", explained(err))
	}
	return nil
}

// RolesSQL is what Roles would run, for somebody else to run with psql.
func (m Migrations) RolesSQL(ctx context.Context) (string, error) {
	var path string
	err := m.connected(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT current_setting('search_path')`).Scan(&path)
	})
	if err != nil {
		return "", fmt.Errorf("migrate roles: %w", err)
	}
	return "BEGIN;\nSET LOCAL search_path = " + path + ";\n\n" + rolesSQL + "\nCOMMIT;\n", nil
}

// renewRoles grants what a migration may have added, if the outbox has roles.
func (m Migrations) renewRoles(ctx context.Context) error {
	err := m.connected(ctx, func(conn *pgx.Conn) error {
		var given bool
		err := conn.QueryRow(ctx, `SELECT coalesce(bool_or(has_any_column_privilege(oid, 'outbox', 'INSERT')), false)
			FROM pg_roles WHERE rolname = 'outbox_writer'`).Scan(&given)
		if err != nil || !given {
			return err
		}
		return grant(ctx, conn)
	})
	if err != nil {
		return fmt.Errorf("migrate roles: %w", explained(err))
	}
	return nil
}

func grant(ctx context.Context, conn *pgx.Conn) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// Postgres refuses two who grant on the same object at once.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, lockID); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, rolesSQL, pgx.QueryExecModeSimpleProtocol)
		return err
	})
}

// connected calls fn with a connection that resolves names like the migrations'.
func (m Migrations) connected(ctx context.Context, fn func(*pgx.Conn) error) error {
	config, err := pgx.ParseConfig(m.URL)
	if err != nil {
		return err
	}
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		if m.Log != nil {
			level := slog.LevelDebug
			if notice.SeverityUnlocalized == "WARNING" {
				level = slog.LevelWarn
			}
			m.Log.Log(ctx, level, "postgres says", "notice", notice.Message)
		}
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := m.prepare(ctx, conn); err != nil {
		return err
	}
	return fn(conn)
}

// explained adds what Postgres hints at.
func explained(err error) error {
	var pg *pgconn.PgError
	switch {
	case !errors.As(err, &pg):
		return err
	case pg.Code == "42P01" || pg.Code == "42883":
		return fmt.Errorf("%w: run outcrier migrate up before", err)
	case pg.Hint != "":
		return fmt.Errorf("%w: %s", err, pg.Hint)
	}
	return err
}
