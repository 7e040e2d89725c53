package tail

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/internal/table"
	"github.com/outcrier/outcrier/outbox/position"
)

// read reads new events, and delivers them.
func (t *Tail) read(ctx context.Context, conn *pgx.Conn, few bool, r *request) (events int, s table.Snapshot, err error) {
	asked := t.asks()
	for {
		to, s, events, err := t.readOnce(ctx, conn, few, r, asked)
		if err != nil {
			// Postgres sorts many events before it returns the first, which can take longer
			// than Silence, or more memory or disk than it has, at every attempt. At the
			// second failure the tail leaves them to replays, which read pages. The first
			// may have been the connection's. And while events are erased all the time, a read
			// of many would never end.
			if errors.Is(err, errMany) || errors.Is(err, errErased) {
				t.continuing = t.continuing && !t.failed
				t.failed = true
			}
			return events, s, fmt.Errorf("read the outbox: %w", err)
		}
		if to.Removal == t.position.Removal {
			t.position, t.failed = to, false
			t.hasRead(asked, events)
			return events, s, nil
		}
		// Events were removed since the last read, and nothing is delivered. Events that
		// were appended and removed in between are a gap. Each stream finds it out for
		// itself as long as its position is before the gap: an event of this read would
		// move it past. If there is no gap, later removals show in the next read.
		verified, err := t.verify(ctx, conn)
		if err != nil {
			return 0, s, err
		}
		t.position.Removal = verified.Removal
	}
}

// verify validates the tail's own position.
func (t *Tail) verify(ctx context.Context, conn *pgx.Conn) (verified position.Position, err error) {
	ctx, cancel := database.Within(ctx, t.Silence)
	defer cancel()
	err = database.InSession(ctx, conn, t.Schema, func(q database.DB) (err error) {
		var reason position.Reason
		verified, reason, err = table.Verify(ctx, q, t.position, nil)
		if err == nil && reason != "" {
			err = fmt.Errorf("the history went on without the tail: %s", reason)
		}
		return err
	})
	return verified, err
}

// readOnce reads once, and delivers unless events were removed since the last read.
func (t *Tail) readOnce(ctx context.Context, conn *pgx.Conn, few bool, r *request, asked time.Time) (to position.Position, s table.Snapshot, events int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(t.Silence, func() { cancel(database.ErrSilent) })
	defer watchdog.Stop()

	began, whole := time.Now(), false
	erasures := t.watchErasures(began)
	defer erasures.close(ctx)
	err = database.InSession(ctx, conn, t.Schema, func(q database.DB) (err error) {
		to, s, err = read(ctx, q, t.position, few, t.around, r, func(r Read) error {
			watchdog.Reset(t.Silence)
			if r.To.Removal != t.position.Removal {
				return nil
			}
			if (!r.First || !r.Last) && erasures.found(ctx, r.To) {
				cancel(errErased) // the rest of the read need not be taken off the connection
				return errErased
			}
			t.continuing = r.Last
			events += len(r.Events)
			r.Asked = asked
			t.observe(r.Events)
			t.Deliver(r)
			return nil
		})
		whole = err == nil
		return err
	})
	if whole {
		err = nil // the read is delivered: if only its transaction's end failed, the next read shows that
	}
	switch {
	case err != nil:
		err = errors.Join(err, context.Cause(ctx))
		t.around = true
	case t.around: // until none of these transactions is left
		n := len(s.InProgress)
		t.around = n > 0 && s.InProgress[n-1] > to.Given.Max
	default:
		t.around = time.Since(began) > slowRead
	}
	return to, s, events, err
}

// slowRead is longer than a read that visits few rows takes.
const slowRead = 20 * time.Millisecond
