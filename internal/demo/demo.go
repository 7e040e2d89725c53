// Package demo is a small real business on its own tables, to show Outcrier:
// Tamarind, a desk that buys coffee, cocoa and spices. Submitters ask for
// purchases, a reviewer approves or rejects them, a trader executes what was
// approved; people sign in and get locked out; maintenance is announced ahead
// of time.
//
// Each function that changes something runs one transaction, and appends to
// the outbox in it what everyone concerned must learn:
//
//	what            types                                    topics
//	submit          audit.submitted                          user/<submitter>, reviewers
//	approve         audit.approved                           user/<submitter>, reviewers, traders
//	reject          audit.rejected                           user/<submitter>, reviewers
//	trade           trade.executed                           user/<submitter>, trades/<symbol>
//	                info.updated                             public/prices
//	sign in or out  user.logged_in, user.logged_out,         user/<name>
//	                user.login_failed
//	lock, unlock    account.locked, account.unlocked         user/<name>, reviewers
//	ask for help    support.requested                        user/<name>, reviewers
//	sync prices     data.synced                              public/market
//	maintenance     system.maintenance                       public/announcements
//	trade during it client.error                             user/<trader>
package demo

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// Demo is the business. Its methods may be called at the same time, also on
// several nodes: what they agree on is in the database.
type Demo struct {
	pool *pgxpool.Pool
	log  *slog.Logger
	// Heartbeat is that of the server's streams, so that a page knows when one has
	// been silent for too long; 15 s if 0.
	Heartbeat time.Duration
}

// New returns the business on the tables that pool's connections find by their
// search_path, beside the view outbox. Migrate comes first. The caller
// closes pool.
func New(pool *pgxpool.Pool, log *slog.Logger) *Demo {
	return &Demo{pool: pool, log: log}
}

const defaultHeartbeat = 15 * time.Second

//go:embed migrations/*.sql
var migrations embed.FS

// migrationLock is the advisory lock under which one node migrates while the
// others wait: its own number, so that it waits for nobody else's goose.
const migrationLock = 0x64656d6f // "demo"

// Migrate brings the demo's tables up to date, and describes its types in the
// outbox's catalogue where there is one. Versions are kept in
// demo_goose_version; the outbox must have been migrated before the first event,
// not before this.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error {
	sql, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("open demo migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(migrationLock), lock.WithLockTimeout(1, 60))
	if err != nil {
		return fmt.Errorf("make migration lock: %w", err)
	}
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, sql,
		goose.WithTableName("demo_goose_version"),
		goose.WithSessionLocker(locker),
		goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read demo migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate demo: %w", err)
	}
	return describe(ctx, pool)
}
