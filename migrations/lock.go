package migrations

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A migration locks what writers need only for moments: under such a lock it builds no
// index on the table of events and rewrites no part of it. It waits for a lock no longer
// than lockTimeout, since writers queue up after a session that waits for a lock, and tries
// again until patience is over.
const (
	lockTimeout = 40 * time.Millisecond
	patience    = 2 * time.Minute
)

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
