package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

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
		event, err := scanEvent(rows, &trim)
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
