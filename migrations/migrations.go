// Package migrations is the schema that Outcrier keeps in Postgres, as goose
// migrations. The SQL files are the first chapter of the code: read them in
// their order.
package migrations

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"github.com/outcrier/outcrier/outbox"
)

// DefaultPayloadLimit is the largest payload in bytes, unless the schema is
// migrated with another.
const DefaultPayloadLimit = 1 << 20

// Migrations apply the schema to one database. The zero value of each field but URL is
// its default. All methods work through a transaction pooler.
type Migrations struct {
	// URL is the Postgres connection string; one of outbox.FileURL too.
	URL string
	// Schema is where all objects but the view are made: outcrier by default. It is made
	// if it does not exist, and has to be Outcrier's own.
	Schema outbox.Schema
	// Outbox is the view that applications insert into, as "schema.name" or "name". By
	// default it is named outbox, in the first existing schema on the connection's
	// search_path. A view that exists stays where it is: the owner may move and rename it.
	Outbox string
	// PayloadLimit is the largest payload in bytes that the view takes; it counts when
	// the schema is made. DefaultPayloadLimit by default.
	PayloadLimit int
	// Log gets a line for each migration applied. Nothing by default.
	Log *slog.Logger
}

// A migration locks what writers need only for moments: under such a lock it builds no
// index on the table of events and rewrites no part of it. It waits for a lock no longer
// than lockTimeout, since writers queue up after a session that waits for a lock, and tries
// again until patience is over.
const (
	lockTimeout = 40 * time.Millisecond
	patience    = 2 * time.Minute
)

// Up applies the migrations that are missing. Several nodes may call it at once: one
// migrates, the others wait for it. Appends go on meanwhile. A transaction that appended
// and stays open keeps Up waiting, and after two minutes makes it fail; the migrations
// that were applied by then stay.
//
// Up also restores what a dump of the schema alone, or a test suite that empties all
// tables, leaves out: the rows of the version table, the catalogue's first entries, the
// view, and the rights. Where the outbox has roles, Up grants them the rights on new
// objects.
func (m Migrations) Up(ctx context.Context) error {
	if err := m.up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", explained(err))
	}
	return nil
}

func (m Migrations) up(ctx context.Context) error {
	return m.connected(ctx, func(conn *pgx.Conn) error {
		f, err := m.find(ctx, conn)
		if err == nil {
			err = m.refuse(f)
		}
		if err != nil || f.whole() {
			return err
		}
		return m.locked(ctx, func() error {
			if f, err = m.find(ctx, conn); err != nil || f.whole() {
				return err // another node was faster
			}
			if err := m.begin(ctx, conn, f); err != nil {
				return err
			}
			if f.applied < Newest() {
				if err := m.apply(ctx, f); err != nil {
					return err
				}
			}
			return m.restore(ctx, conn, f)
		})
	})
}

// lockID is the advisory lock under which one node migrates while others wait;
// goose's own default would make an application's goose wait too.
const lockID = 0x6f757462 // "outb"

// locked calls fn while no other node migrates this database. The lock belongs to a
// transaction that stays open on a connection of its own, because a transaction pooler
// keeps a session only for that long.
func (m Migrations) locked(ctx context.Context, fn func() error) error {
	return m.connected(ctx, func(conn *pgx.Conn) error {
		tx, err := conn.Begin(ctx)
		if err != nil {
			return err
		}
		defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // it changes nothing
		_, err = tx.Exec(ctx, sessionSQL+fmt.Sprintf(`SET LOCAL lock_timeout = '%ds'; SELECT pg_advisory_xact_lock(%d)`, int((patience+time.Minute).Seconds()), lockID))
		if isBusy(err) {
			return fmt.Errorf("another session has been migrating, or has held advisory lock %d, for %v: %w", lockID, patience+time.Minute, err)
		}
		if err != nil {
			return err
		}
		return fn()
	})
}

// beginSQL makes the schema, which only its owner can use whatever default privileges say,
// and the version table. %[1]s is the schema as an identifier, %[2]s as a literal. A role
// that may not CREATE in the database can migrate into a schema that somebody made for it,
// so CREATE SCHEMA must not run then.
const beginSQL = `DO $$
DECLARE
    grantee text;
BEGIN
    SELECT string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, ', ') INTO grantee
    FROM pg_namespace AS n, aclexplode(n.nspacl) AS a WHERE n.nspname = %[2]s AND a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner;
    IF grantee IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_grant_operation',
            MESSAGE = grantee || ' may create objects in schema %[1]s, where only its owner may',
            HINT = 'REVOKE CREATE ON SCHEMA %[1]s FROM ' || grantee;
    ELSIF EXISTS (SELECT FROM pg_namespace WHERE nspname = %[2]s) THEN
        RETURN;
    END IF;
    CREATE SCHEMA %[1]s;
    FOR grantee IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
        FROM pg_namespace AS n, aclexplode(n.nspacl) AS a WHERE n.nspname = %[2]s AND a.grantee <> n.nspowner
    LOOP
        EXECUTE 'REVOKE ALL ON SCHEMA %[1]s FROM ' || grantee;
    END LOOP;
END
$$;
CREATE TABLE IF NOT EXISTS %[1]s.schema_migration (
    id         integer     PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY,
    version_id bigint      NOT NULL,
    is_applied boolean     NOT NULL,
    tstamp     timestamptz NOT NULL DEFAULT now()
);
`

// identifier returns the schema's name as SQL has it.
func (m Migrations) identifier() string { return pgx.Identifier{m.schemaName()}.Sanitize() }

func (m Migrations) beginSQL() string {
	return fmt.Sprintf(beginSQL, m.identifier(), "'"+m.schemaName()+"'")
}

// begin makes the schema and the version table, with a row for each migration that is
// applied.
func (m Migrations) begin(ctx context.Context, conn *pgx.Conn, f *found) error {
	return m.patiently(ctx, func() error {
		return transaction(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, f.session()+m.beginSQL()); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `INSERT INTO `+m.identifier()+`.schema_migration (version_id, is_applied) SELECT v, true FROM unnest($1::bigint[]) AS v`, f.unrecorded())
			return err
		})
	})
}

// apply has goose apply the missing migrations.
func (m Migrations) apply(ctx context.Context, f *found) error {
	config, err := m.config()
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	kept, err := database.NewStore(database.DialectPostgres, m.identifier()+".schema_migration")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider("", db, rewritten{files, f.names}, goose.WithStore(store{kept}), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	return m.patiently(ctx, func() error {
		results, err := provider.Up(ctx)
		var partial *goose.PartialError
		if errors.As(err, &partial) {
			results = partial.Applied
		}
		for _, r := range results {
			if m.Log != nil {
				m.Log.InfoContext(ctx, "migrated up", "file", r.Source.Path, "took", r.Duration)
			}
		}
		return err
	})
}

// store is goose's, for a version table that begin has made. goose looks for a table by
// an unquoted name.
type store struct{ database.Store }

func (store) TableExists(context.Context, database.DBTxConn) (bool, error) { return true, nil }

// patiently calls fn again while it fails for a lock that others hold.
func (m Migrations) patiently(ctx context.Context, fn func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := fn()
		switch {
		case !isBusy(err):
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("%w: for %v a transaction has kept what is to be locked; pg_stat_activity shows the oldest, end it or try again later", err, patience)
		}
		if m.Log != nil {
			m.Log.DebugContext(ctx, "table busy, the migration is tried again", "err", err)
		}
		select {
		case <-time.After(lockTimeout + rand.N(200*time.Millisecond)): //nolint:gosec // to be out of step with others, not to be secret
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// isBusy reports whether err is about a lock that others hold.
func isBusy(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "55P03" || pg.Code == "40P01") // lock_not_available, deadlock_detected
}

// config returns the configuration of connections that work through a transaction pooler too:
// without settings at the start, and without prepared statements that outlive a transaction.
func (m Migrations) config() (*pgx.ConnConfig, error) {
	url, err := outbox.ResolveURL(m.URL)
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "outcrier migrate"
	}
	config.RuntimeParams["client_encoding"] = "UTF8" // a pooler keeps track of this one
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 10 * time.Second
	}
	if config.ValidateConnect == nil && len(config.Fallbacks) > 0 {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		if m.Log != nil {
			level := slog.LevelDebug
			if notice.SeverityUnlocalized == "WARNING" {
				level = slog.LevelWarn
			}
			m.Log.Log(context.Background(), level, "postgres says", "notice", notice.Message)
		}
	}
	return config, nil
}

// connected calls fn with a connection.
func (m Migrations) connected(ctx context.Context, fn func(*pgx.Conn) error) error {
	if err := m.checkNames(); err != nil {
		return err
	}
	config, err := m.config()
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return fn(conn)
}

func transaction(ctx context.Context, conn *pgx.Conn, fn func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, fn)
}

// explained adds the hint of a Postgres error.
func explained(err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Hint != "" {
		return fmt.Errorf("%w: %s", err, pg.Hint)
	}
	return err
}
