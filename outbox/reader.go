package outbox

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Reader reads what is already in the table: it judges where a stream may start
// and replays what the stream has missed. Any number of streams may use it at
// once; each call holds one of the pool's connections for one short statement
// or two.
type Reader struct {
	// Pool is made with PoolConfig.
	Pool *pgxpool.Pool
	// Schema is where the outbox is; the default one by default.
	Schema Schema
	// Apart, when not nil, is called when the database has not what the tail stands on,
	// of the same history: Tail.Recheck.
	Apart func()
	// Patience is how long a call may take, the wait for a connection included,
	// before it fails: 30 s by default.
	Patience time.Duration
}

// patient bounds a call.
func (r Reader) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	return within(ctx, cmp.Or(r.Patience, statementLimit))
}

// statementLimit bounds what is not the tail's: some may take their time.
const statementLimit = 30 * time.Second

// Reason is why a position can't be resumed whole. It is empty when it can.
type Reason string

const (
	// Trimmed: events after the position have been removed by retention.
	Trimmed Reason = "trimmed"
	// Malformed: not a position at all.
	Malformed Reason = "malformed"
	// OtherHistory: the position is of a history that the database does not
	// continue, after a restore, a failover that lost commits, or a reset.
	OtherHistory Reason = "other_history"
	// Ahead: the position claims transactions that have not happened yet.
	Ahead Reason = "ahead"
)

// Gap says why a position can't be resumed whole.
type Gap struct {
	Reason Reason
	// Since is when the oldest event still held was appended; zero when none is.
	Since time.Time
}

// ErrApart is returned where the database is not the one that the tail reads, or no
// longer: after a failover or a restore one of them is still connected to what was
// before, for the moment. Sets of transactions of both must not be joined.
var ErrApart = errors.New("the tail follows another history than the database has")

// beside makes sure that w, where the tail stands, is a position of the database that
// the connection leads to, and returns the present history. The zero value stands for
// no tail.
func beside(ctx context.Context, q db, w Position) (history uint32, err error) {
	var present int64
	// History 0 is that of an outbox that no node has been at.
	const historySQL = `SELECT coalesce((SELECT history FROM outcrier.history_id ORDER BY nth DESC LIMIT 1), 0)`
	if err := q.QueryRow(ctx, historySQL).Scan(&present); err != nil {
		return 0, migrated(err)
	}
	history = uint32(present)
	if w.History == 0 {
		return history, nil
	}
	if w.History != history {
		return history, ErrApart
	}
	_, reason, err := verify(ctx, q, w, nil)
	if err == nil && reason != "" && reason != Trimmed {
		err = ErrApart
	}
	return history, err
}

// Verify judges a client's position for what the client asks for, beside a tail that
// stands at w; see ErrApart. With no gap, the
// stream may go on from the position returned, and nothing that the filter selects
// was removed that it had not been given. With a gap by retention it may go on from
// there too, and gets what is left. After any other gap the position returned is the
// zero value, and nothing is known of what the client has missed.
func (r Reader) Verify(ctx context.Context, p Position, filter Filter, w Position) (verified Position, gap *Gap, err error) {
	ctx, cancel := r.patient(ctx)
	defer cancel()
	err = r.judge(ctx, func(q db) error {
		verified, gap, err = judge(ctx, q, p, filter, w)
		if err == nil && gap != nil && gap.Reason != Trimmed {
			return errLost
		}
		return err
	})
	if errors.Is(err, errLost) {
		err = nil
	}
	return verified, gap, err
}

func judge(ctx context.Context, q db, p Position, filter Filter, w Position) (Position, *Gap, error) {
	history, err := beside(ctx, q, w)
	if err != nil {
		return p, nil, err
	}
	reason := OtherHistory
	if p.History == history {
		if p, reason, err = verify(ctx, q, p, filter.Topics); err != nil {
			return p, nil, err
		}
	}
	switch reason {
	case "":
		return p, nil, nil
	case Trimmed:
	default:
		p = Position{}
	}
	since, err := oldest(ctx, q)
	return p, &Gap{Reason: reason, Since: since}, err
}

// errLost is a verdict: history was lost.
var errLost = errors.New("history was lost")

// youth is how old a connection may be that such a verdict is taken from.
const youth = time.Second

// judge calls fn with a connection. That history was lost, or is another than the
// tail's, is taken from one only that was made just now: an old one may lead to a
// server that is the primary no more, and is closed.
func (r Reader) judge(ctx context.Context, fn func(db) error) error {
	for {
		conn, err := r.Pool.Acquire(ctx)
		if err != nil {
			return err
		}
		err = inSession(ctx, conn.Conn(), r.Schema, fn)
		again := (errors.Is(err, errLost) || errors.Is(err, ErrApart)) && time.Since(madeAt(conn.Conn())) > youth
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

// Oldest is when the oldest event still held was appended; zero when none is.
func (r Reader) Oldest(ctx context.Context) (at time.Time, err error) {
	ctx, cancel := r.patient(ctx)
	defer cancel()
	err = inPool(ctx, r.Pool, r.Schema, func(q db) error {
		at, err = oldest(ctx, q)
		return err
	})
	return at, err
}

func oldest(ctx context.Context, q db) (time.Time, error) {
	var since *time.Time
	err := q.QueryRow(ctx, `SELECT (SELECT created_at FROM outcrier.event WHERE topic <> '' ORDER BY id LIMIT 1)`).Scan(&since)
	if err != nil || since == nil {
		return time.Time{}, err
	}
	return since.UTC(), nil
}

// Earliest is the position before all events that are still held, beside a tail that
// stands at w.
func (r Reader) Earliest(ctx context.Context, w Position) (Position, error) {
	return r.before(ctx, nil, w)
}

// Before is a position before all events that were appended at t or later, beside a
// tail that stands at w. It may stand before some that are older, of transactions that
// overlapped: a Filter with Since leaves them out.
func (r Reader) Before(ctx context.Context, t time.Time, w Position) (Position, error) {
	return r.before(ctx, &t, w)
}

// beforeSQL finds the event with the largest xid below that of every event since
// $1: what is up to its transaction, and visible, is older. There is no index on times,
// but ids and times rise together, give or take a minute.
const beforeSQL = `
SELECT coalesce(a.xid, '0'), coalesce(a.id, 0), coalesce(a.created_at, 'epoch'), ` + aboutColumns + `
FROM (
	SELECT min(xid) AS xid FROM (
		SELECT xid FROM outcrier.event WHERE created_at >= $1::timestamptz AND id >= (SELECT outcrier.id_at($1::timestamptz - interval '1 minute')) OFFSET 0
	) AS s
) AS since
LEFT JOIN LATERAL (
	SELECT e.xid, e.id, e.created_at FROM outcrier.event AS e
	WHERE $1::timestamptz IS NOT NULL AND (since.xid IS NULL OR e.xid < since.xid)
	ORDER BY xid DESC, id DESC LIMIT 1
) AS a ON true`

func (r Reader) before(ctx context.Context, t *time.Time, w Position) (Position, error) {
	ctx, cancel := r.patient(ctx)
	defer cancel()
	var position Position
	err := r.judge(ctx, func(q db) error {
		history, err := beside(ctx, q, w)
		if err != nil {
			return err
		}
		var s snapshotRow
		if err := q.QueryRow(ctx, beforeSQL, t).Scan(&s.xid, &s.id, &s.createdAt, &s.snapshot, &s.removal); err != nil {
			return err
		}
		position, _, err = advance(Position{History: history}, s)
		return err
	})
	return position, err
}
