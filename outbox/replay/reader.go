package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/internal/table"
	"github.com/outcrier/outcrier/outbox/position"
)

// Reader reads events that are already in the table: it validates the position where a
// stream wants to start and replays the events that it has missed. Any number of streams
// may use it at once; each call holds one of the pool's connections for one short statement
// or two.
type Reader struct {
	// Pool is made with outbox.PoolConfig.
	Pool *pgxpool.Pool
	// Schema is where the outbox is; the default one by default.
	Schema outbox.Schema
	// Times, when not nil, remembers where the events of times begin, for all who start with
	// one. It is for one database.
	Times *Times
	// Apart, when not nil, is called when the database lacks commits that the tail has
	// read, though it has the same history: tail.Tail.Recheck.
	Apart func()
	// Patience is how long a call may take, the wait for a connection included,
	// before it fails: 30 s by default.
	Patience time.Duration
}

// patient bounds a call.
func (r Reader) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	return database.Within(ctx, cmp.Or(r.Patience, statementLimit))
}

// statementLimit bounds statements other than the tail's, some of which are slow.
const statementLimit = 30 * time.Second

// ErrApart is returned where the database is not, or no longer, the one that the tail
// reads: after a failover or a restore one of them may still be connected to the old
// server. Sets of transactions of both must not be joined.
var ErrApart = errors.New("the tail follows another history than the database has")

// sameHistory returns the present history if w, the tail's position, is one of the database that
// the connection reaches, and an error otherwise. The zero value stands for no tail.
func sameHistory(ctx context.Context, q database.DB, w position.Position) (history uint32, err error) {
	var present int64
	// History 0 is that of a dump of the schema alone that no node has used.
	const historySQL = `SELECT coalesce((SELECT history FROM outcrier.history_id ORDER BY nth DESC LIMIT 1), 0)`
	if err := q.QueryRow(ctx, historySQL).Scan(&present); err != nil {
		return 0, database.Migrated(err)
	}
	history = uint32(present)
	if w.History == 0 {
		return history, nil
	}
	if w.History != history {
		return history, ErrApart
	}
	_, reason, err := table.Verify(ctx, q, w, nil)
	if err == nil && reason != "" && reason != position.Trimmed {
		err = ErrApart
	}
	return history, err
}

// Verify checks whether a client may resume from p, for the events of its filter, at a tail
// whose position is w; see ErrApart. Without a gap the stream may go on from the position
// returned, and no event of the filter was removed that the client has not received. With a
// gap by retention it may go on from there too, and gets the remaining events. After any
// other gap the position returned is the zero value, and what the client has missed is
// unknown.
func (r Reader) Verify(ctx context.Context, p position.Position, filter outbox.Filter, w position.Position) (verified position.Position, gap *position.Gap, err error) {
	ctx, cancel := r.patient(ctx)
	defer cancel()
	err = r.confirm(ctx, func(q database.DB) error {
		verified, gap, err = validate(ctx, q, p, filter, w)
		if err == nil && gap != nil && gap.Reason != position.Trimmed {
			return errLost
		}
		return err
	})
	if errors.Is(err, errLost) {
		err = nil
	}
	return verified, gap, err
}

func validate(ctx context.Context, q database.DB, p position.Position, filter outbox.Filter, w position.Position) (position.Position, *position.Gap, error) {
	history, err := sameHistory(ctx, q, w)
	if err != nil {
		return p, nil, err
	}
	reason := position.OtherHistory
	if p.History == history {
		if p, reason, err = table.Verify(ctx, q, p, filter.Topics); err != nil {
			return p, nil, err
		}
	}
	switch reason {
	case "":
		return p, nil, nil
	case position.Trimmed:
	default:
		p = position.Position{}
	}
	since, err := oldest(ctx, q)
	return p, &position.Gap{Reason: reason, Since: since}, err
}

// errLost reports that commits that a position includes no longer exist.
var errLost = errors.New("history was lost")

// connectionAge is the age up to which a connection is trusted to say that history was lost.
const connectionAge = time.Second

// confirm calls fn with a connection, and again with a new one if fn says that history was
// lost or is not the tail's: an old connection may reach a server that is no longer the
// primary, and is closed.
func (r Reader) confirm(ctx context.Context, fn func(database.DB) error) error {
	for {
		conn, err := r.Pool.Acquire(ctx)
		if err != nil {
			return err
		}
		err = database.InSession(ctx, conn.Conn(), r.Schema, fn)
		again := (errors.Is(err, errLost) || errors.Is(err, ErrApart)) && time.Since(database.MadeAt(conn.Conn())) > connectionAge
		if again {
			_ = conn.Conn().Close(ctx)
		}
		conn.Release()
		if again {
			continue
		}
		if errors.Is(err, ErrApart) && r.Apart != nil {
			r.Apart()
		}
		return err
	}
}

// Oldest returns when the oldest event still held was appended; zero if there is none.
func (r Reader) Oldest(ctx context.Context) (at time.Time, err error) {
	ctx, cancel := r.patient(ctx)
	defer cancel()
	err = database.InPool(ctx, r.Pool, r.Schema, func(q database.DB) error {
		at, err = oldest(ctx, q)
		return err
	})
	return at, err
}

func oldest(ctx context.Context, q database.DB) (time.Time, error) {
	var since *time.Time
	err := q.QueryRow(ctx, `SELECT (SELECT created_at FROM outcrier.event WHERE topic <> '' ORDER BY id LIMIT 1)`).Scan(&since)
	if err != nil || since == nil {
		return time.Time{}, err
	}
	return since.UTC(), nil
}

// Earliest returns the position before all events that are still held, at a tail whose
// position is w.
func (r Reader) Earliest(ctx context.Context, w position.Position) (position.Position, error) {
	return r.start(ctx, w, func(ctx context.Context, q database.DB, history uint32) (position.Position, error) {
		return below(ctx, q, history, 0)
	})
}

// Before returns a position before all events that were appended at t or later, at a tail
// whose position is w. It may also be before some older events, of overlapping
// transactions: a Filter with Since leaves them out.
func (r Reader) Before(ctx context.Context, t time.Time, w position.Position) (position.Position, error) {
	ctx, cancel := r.patient(ctx)
	defer cancel()
	times := cmp.Or(r.Times, NewTimes())
	leave, err := times.enter(ctx)
	if err != nil {
		return position.Position{}, err
	}
	defer leave()
	return r.start(ctx, w, func(ctx context.Context, q database.DB, history uint32) (position.Position, error) {
		at, err := times.before(ctx, q, history, t, w)
		if err != nil {
			err = fmt.Errorf("find where the events of a time begin: %w", err)
		}
		return at, err
	})
}

// start returns the position that find finds in the present history, which is that of w.
func (r Reader) start(ctx context.Context, w position.Position, find func(context.Context, database.DB, uint32) (position.Position, error)) (found position.Position, err error) {
	ctx, cancel := r.patient(ctx)
	defer cancel()
	err = r.confirm(ctx, func(q database.DB) error {
		history, err := sameHistory(ctx, q, w)
		if err != nil {
			return err
		}
		found, err = find(ctx, q, history)
		return err
	})
	return found, err
}

// belowSQL finds the event with the largest xid below $1: all visible events up to its
// transaction are older than those with that xid or a larger one.
const belowSQL = `
SELECT coalesce(a.xid, '0'), coalesce(a.id, 0), coalesce(a.created_at, 'epoch'), ` + table.SnapshotColumns + `
FROM (SELECT 1) AS one
LEFT JOIN LATERAL (
	SELECT e.xid, e.id, e.created_at FROM outcrier.event AS e WHERE e.xid < $1 ORDER BY xid DESC, id DESC LIMIT 1
) AS a ON true`

// below returns the position of a reader that has the events of all transactions below xid.
func below(ctx context.Context, q database.DB, history uint32, xid uint64) (position.Position, error) {
	var s table.SnapshotRow
	if err := q.QueryRow(ctx, belowSQL, xid).Scan(&s.XID, &s.ID, &s.CreatedAt, &s.Snapshot, &s.Removal); err != nil {
		return position.Position{}, err
	}
	at, _, err := table.Advance(position.Position{History: history}, s)
	return at, err
}
