package table

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/position"
)

// anchorSQL reads the database's records about a position: the newest event of its anchor's
// transaction ($1), whether one with its hash ($5) is known to have been removed, the first
// xid not assigned yet, up to which xid removals after the one numbered $2 are forgotten,
// the newest removal, and whether one after $2 took events of any topic that neither the set
// ($3, $4) holds, nor, up to the id $8, the set ($6, $7), or may not hold.
const anchorSQL = `
SELECT a.id, a.created_at,
	EXISTS (SELECT FROM outcrier.removal_anchor AS r WHERE r.xid_range @> ($1::xid8)::text::bigint AND r.hashes[array_position(r.xids, $1)] = $5),
	pg_snapshot_xmax(pg_current_snapshot()),
	coalesce((SELECT below FROM outcrier.removal_topic WHERE topic = '**' AND removal > $2), '0'),
	(SELECT coalesce(max(removal), 0) FROM outcrier.removal),
	EXISTS (SELECT FROM outcrier.removal WHERE removal > $2
		AND (xid_max > $3 OR EXISTS (SELECT FROM unnest($4::xid8[]) AS x WHERE x BETWEEN xid_min AND xid_max))
		AND NOT coalesce(last_id <= $8 AND xid_max <= $6 AND NOT EXISTS (SELECT FROM unnest($7::xid8[]) AS x WHERE x BETWEEN xid_min AND xid_max), false))
FROM (SELECT 1) AS one LEFT JOIN LATERAL (
	SELECT id, created_at FROM outcrier.event WHERE xid = $1 ORDER BY id DESC LIMIT 1
) AS a ON true`

// Verify validates a position of the present history, for a reader of these topics; nil is
// all. It returns the position with the newest removal.
func Verify(ctx context.Context, q database.DB, p position.Position, topics []outbox.Pattern) (position.Position, position.Reason, error) {
	var id *int64
	var createdAt *time.Time
	var next, forgotten uint64
	var newest int64
	var removed, unseen bool
	withinMax, withinExcept := withinArgs(p)
	err := q.QueryRow(ctx, anchorSQL, p.Anchor.XID, p.Removal, p.Given.Max, p.Given.Except, int32(p.Anchor.Hash), withinMax, withinExcept, p.EventID).
		Scan(&id, &createdAt, &removed, &next, &forgotten, &newest, &unseen)
	if err != nil {
		return p, "", fmt.Errorf("verify a position: %w", err)
	}
	// If the newest event of a transaction was removed, others of it may be left. Settled
	// rows prove nothing: any of them may be removed, and none was committed in this
	// cluster.
	live := p.Anchor.XID <= position.SettledXID || id != nil && position.NewAnchor(p.Anchor.XID, *id, *createdAt) == p.Anchor
	proven := live || removed
	switch {
	case p.Anchor.XID >= next:
		return p, position.Ahead, nil
	case p.Removal > newest, !proven && (id != nil || p.Anchor.XID > forgotten):
		return p, position.OtherHistory, nil
	}
	reason := position.Reason("")
	switch {
	case !proven:
		reason = position.Trimmed
	case unseen:
		missed, err := missed(ctx, q, p, topics)
		if err != nil {
			return p, "", fmt.Errorf("verify a position: %w", err)
		}
		if missed {
			reason = position.Trimmed
		}
	}
	p.Removal = newest
	if !live {
		// Go on from an anchor that will be known for longer.
		if p.Anchor, err = newestAnchor(ctx, q, p.Anchor); err != nil {
			return p, "", fmt.Errorf("verify a position: %w", err)
		}
	}
	return p, reason, nil
}

// withinArgs returns Within as arguments of SQL, which are NULL where it is nil.
func withinArgs(p position.Position) (highest *uint64, except []uint64) {
	if p.Within == nil {
		return nil, nil
	}
	return &p.Within.Max, append([]uint64{}, p.Within.Except...)
}

// newestAnchor returns the newest anchor in the table, or a if there is none.
func newestAnchor(ctx context.Context, q database.DB, a position.Anchor) (position.Anchor, error) {
	var xid uint64
	var id int64
	var createdAt time.Time
	err := q.QueryRow(ctx, `SELECT xid, id, created_at FROM outcrier.event ORDER BY xid DESC, id DESC LIMIT 1`).Scan(&xid, &id, &createdAt)
	switch {
	case errors.Is(err, pgx.ErrNoRows) || err == nil && xid < a.XID:
		return a, nil
	case err != nil:
		return a, err
	}
	return position.NewAnchor(xid, id, createdAt), nil
}

// missedSQL reports whether events of the topics $4, of the patterns $5 that lie from
// $6 on and below $7, or of the patterns $8, were removed after the removal $1 and are
// not in the set ($2, $3), nor up to the id $11 in the set ($9, $10).
//
// Of the transactions that were in flight, those count that have ended since, and had
// events that were removed, or from a time of which nothing is remembered. For a
// topic that had more than a few removed since, such a one counts whether or not its
// events were the topic's.
const missedSQL = `
WITH flying AS MATERIALIZED (
	SELECT coalesce(array_agg(x), '{}') AS xids FROM unnest($3::xid8[]) AS x
	WHERE pg_visible_in_snapshot(x, pg_current_snapshot())
		AND (EXISTS (SELECT FROM outcrier.removal_anchor WHERE xid_range @> x::text::bigint AND x = ANY (xids))
			OR x <= (SELECT below FROM outcrier.removal_topic WHERE topic = '**' AND removal > $1))
), lowest AS MATERIALIZED (
	SELECT coalesce((SELECT min(x) FROM flying, unnest(xids) AS x), (($2::xid8)::text::bigint + 1)::text::xid8) AS xid
), selected AS (
	SELECT t.removal, t.xid_max, t.xids, t.ids, t.below FROM outcrier.removal_topic AS t WHERE t.topic = ANY ($4::text[]) OR t.topic = '**'
	UNION ALL
	SELECT t.removal, t.xid_max, t.xids, t.ids, t.below
	FROM unnest($5::text[], $6::text[], $7::text[]) AS p (pattern, low, high)
	JOIN outcrier.removal_topic AS t ON t.topic >= p.low AND t.topic < p.high
	WHERE outcrier.matches(t.topic, p.pattern)
	UNION ALL
	SELECT t.removal, t.xid_max, t.xids, t.ids, t.below FROM outcrier.removal_topic AS t
	WHERE t.xid_max >= (SELECT xid FROM lowest) AND EXISTS (SELECT FROM unnest($8::text[]) AS p WHERE outcrier.matches(t.topic, p))
)
SELECT EXISTS (
	SELECT FROM selected AS s, flying
	WHERE s.removal > $1 AND s.xid_max >= (SELECT xid FROM lowest) AND (s.below > $2
		OR EXISTS (SELECT FROM unnest(flying.xids) AS x WHERE x <= s.below)
		OR EXISTS (
			SELECT FROM unnest(s.xids, s.ids) AS u (xid, id)
			WHERE (u.xid > $2 OR u.xid = ANY ($3::xid8[]))
				AND NOT coalesce(u.id <= $11 AND u.xid <= $9 AND u.xid <> ALL ($10::xid8[]), false))))`

// missed reports whether events of the topics were removed that the reader at p has not
// received, and whose removal it does not know of.
func missed(ctx context.Context, q database.DB, p position.Position, topics []outbox.Pattern) (missed bool, err error) {
	if topics == nil {
		topics = []outbox.Pattern{"**"}
	}
	exact, bounded, low, high, unbounded := []string{}, []string{}, []string{}, []string{}, []string{}
	for _, pattern := range topics {
		from, to, ok := pattern.Bounds()
		switch {
		case pattern.Exact():
			exact = append(exact, string(pattern))
		case ok:
			bounded, low, high = append(bounded, string(pattern)), append(low, from), append(high, to)
		default:
			unbounded = append(unbounded, string(pattern))
		}
	}
	withinMax, withinExcept := withinArgs(p)
	err = q.QueryRow(ctx, missedSQL, p.Removal, p.Given.Max, append([]uint64{}, p.Given.Except...), exact, bounded, low, high, unbounded,
		withinMax, withinExcept, p.EventID).Scan(&missed)
	return missed, err
}
