package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
}

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
func (r Reader) Oldest(ctx context.Context) (time.Time, error) { return oldest(ctx, r.Pool) }

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
SELECT a.xid, a.id, a.created_at, pg_current_snapshot()::text, (SELECT max(trim) FROM outbox_trim), h.history
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
	var history int64
	var s snapshotRow
	err := r.Pool.QueryRow(ctx, beforeSQL, t).Scan(&s.xid, &s.id, &s.createdAt, &s.snapshot, &s.trim, &history)
	if err != nil {
		return Position{}, migrated(err)
	}
	position, _, err := advance(Position{History: uint32(history)}, s)
	return position, err
}

// Leg is a stretch of a replay: the events of To that are not of From, with ids
// above After, in the order of their ids. Both ends are sets of transactions, so
// that a leg is the same at any node and at any time.
type Leg struct {
	From, To Position
	// After is the id to go on behind, within the leg.
	After int64
}

// Legs are the stretches between p and to: the rest of the read that p stands
// in, if it stands in one, and then what else of to it was not given; none when
// it was given everything. What is behind all of them is p joined with to.
func (p Position) Legs(to Position) []Leg {
	var legs []Leg
	if p.Within != nil {
		from, end := p, p
		from.Within = nil
		end.Within, end.Given = nil, p.Given.Union(*p.Within)
		legs = append(legs, Leg{From: from, To: end, After: p.EventID})
		p = end
	}
	if !p.Given.Covers(to.Given) {
		legs = append(legs, Leg{From: p, To: p.Join(to)})
	}
	return legs
}

// Join is the position of a reader that was given all of p and all of q, neither
// of them in the middle of a read.
func (p Position) Join(q Position) Position {
	p.Given = p.Given.Union(q.Given)
	if q.Anchor.XID > p.Anchor.XID {
		p.Anchor = q.Anchor
	}
	p.EventID = max(p.EventID, q.EventID)
	p.Trim = max(p.Trim, q.Trim)
	return p
}

// At is the position of a reader that has gone along the leg up to the event.
func (l Leg) At(event int64) Position {
	p := l.To
	p.EventID = event
	p.Given, p.Within = l.From.Given, &l.To.Given
	p.Trim = l.From.Trim
	return p
}

// Page is a piece of a leg.
type Page struct {
	// Events are in the order of their ids.
	Events []Event
	// After is the id behind which the next page begins.
	After int64
	// Done is set when the leg ends with this page.
	Done bool
}

// A page of a replay holds about this many bytes, and this many events at most.
const (
	pageBytes  = 1 << 20
	pageEvents = 1000
)

// lowestSQL finds the smallest id of a leg. The legs of the query and the fences
// (OFFSET 0) keep it on the index by xid; min(id) on its own would walk the
// table by id.
const lowestSQL = `
SELECT min(id) FROM (
	SELECT id FROM (SELECT id, xid FROM outbox WHERE xid > $1 AND xid <= $3 OFFSET 0) AS a WHERE xid <> ALL ($4::xid8[])
	UNION ALL
	SELECT id FROM (SELECT id, xid FROM outbox WHERE xid = ANY ($2::xid8[]) AND xid <= $1 OFFSET 0) AS b WHERE xid <= $3 AND xid <> ALL ($4::xid8[])
) AS leg`

const legCondition = `o.id > $5 AND (o.xid > $1 OR o.xid = ANY ($2::xid8[])) AND o.xid <= $3 AND o.xid <> ALL ($4::xid8[]) AND o.created_at >= $7`

// topicsSQL is a page for exact topics: each by its own index, merged by id.
const topicsSQL = `
SELECT ` + eventColumns + `, (SELECT max(trim) FROM outbox_trim) FROM unnest($8::text[]) AS t(name) CROSS JOIN LATERAL (
	SELECT o.* FROM outbox AS o WHERE o.topic = t.name AND ` + legCondition + ` ORDER BY o.id LIMIT $6
) AS e ORDER BY id LIMIT $6`

// patternsSQL is a page for patterns, as regular expressions, by id.
const patternsSQL = `
SELECT ` + eventColumns + `, (SELECT max(trim) FROM outbox_trim) FROM outbox AS o
WHERE ` + legCondition + ` AND (o.topic = ANY ($8::text[]) OR o.topic ~ ANY ($9::text[]))
ORDER BY id LIMIT $6`

// ErrTrimmed is returned for a leg of which events have been removed since its
// start was verified.
var ErrTrimmed = errors.New("events of the replay have been removed by retention")

// Replay reads the next page of a leg for a filter, of at most limit events. It
// reads in pages so that a slow reader holds neither a connection nor a
// snapshot.
func (r Reader) Replay(ctx context.Context, leg Leg, filter Filter, limit int) (Page, error) {
	conn, err := r.Pool.Acquire(ctx)
	if err != nil {
		return Page{}, err
	}
	defer conn.Release()

	from, to := leg.From.Given, leg.To.Given
	args := []any{from.Max, from.Except, to.Max, to.Except}
	if leg.After == 0 {
		var lowest *int64
		if err := conn.QueryRow(ctx, lowestSQL, args...).Scan(&lowest); err != nil {
			return Page{}, fmt.Errorf("find the start of a replay: %w", err)
		}
		if lowest == nil {
			return Page{Done: true}, r.untrimmed(ctx, conn.Conn(), leg)
		}
		leg.After = *lowest - 1
	}
	limit = min(limit, pageEvents)
	exact, patterns := split(filter.Topics)
	query, args := topicsSQL, append(args, leg.After, limit, filter.Since, exact)
	if len(patterns) > 0 {
		query, args = patternsSQL, append(args, patterns)
	}
	page, err := r.page(ctx, conn.Conn(), leg, filter, limit, query, args)
	if err != nil {
		return Page{}, fmt.Errorf("replay: %w", err)
	}
	return page, nil
}

func (r Reader) page(ctx context.Context, conn *pgx.Conn, leg Leg, filter Filter, limit int, query string, args []any) (Page, error) {
	rows, err := conn.Query(ctx, query, args...)
	if err != nil {
		return Page{}, err
	}
	defer rows.Close()
	page := Page{After: leg.After}
	var trim *int64
	size, read := 0, 0
	for size < pageBytes && rows.Next() {
		var r row
		if err := r.scan(rows, &trim); err != nil {
			return Page{}, err
		}
		event, err := r.event()
		if err != nil {
			return Page{}, err
		}
		read++
		size += event.size()
		page.After = event.ID
		if filter.Match(event.Topic, event.Type) {
			page.Events = append(page.Events, event)
		}
	}
	full := size >= pageBytes
	rows.Close()
	if err := rows.Err(); err != nil {
		return Page{}, err
	}
	page.Done = !full && read < limit
	if read == 0 || trim != nil && *trim != leg.From.Trim {
		return page, r.untrimmed(ctx, conn, leg)
	}
	return page, nil
}

// untrimmed makes sure that nothing of the leg was removed before it was read.
func (r Reader) untrimmed(ctx context.Context, conn *pgx.Conn, leg Leg) error {
	reason, _, err := verify(ctx, conn, leg.From)
	switch {
	case err != nil:
		return err
	case reason == Trimmed:
		return ErrTrimmed
	case reason != "":
		return fmt.Errorf("the history is another one: %s", reason)
	}
	return nil
}

// split parts exact topics from patterns, these as regular expressions.
func split(topics []Pattern) (exact, patterns []string) {
	exact, patterns = []string{}, []string{}
	for _, p := range topics {
		if p.Exact() {
			exact = append(exact, string(p))
		} else {
			patterns = append(patterns, p.regexp())
		}
	}
	slices.Sort(exact)
	return slices.Compact(exact), patterns
}
