package tail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/internal/table"
	"github.com/outcrier/outcrier/outbox/position"
)

// settleLimit is for a database that was restored: all its rows are rewritten once.
const settleLimit = time.Hour

// begin resumes from the tail's position, if the database still has that, and starts at the
// end of the table otherwise.
func (t *Tail) begin(ctx context.Context, conn *pgx.Conn) error {
	history, err := t.settle(ctx, conn)
	if err != nil {
		return err
	}
	t.keysRead = time.Time{}
	if err := t.readKeys(ctx, conn); err != nil {
		return err
	}
	ctx, cancel := database.Within(ctx, t.Silence)
	defer cancel()
	return database.InSession(ctx, conn, t.Schema, func(q database.DB) error {
		if err := refuseRowSecurity(ctx, q); err != nil {
			return err
		}
		reason := position.OtherHistory
		if t.continuing && t.position.History == history {
			if _, reason, err = table.Verify(ctx, q, t.position, nil); err != nil {
				return err
			}
		}
		t.continuing = t.continuing && reason == ""
		if t.continuing {
			return nil
		}
		t.warnCache(ctx, q)
		at, err := table.Here(ctx, q, history)
		if err != nil {
			return err
		}
		t.Log.InfoContext(ctx, "tail starts", "position", at)
		t.position, t.continuing, t.failed = at, true, false
		t.Start(at)
		return nil
	})
}

// settle returns the present history. If there are rows from another cluster it settles
// them first, in several transactions.
func (t *Tail) settle(ctx context.Context, conn *pgx.Conn) (uint32, error) {
	ctx, cancel := database.Within(ctx, settleLimit)
	defer cancel()
	for first := true; ; first = false {
		var history *int64
		err := database.InSession(ctx, conn, t.Schema, func(q database.DB) error {
			return q.QueryRow(ctx, `SELECT outcrier.settle()`).Scan(&history)
		})
		switch {
		case err != nil:
			return 0, fmt.Errorf("settle the history: %w", err)
		case history != nil:
			return uint32(*history), nil
		case first:
			t.Log.InfoContext(ctx, "events of another cluster are settled before the tail starts")
		}
	}
}

// keysEvery is how old the keys of a tail may get. A new one is used ten minutes after it
// was made.
const keysEvery = 20 * time.Second

// readKeys reads the keys of positions, if they are older than keysEvery.
func (t *Tail) readKeys(ctx context.Context, conn *pgx.Conn) error {
	if t.Keys == nil || time.Since(t.keysRead) < cmp.Or(t.keysEvery, keysEvery) {
		return nil
	}
	ctx, cancel := database.Within(ctx, t.Silence)
	defer cancel()
	if err := database.InSession(ctx, conn, t.Schema, func(q database.DB) error { return t.Keys.Read(ctx, q.Querier, q.Schema) }); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	t.keysRead = time.Now()
	return nil
}

// rowSecuritySQL lists the tables of which policies may hide rows from this role. Of
// partitions only those of the parent count.
const rowSecuritySQL = `
SELECT string_agg(format('%I.%I', n.nspname, c.relname), ', ' ORDER BY c.relname), current_user::text
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.oid = (SELECT e.relnamespace FROM pg_class AS e WHERE e.oid = 'outcrier.event'::regclass)
	AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND row_security_active(c.oid)`

// refuseRowSecurity returns an error if row security would make reads fail or hide rows.
func refuseRowSecurity(ctx context.Context, q database.DB) error {
	var tables *string
	var role string
	if err := q.QueryRow(ctx, rowSecuritySQL).Scan(&tables, &role); err != nil {
		return fmt.Errorf("look for row level security: %w", err)
	}
	if tables != nil {
		return fmt.Errorf("row level security is on for table %s and applies to role %s: events would be missing; ALTER TABLE … DISABLE ROW LEVEL SECURITY, as the owner", *tables, role)
	}
	return nil
}

// Recheck makes the tail check at once whether the database still has the commits that it
// has read, and start afresh if not. It may be called from any goroutine, at any time.
func (t *Tail) Recheck() {
	t.suspect.Store(true)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wake != nil {
		t.wake()
	}
}

// recheckEvery is the shortest time between two such checks.
const recheckEvery = 100 * time.Millisecond

func (t *Tail) recheck(ctx context.Context, conn *pgx.Conn) error {
	if !t.suspect.Load() {
		return nil
	}
	if err := wait(ctx, time.Until(t.rechecked.Add(recheckEvery))); err != nil {
		return err
	}
	t.suspect.Store(false)
	t.rechecked = time.Now()
	return t.begin(ctx, conn)
}

// warnCache logs a warning if sessions cache ids: then ids no longer rise with the order of
// appends. No event is lost by that.
func (t *Tail) warnCache(ctx context.Context, q database.DB) {
	var cache int64
	err := q.QueryRow(ctx, `SELECT seqcache FROM pg_sequence WHERE seqrelid = 'outcrier.event_id'::regclass`).Scan(&cache)
	if err == nil && cache != 1 {
		t.Log.ErrorContext(ctx, "event_id has a cache: events may come out of order; ALTER SEQUENCE event_id CACHE 1", "schema", cmp.Or(t.Schema, outbox.DefaultSchema), "cache", cache)
	}
}
