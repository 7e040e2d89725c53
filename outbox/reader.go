package outbox

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Reader reads what is already in the table: it judges where a stream may start
// and replays what the stream has missed. Any number of streams may use it at
// once; each call holds one of the pool's connections for one short statement
// or two.
type Reader struct {
	// Pool is made with PoolConfig.
	Pool *pgxpool.Pool
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

// Verify judges a client's position. With no gap, the stream may go on from the
// position returned, and nothing was removed that it had not been given. With a
// gap by retention it may go on from there too, and gets what is left. After any
// other gap the position returned is the zero value, and nothing is known of
// what the client has missed.
func (r Reader) Verify(ctx context.Context, p Position) (Position, *Gap, error) {
	ctx, cancel := r.patient(ctx)
	defer cancel()
	conn, err := r.Pool.Acquire(ctx)
	if err != nil {
		return p, nil, err
	}
	defer conn.Release()
	var history int64
	if err := conn.QueryRow(ctx, `SELECT history FROM outbox_histories ORDER BY began_at DESC LIMIT 1`).Scan(&history); err != nil {
		return p, nil, migrated(err)
	}
	reason, trim := OtherHistory, int64(0)
	if p.History == uint32(history) {
		if reason, trim, err = verify(ctx, conn.Conn(), p); err != nil {
			return p, nil, err
		}
	}
	switch reason {
	case "":
		p.Trim = trim
		return p, nil, nil
	case Trimmed:
		p.Trim = trim
	default:
		p = Position{}
	}
	since, err := oldest(ctx, conn)
	return p, &Gap{Reason: reason, Since: since}, err
}

// Oldest is when the oldest event still held was appended; zero when none is.
func (r Reader) Oldest(ctx context.Context) (time.Time, error) {
	ctx, cancel := r.patient(ctx)
	defer cancel()
	return oldest(ctx, r.Pool)
}

// querier is what a single read needs.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func oldest(ctx context.Context, q querier) (time.Time, error) {
	var since *time.Time
	err := q.QueryRow(ctx, `SELECT (SELECT created_at FROM outbox ORDER BY id LIMIT 1)`).Scan(&since)
	if err != nil || since == nil {
		return time.Time{}, err
	}
	return since.UTC(), nil
}

// anchorSQL finds the newest event of the anchor's transaction, the first xid
// not assigned yet, and the newest entry of outbox_trim with how many of the
// entries after $2 removed events that the set ($3, $4) does not hold, or may
// not hold: of a transaction in flight it is not known whether it had any.
const anchorSQL = `
SELECT a.id, a.created_at, pg_snapshot_xmax(pg_current_snapshot()),
	(SELECT coalesce(max(trim), 0) FROM outbox_trim),
	EXISTS (SELECT FROM outbox_trim WHERE xid_max >= $1),
	EXISTS (SELECT FROM outbox_trim WHERE trim > $2 AND (xid_max > $3
		OR EXISTS (SELECT FROM unnest($4::xid8[]) AS x WHERE x BETWEEN xid_min AND xid_max)))
FROM (SELECT 1) AS one LEFT JOIN LATERAL (
	SELECT id, created_at FROM outbox WHERE xid = $1 ORDER BY id DESC LIMIT 1
) AS a ON true`

// verify judges a position of the present history, and returns the newest entry
// of outbox_trim. The read that it stands in, if it does, is judged as if none of
// it had been given.
func verify(ctx context.Context, conn *pgx.Conn, p Position) (Reason, int64, error) {
	var id *int64
	var createdAt *time.Time
	var next uint64
	var trim int64
	var trimmed, unseen bool
	err := conn.QueryRow(ctx, anchorSQL, p.Anchor.XID, p.Trim, p.Given.Max, p.Given.Except).
		Scan(&id, &createdAt, &next, &trim, &trimmed, &unseen)
	switch {
	case err != nil:
		return "", 0, fmt.Errorf("verify a position: %w", err)
	case p.Anchor.XID >= next:
		return Ahead, trim, nil
	case id != nil && newAnchor(p.Anchor.XID, *id, *createdAt) != p.Anchor:
		return OtherHistory, trim, nil
	case id == nil && p.Anchor.XID != 0 && !trimmed:
		return OtherHistory, trim, nil
	case p.Trim > trim:
		return OtherHistory, trim, nil
	case unseen:
		return Trimmed, trim, nil
	}
	return "", trim, nil
}

// Earliest is the position before all events that are still held.
func (r Reader) Earliest(ctx context.Context) (Position, error) {
	return r.before(ctx, nil)
}

// Before is a position before all events that were appended at t or later. It
// may stand before some that are older, of transactions that overlapped: a
// Filter with Since leaves them out.
func (r Reader) Before(ctx context.Context, t time.Time) (Position, error) { return r.before(ctx, &t) }

// beforeSQL finds the event with the largest xid below that of every event since
// $1: what is up to its transaction, and visible, is older.
const beforeSQL = `
SELECT coalesce(a.xid, '0'), coalesce(a.id, 0), coalesce(a.created_at, 'epoch'), ` + aboutColumns + `, h.history
FROM (SELECT history FROM outbox_histories ORDER BY began_at DESC LIMIT 1) AS h
CROSS JOIN LATERAL (
	SELECT min(xid) AS xid FROM (SELECT xid FROM outbox WHERE created_at >= $1 OFFSET 0) AS s
) AS since
LEFT JOIN LATERAL (
	SELECT xid, id, created_at FROM outbox
	WHERE $1::timestamptz IS NOT NULL AND (since.xid IS NULL OR outbox.xid < since.xid)
	ORDER BY xid DESC, id DESC LIMIT 1
) AS a ON true`

func (r Reader) before(ctx context.Context, t *time.Time) (Position, error) {
	ctx, cancel := r.patient(ctx)
	defer cancel()
	var history int64
	var s snapshotRow
	err := r.Pool.QueryRow(ctx, beforeSQL, t).Scan(&s.xid, &s.id, &s.createdAt, &s.snapshot, &s.trim, &history)
	if err != nil {
		return Position{}, migrated(err)
	}
	position, _, err := advance(Position{History: uint32(history)}, s)
	return position, err
}
