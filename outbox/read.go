package outbox

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Read is one read of the tail, or a part of a long one: the events that one
// snapshot sees and the one before it did not, by id. Each event is in exactly
// one read of a tail.
type Read struct {
	// From and To are the positions before and after the whole read.
	From, To Position
	// Events are this part's, ordered by id. They are never none, but in a last
	// part that only ends the read.
	Events []Event
	// First and Last mark the parts; both are set when there is but one.
	First, Last bool
}

// At is the position of the i-th event of the part: what a reader has been given
// when it has had that event.
func (r *Read) At(i int) Position {
	if r.Last && i == len(r.Events)-1 {
		p := r.To
		p.EventID = r.Events[i].ID
		return p
	}
	return Position{
		History: r.To.History, EventID: r.Events[i].ID, Given: r.From.Given, Within: &r.To.Given,
		Anchor: r.To.Anchor, Trim: r.To.Trim,
	}
}

// End is the position after the part.
func (r *Read) End() Position {
	if r.Last || len(r.Events) == 0 {
		return r.To
	}
	return r.At(len(r.Events) - 1)
}

// readSQL is the difference of two snapshots in one statement, and so in one
// snapshot: first a row about the snapshot itself, then the events that it sees
// and the set ($1, $2) does not hold. There are two legs, because one condition
// over both can't use the index; and no lower bound on the id, because a
// transaction can be absent from a snapshot's list of those in progress (its
// xmax is only the latest completed + 1) and own smaller ids than any seen.
const readSQL = `
WITH newest AS MATERIALIZED (
	SELECT xid, id, created_at FROM outbox WHERE xid > $1 ORDER BY xid DESC, id DESC LIMIT 1
)
SELECT n.xid, NULL::bigint AS id, NULL AS topic, NULL AS type, NULL::json AS payload, NULL AS source, NULL::jsonb AS headers,
	n.created_at, n.id AS newest, pg_current_snapshot()::text AS snapshot, (SELECT max(trim) FROM outbox_trim) AS trim
FROM (SELECT 1) AS one LEFT JOIN newest AS n ON true
UNION ALL
SELECT ` + eventColumns + `, NULL, NULL, NULL FROM outbox WHERE xid > $1
UNION ALL
SELECT ` + eventColumns + `, NULL, NULL, NULL FROM outbox WHERE xid = ANY($2::xid8[]) AND xid <= $1
ORDER BY id NULLS FIRST, xid`

// hereSQL is readSQL's first row alone, for the empty set: where a tail starts.
const hereSQL = `
SELECT n.xid, n.created_at, n.id, pg_current_snapshot()::text, (SELECT max(trim) FROM outbox_trim)
FROM (SELECT 1) AS one LEFT JOIN LATERAL (
	SELECT xid, id, created_at FROM outbox ORDER BY xid DESC, id DESC LIMIT 1
) AS n ON true`

// A part of a read holds at most this many events, and about this many bytes.
const (
	partEvents = 512
	partBytes  = 1 << 20
)

// read reads what is new since from and hands it to deliver, part by part. It
// returns the position after it and the transactions in progress in its
// snapshot, ascending. An error after the first part leaves a read unfinished.
func read(ctx context.Context, conn *pgx.Conn, from Position, deliver func(Read)) (to Position, xip []uint64, err error) {
	rows, err := conn.Query(ctx, readSQL, from.Given.Max, from.Given.Except)
	if err != nil {
		return from, nil, err
	}
	defer rows.Close()
	to = from
	part := Read{From: from, First: true}
	size := 0
	for rows.Next() {
		var r row
		var newest, trim *int64
		var snapshot *string
		if err := r.scan(rows, &newest, &snapshot, &trim); err != nil {
			return from, nil, err
		}
		if snapshot != nil {
			to, xip, err = advance(from, snapshotRow{r.xid, newest, r.createdAt, *snapshot, trim})
			if err != nil {
				return from, nil, err
			}
			part.To = to
			continue
		}
		event, err := r.event()
		if err != nil {
			return from, nil, err
		}
		if len(part.Events) >= partEvents || size > partBytes {
			deliver(part)
			part, size = Read{From: from, To: to}, 0
		}
		part.Events = append(part.Events, event)
		size += event.size()
	}
	if err := rows.Err(); err != nil {
		return from, nil, err
	}
	if len(part.Events) > 0 {
		to.EventID = max(to.EventID, part.Events[len(part.Events)-1].ID)
	}
	part.To, part.Last = to, true
	deliver(part)
	return to, xip, nil
}

// here is the position of a fresh snapshot, of which nothing is delivered.
func here(ctx context.Context, conn *pgx.Conn, history uint32) (Position, error) {
	var r snapshotRow
	if err := conn.QueryRow(ctx, hereSQL).Scan(&r.xid, &r.createdAt, &r.id, &r.snapshot, &r.trim); err != nil {
		return Position{}, err
	}
	position, _, err := advance(Position{History: history}, r)
	return position, err
}

// snapshotRow is what a read says of its snapshot; the first three are nil when
// nothing is newer than the set read from.
type snapshotRow struct {
	xid       *uint64
	id        *int64
	createdAt *time.Time
	snapshot  string
	trim      *int64
}

// advance is the position of r's snapshot, given the one before it.
func advance(from Position, r snapshotRow) (to Position, xip []uint64, err error) {
	xip, err = parseSnapshot(r.snapshot)
	if err != nil {
		return from, nil, err
	}
	to = from
	if r.xid != nil {
		to.Anchor = newAnchor(*r.xid, *r.id, *r.createdAt)
		to.EventID = max(to.EventID, *r.id)
	}
	if r.trim != nil {
		to.Trim = *r.trim
	}
	to.Given = newSet(to.Anchor.XID, xip)
	return to, xip, nil
}

// parseSnapshot lists the transactions in progress of a pg_snapshot,
// "xmin:xmax:xip,xip…", ascending.
func parseSnapshot(text string) ([]uint64, error) {
	parts := strings.SplitN(text, ":", 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("snapshot %q has not three parts", text)
	}
	var xip []uint64
	for field := range strings.SplitSeq(parts[2], ",") {
		if field == "" {
			continue
		}
		xid, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("snapshot %q: %w", text, err)
		}
		xip = append(xip, xid)
	}
	slices.SortFunc(xip, cmp.Compare[uint64])
	return xip, nil
}
