package migrations

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// liveSQL lists the nodes that have said within 30 s that they run.
const liveSQL = `
SELECT format('%s (%s s ago)', node, round(extract(epoch FROM clock_timestamp() - seen_at))) FROM outcrier.node
WHERE seen_at > clock_timestamp() - interval '30 seconds' ORDER BY node`

// sessionsSQL lists the sessions of nodes, which have this name unless their URL gives
// another, where they can't be another outbox's. Nodes without --audit say nothing in the
// table of nodes.
const sessionsSQL = `
SELECT format('pid %s', a.pid) FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.application_name = 'outcrier' AND a.pid <> pg_backend_pid()
	AND (SELECT count(*) FROM pg_proc WHERE proname = 'append_row' AND prorettype = 'trigger'::regtype) = 1
ORDER BY a.pid`

// Drop drops the view and the schema with all events. The caller names the database, so
// that a wrong URL drops nothing. It refuses while nodes run. Roles stay: they belong
// to the cluster.
func (m Migrations) Drop(ctx context.Context, database string) error {
	if err := m.drop(ctx, database); err != nil {
		return fmt.Errorf("migrate drop: %w", explained(err))
	}
	return nil
}

func (m Migrations) drop(ctx context.Context, database string) error {
	return m.connected(ctx, func(conn *pgx.Conn) error {
		f, err := m.find(ctx, conn)
		switch {
		case err != nil:
			return err
		case f.database != database:
			return fmt.Errorf("the URL leads to database %q, not to %q: nothing is dropped", f.database, database)
		case !f.exists:
			return fmt.Errorf("database %q has no schema %s", database, m.identifier())
		case f.strange != "":
			return m.refuse(f)
		}
		return m.locked(ctx, func() error {
			return m.patiently(ctx, func() error {
				return transaction(ctx, conn, func(tx pgx.Tx) error { return m.dropAll(ctx, tx, f) })
			})
		})
	})
}

func (m Migrations) dropAll(ctx context.Context, tx pgx.Tx, f *found) error {
	if _, err := tx.Exec(ctx, sessionSQL+lockTimeoutSQL); err != nil {
		return err
	}
	var nodes bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = 'node')`, m.schemaName()).Scan(&nodes); err != nil {
		return err
	}
	if nodes {
		// No node can say from here on that it runs.
		if _, err := tx.Exec(ctx, f.rewrite(`LOCK TABLE outcrier.node IN ACCESS EXCLUSIVE MODE`)); err != nil {
			return err
		}
		rows, _ := tx.Query(ctx, f.rewrite(liveSQL)) // CollectRows has the error
		live, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		if len(live) > 0 {
			return fmt.Errorf("nodes run on this outbox: %s; stop them, and wait for 30 s after one that was killed", strings.Join(live, ", "))
		}
	}
	rows, _ := tx.Query(ctx, sessionsSQL) // CollectRows has the error
	sessions, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if len(sessions) > 0 {
		return fmt.Errorf("sessions of nodes are connected: %s; stop the nodes (a pooler may keep such a session: SELECT pg_terminate_backend(pid))", strings.Join(sessions, ", "))
	}
	if f.viewThere {
		if _, err := tx.Exec(ctx, `DROP VIEW `+f.view); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, `DROP SCHEMA `+m.identifier()+` CASCADE`)
	return err
}
