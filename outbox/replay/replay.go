package replay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/internal/table"
)

// Page is a piece of a range.
type Page struct {
	// Events are in the order of their ids.
	Events []outbox.Event
	// After is the id after which the next page begins. Events with the same id, which
	// exist where the sequence was set back, are in one page.
	After int64
	// Done is set when the range ends with this page.
	Done bool

	memory *memory
	plan   *plan
}

// Free recycles the page's memory for a later page: its events must not be used afterwards,
// except for their strings. It need not be called.
func (p *Page) Free() {
	if p.memory != nil {
		p.memory.put(p.Events)
	}
	p.Events, p.memory = nil, nil
}

// A page of at least this many events is read into recycled memory: garbage collection was
// a third of the server's work in a long replay.
const manyEvents = 512

// A page of a replay holds at most this many events, and about this many bytes. Rows read
// beyond a full page are wasted: so many small events are about so many bytes.
const (
	pageBytes  = 1 << 20
	pageEvents = 2000
)

// lowestSQL finds the smallest id of a range. The branches of the query and OFFSET 0 keep it
// on the index by xid; min(id) on its own would walk the table by id.
const lowestSQL = `
SELECT min(id) FROM (
	SELECT id FROM (SELECT id, xid FROM outcrier.event WHERE xid > $1 AND xid <= $3 OFFSET 0) AS a WHERE xid <> ALL ($4::xid8[])
	UNION ALL
	SELECT id FROM (SELECT id, xid FROM outcrier.event WHERE xid = ANY ($2::xid8[]) AND xid <= $1 OFFSET 0) AS b WHERE xid <= $3 AND xid <> ALL ($4::xid8[])
) AS ids`

const rangeCondition = `o.id > $5 AND (o.xid > $1 OR o.xid = ANY ($2::xid8[])) AND o.xid <= $3 AND o.xid <> ALL ($4::xid8[]) AND o.created_at >= $7`

// topicSQL is a page for one topic, and topicsSQL for several, merged by id. The topic is a
// range, and the order includes it, so that both use the index by topic and id: a generic
// plan may take the walk by id for as cheap, which it is not for a rare topic.
const (
	topicSQL = `
SELECT ` + table.Columns + `, (SELECT max(removal) FROM outcrier.removal) FROM outcrier.event AS o
WHERE o.topic >= $8 AND o.topic <= $8 AND ` + rangeCondition + ` ORDER BY o.topic, o.id FETCH FIRST $6 ROWS WITH TIES`

	topicsSQL = `
SELECT ` + table.Columns + `, (SELECT max(removal) FROM outcrier.removal) FROM unnest($8::text[]) AS t(name) CROSS JOIN LATERAL (
	SELECT ` + table.Columns + ` FROM outcrier.event AS o
	WHERE o.topic >= t.name AND o.topic <= t.name AND ` + rangeCondition + ` ORDER BY o.topic, o.id FETCH FIRST $6 ROWS WITH TIES
) AS e ORDER BY id FETCH FIRST $6 ROWS WITH TIES`
)

// rangesOfTopicsSQL is a page for ranges of topics that have few events.
const rangesOfTopicsSQL = `
SELECT ` + table.Columns + `, (SELECT max(removal) FROM outcrier.removal) FROM unnest($8::text[], $9::text[]) AS t(low, high) CROSS JOIN LATERAL (
	SELECT ` + table.Columns + ` FROM outcrier.event AS o
	WHERE o.topic >= t.low AND o.topic < t.high AND ` + rangeCondition + ` ORDER BY o.topic, o.id OFFSET 0
) AS e ORDER BY id FETCH FIRST $6 ROWS WITH TIES`

// allSQL is a page for all topics, and patternsSQL one for patterns that match more topics
// than can be listed (it also returns some events that do not match): both walk by id, up to
// $8. Rows on no topic are left out.
const (
	allSQL = `
SELECT ` + table.Columns + `, (SELECT max(removal) FROM outcrier.removal) FROM outcrier.event AS o
WHERE ` + rangeCondition + ` AND o.id <= $8 AND o.topic <> '' ORDER BY id FETCH FIRST $6 ROWS WITH TIES`

	patternsSQL = `
SELECT ` + table.Columns + `, (SELECT max(removal) FROM outcrier.removal) FROM outcrier.event AS o
WHERE ` + rangeCondition + ` AND o.id <= $8 AND o.topic <> '' AND (o.topic = ANY ($9::text[]) OR o.topic LIKE ANY ($10::text[]))
ORDER BY id FETCH FIRST $6 ROWS WITH TIES`
)

// ErrTrimmed is returned for a range of which events have been removed since its start was
// verified: by retention, or together with the history that it is of. The reader's position
// must be validated again.
var ErrTrimmed = errors.New("events of the replay have been removed")

// Replay reads the next page of a range for a filter, of at most limit events and about
// so many bytes, if those are above 0. It reads in pages so that a slow reader holds
// neither a connection nor a snapshot.
func (r Reader) Replay(ctx context.Context, rng Range, filter outbox.Filter, limit, bytes int) (page Page, err error) {
	ctx, cancel := r.patient(ctx)
	defer cancel()
	err = database.InPool(ctx, r.Pool, r.Schema, func(q database.DB) error {
		page, err = replay(ctx, q, rng, filter, limit, bytes)
		return err
	})
	return page, err
}

func replay(ctx context.Context, q database.DB, rng Range, filter outbox.Filter, limit, bytes int) (Page, error) {
	how, after, err := planned(ctx, q, rng, filter)
	if err != nil {
		return Page{}, err
	}
	if bytes <= 0 {
		bytes = pageBytes
	}
	limit = min(limit, pageEvents)
	upto := int64(math.MaxInt64)
	from, to := rng.From.Given, rng.To.Given
	args := []any{table.Binary, from.Max, from.Except, to.Max, to.Except, after, limit, filter.Since}
	var query string
	switch {
	case how.low != nil:
		query, args = rangesOfTopicsSQL, append(args, how.low, how.high)
	case len(how.topics) == 1:
		query, args = topicSQL, append(args, how.topics[0])
	case how.topics != nil:
		limit = min(limit, max(1, mergedEvents/len(how.topics)))
		args[6] = limit
		query, args = topicsSQL, append(args, how.topics)
	default:
		if after < math.MaxInt64-how.window {
			upto = after + how.window
		}
		query, args = allSQL, append(args, upto)
		if how.exact != nil {
			query, args = patternsSQL, append(args, how.exact, how.patterns)
		}
	}
	page, err := readPage(ctx, q, rng, filter, limit, min(bytes, pageBytes), query, args)
	if err == nil && page.Done && upto < math.MaxInt64 {
		// The window had no more. What follows it may be far away.
		var more bool
		page.After, more, err = next(ctx, q, upto)
		page.Done = !more
	}
	if err != nil {
		return Page{}, fmt.Errorf("replay: %w", err)
	}
	page.plan = how
	return page, nil
}

func readPage(ctx context.Context, q database.DB, rng Range, filter outbox.Filter, limit, bytes int, query string, args []any) (Page, error) {
	rows, err := q.Query(ctx, query, args...)
	if err != nil {
		return Page{}, err
	}
	defer rows.Close()
	page := Page{After: rng.After}
	var d table.Decoder
	if limit >= manyEvents {
		page.memory = memories.Get().(*memory)
		page.Events, d.Arena = page.memory.take()
		defer func() { page.memory.arena, page.memory.kept = d.Arena, d.Kept }()
	}
	var removed bool
	size, read, full := 0, 0, false
	for rows.Next() {
		event, err := d.Decode(rows)
		if err != nil {
			return Page{}, err
		}
		if full = size >= bytes && event.ID != page.After; full {
			break
		}
		read++
		removal := d.Row[table.More]
		removed = removal != nil && d.Int64(table.More) != rng.From.Removal
		size += table.Size(&event)
		page.After = event.ID
		if filter.Match(event.Topic, event.Type) {
			page.Events = append(page.Events, event)
		}
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return Page{}, err
	}
	page.Done = !full && read < limit
	if read == 0 || removed {
		return page, unremoved(ctx, q, rng, filter)
	}
	return page, nil
}

// unremoved returns ErrTrimmed if events of the range were removed before they were read.
func unremoved(ctx context.Context, q database.DB, rng Range, filter outbox.Filter) error {
	_, reason, err := table.Verify(ctx, q, rng.From, filter.Topics)
	switch {
	case err != nil:
		return err
	case reason != "":
		return fmt.Errorf("%w: %s", ErrTrimmed, reason)
	}
	return nil
}

// split separates exact topics from patterns, and returns the latter as patterns of LIKE.
func split(topics []outbox.Pattern) (exact, patterns []string) {
	exact, patterns = []string{}, []string{}
	for _, p := range topics {
		if p.Exact() {
			exact = append(exact, string(p))
		} else {
			patterns = append(patterns, database.Like(p))
		}
	}
	slices.Sort(exact)
	return slices.Compact(exact), patterns
}
