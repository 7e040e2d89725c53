// Package migrations is the schema that Outcrier keeps in Postgres, as goose
// migrations. The SQL files are the first chapter of the code: read them in
// their order.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed 0*.sql
var files embed.FS

// versionTable keeps goose's versions apart from an application's own.
const versionTable = "outbox_goose_version"

// lockID is the advisory lock under which one node migrates while others wait;
// goose's own default would make an application's goose wait too.
const lockID = 0x6f757462 // "outb"

// DefaultPayloadLimit is the largest payload in bytes, unless the schema is
// migrated with another.
const DefaultPayloadLimit = 1 << 20

// Migrations apply the schema to one database. The zero value of each field is
// its default.
type Migrations struct {
	// URL is the Postgres connection string. The objects are made in the
	// first existing schema on that connection's search_path.
	URL string
	// PayloadLimit is the largest payload in bytes that the table takes; it
	// counts when the table is made. DefaultPayloadLimit by default.
	PayloadLimit int
	// Log gets a line for each migration applied. Nothing by default.
	Log *slog.Logger
}

// A migration locks what writers need for moments only: under such a lock it builds no
// index on the outbox, and writes none of it anew. It waits for one no longer than
// lockTimeout, since writers wait behind whoever waits for a lock, and tries again for
// as long as patience.
const (
	lockTimeout = 40 * time.Millisecond
	patience    = 2 * time.Minute
)

// Up applies what is missing. Several nodes may call it at once: one migrates,
// the others wait for it, a minute at most. Where the outbox has roles, they are
// granted what came new. Appends go on meanwhile. A transaction that appended and
// stays open keeps it waiting, and after two minutes makes it fail; what was applied
// by then stays applied.
func (m Migrations) Up(ctx context.Context) error {
	applied := 0
	err := m.patiently(ctx, func(p *goose.Provider) error {
		results, err := p.Up(ctx)
		results = partly(results, err)
		applied += len(results)
		m.logAll(ctx, "migrated up", results)
		return err
	})
	if err != nil || applied == 0 {
		return err
	}
	return m.renewRoles(ctx)
}

// Down takes everything back, events included.
func (m Migrations) Down(ctx context.Context) error {
	err := m.patiently(ctx, func(p *goose.Provider) error {
		results, err := p.DownTo(ctx, 0)
		m.logAll(ctx, "migrated down", partly(results, err))
		return err
	})
	if err != nil {
		return err
	}
	return m.dropVersions(ctx)
}

// partly is what was done, whether or not something failed then.
func partly(results []*goose.MigrationResult, err error) []*goose.MigrationResult {
	var partial *goose.PartialError
	if errors.As(err, &partial) {
		return partial.Applied
	}
	return results
}

// patiently tries again while a lock is not to be had.
func (m Migrations) patiently(ctx context.Context, fn func(*goose.Provider) error) error {
	deadline := time.Now().Add(patience)
	for {
		err := m.with(ctx, fn)
		var pg *pgconn.PgError
		switch {
		case !errors.As(err, &pg) || pg.Code != "55P03" && pg.Code != "40P01": // lock_not_available, deadlock_detected
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

// dropVersions drops goose's table, if nobody has migrated up again meanwhile.
func (m Migrations) dropVersions(ctx context.Context) error {
	err := m.connected(ctx, func(conn *pgx.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			var version int64
			err := tx.QueryRow(ctx, `SELECT max(version_id) FROM `+versionTable+`, pg_advisory_xact_lock($1)`, lockID).Scan(&version)
			if err != nil || version > 0 {
				return err
			}
			_, err = tx.Exec(ctx, `DROP TABLE `+versionTable)
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// with calls fn with a provider whose sessions resolve names in the target
// schema only: functions keep the search_path that they were made under.
func (m Migrations) with(ctx context.Context, fn func(*goose.Provider) error) error {
	config, err := pgx.ParseConfig(m.URL)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if m.PayloadLimit == 0 {
		m.PayloadLimit = DefaultPayloadLimit
	}
	config.RuntimeParams["lock_timeout"] = fmt.Sprint(lockTimeout.Milliseconds())
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(m.prepare))
	defer db.Close()
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(lockID), lock.WithLockTimeout(1, 60))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithTableName(versionTable), goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if err := fn(provider); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

func (m Migrations) prepare(ctx context.Context, conn *pgx.Conn) error {
	var schema sql.NullString
	var encoding string
	err := conn.QueryRow(ctx, `SELECT current_schema(), current_setting('server_encoding')`).Scan(&schema, &encoding)
	switch {
	case err != nil:
		return err
	case !schema.Valid:
		return errors.New("no schema on the connection's search_path exists")
	case encoding != "UTF8":
		return fmt.Errorf("the database's encoding is %s: events are UTF-8, create it with ENCODING 'UTF8'", encoding)
	}
	_, err = conn.Exec(ctx, `SELECT set_config('search_path', quote_ident($1) || ', pg_temp', false),
		set_config('outbox.payload_limit', $2, false)`, schema.String, fmt.Sprint(m.PayloadLimit))
	return err
}

func (m Migrations) logAll(ctx context.Context, what string, results []*goose.MigrationResult) {
	if m.Log == nil {
		return
	}
	for _, r := range results {
		m.Log.InfoContext(ctx, what, "file", r.Source.Path, "took", r.Duration)
	}
}
