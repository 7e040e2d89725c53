// Package tamarind is a small real business on its own tables, to show Outcrier: Tamarind,
// a desk that buys coffee, cocoa and spices. Submitters ask for purchases, a reviewer
// approves or rejects them, a trader executes approved ones; people sign in and get locked
// out; maintenance is announced ahead of time.
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
package tamarind

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

// Business is Tamarind. Its methods may be called at the same time, also on
// several nodes: what they agree on is in the database.
type Business struct {
	pool *pgxpool.Pool
	log  *slog.Logger
	// Heartbeat is that of the server's streams, so that a page knows when one has
	// been silent for too long; 15 s if 0.
	Heartbeat time.Duration

	people   map[string]Person // by name; who they are does not change
	sessions sessions
	recent   recent
	traffic  traffic
}

// Open migrates the tables and returns the business. Its tables are those that pool's
// connections find by their search_path, like the view outbox. The caller closes pool.
func Open(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger) (*Business, error) {
	if err := Migrate(ctx, pool); err != nil {
		return nil, err
	}
	b := &Business{pool: pool, log: log, people: map[string]Person{}}
	var people []Person
	if err := collect(ctx, pool, &people, peopleSQL); err != nil {
		return nil, err
	}
	for _, p := range people {
		b.people[p.Name] = p
	}
	if err := pool.QueryRow(ctx, `SELECT key FROM demo_session_key`).Scan(&b.sessions.key); err != nil {
		return nil, fmt.Errorf("read the key of the sessions: %w", err)
	}
	return b, nil
}

const defaultHeartbeat = 15 * time.Second

//go:embed migrations/*.sql
var migrations embed.FS

// migrationLock is the advisory lock under which one node migrates while the others wait:
// its own number, so that it does not wait for another program's goose.
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
