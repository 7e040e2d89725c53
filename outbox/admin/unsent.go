package admin

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/outcrier/outcrier/outbox/internal/database"
)

// unsentWindow is how many events one statement compares with the streams.
const unsentWindow = 500

// Unsent reads a page of the events that no stream on record was sent, as Search reads
// those that match: the newest first, by the same conditions but Text. Its cursor is an id.
func (a *Admin) Unsent(ctx context.Context, s Search) (found Found, err error) {
	var before int64
	if s.Cursor != "" {
		if before, err = strconv.ParseInt(s.Cursor, 10, 64); err != nil || before < 1 {
			return found, invalid(errCursor)
		}
		s.Cursor = ""
	}
	page, err := s.check()
	if err == nil && s.Text != "" {
		err = errors.New("text can't be looked for among events that were sent to nobody")
	}
	if err != nil {
		return found, invalid(err)
	}
	err = a.read(ctx, func(tx database.DB) error {
		if err := page.begin(ctx, tx); err != nil {
			return err
		}
		if before > 0 {
			page.bound = min(page.bound, before)
		}
		found, err = page.unsent(ctx, tx, a.searchTime)
		return err
	})
	found.SQL = a.Schema.SQL(unsentSQL)
	return found, err
}

// unsentSQL is the question for psql, of the last hour.
const unsentSQL = `SELECT h.id, h.created_at, h.topic, h.type
FROM outcrier.history AS h
WHERE h.id >= (SELECT outcrier.id_at(now() - interval '1 hour'))
  AND NOT EXISTS (SELECT FROM outcrier.receipts AS r WHERE r.id = h.id)
ORDER BY h.id DESC
LIMIT 50;`

// unsent reads a page from bound down to floor, for about as long as a search may take.
func (p *searchPage) unsent(ctx context.Context, tx database.DB, patience time.Duration) (found Found, err error) {
	found.Events, found.ScannedTo = []Hit{}, p.floor
	low, top := p.floor, p.bound
	for began := time.Now(); low < top; {
		candidates := p.candidates(low, top)
		events, lowest, err := scanned(ctx, tx, candidates)
		if err != nil {
			return found, err
		}
		hits, err := p.unsentOf(ctx, tx, candidates, p.Limit-len(found.Events))
		if err != nil {
			return found, err
		}
		found.Events = append(found.Events, hits...)
		if n := len(found.Events); n == p.Limit {
			found.ScannedTo = found.Events[n-1].ID
			found.Next = strconv.FormatInt(found.ScannedTo, 10)
			return found, nil
		}
		if events < unsentWindow {
			return found, nil
		}
		if top = lowest; time.Since(began) > patience {
			found.Further, found.ScannedTo, found.Next = true, top, strconv.FormatInt(top, 10)
			return found, nil
		}
	}
	return found, nil
}

// candidates selects the newest matching events with ids from low to below top.
func (p *searchPage) candidates(low, top int64) *statement {
	s := new(statement)
	s.add("SELECT id, xid, topic, type, created_at FROM outcrier.event WHERE id >= ? AND id < ? AND topic <> ''", low, top)
	p.where(s, " AND ")
	s.add(" ORDER BY id DESC LIMIT ?", unsentWindow)
	return s
}

// unsentOf reads the candidates that no stream was sent. A topic can be selected only by
// patterns whose part before the first star is the topic or one above it, so the streams
// are found by a hash of that.
func (p *searchPage) unsentOf(ctx context.Context, tx database.DB, candidates *statement, limit int) ([]Hit, error) {
	q := &statement{args: candidates.args}
	q.sql.WriteString(`
WITH e AS MATERIALIZED (` + candidates.sql.String() + `), s AS MATERIALIZED (
	SELECT s.from_set, s.position_set, s.live_set, s.since, s.types, s.xid_range, t.pattern, rtrim(split_part(t.pattern, '*', 1), '/') AS stem
	FROM outcrier.stream AS s CROSS JOIN unnest(s.topics) AS t (pattern)
	WHERE s.history = ` + presentHistory + ` AND s.xid_range && (SELECT int8range(min(xid::text::bigint), max(xid::text::bigint), '[]') FROM e)
), sent AS (
	SELECT e.id FROM (
		SELECT e.*, array_to_string((string_to_array(e.topic, '/'))[:n], '/') AS stem
		FROM e CROSS JOIN generate_series(0, cardinality(string_to_array(e.topic, '/'))) AS n
	) AS e WHERE EXISTS (SELECT FROM s WHERE s.stem = e.stem AND ` + sentByPattern + `)
)
SELECT h.id, h.created_at, h.topic, h.type, h.source, h.headers, h.title, h.severity, left(h.payload::text, ` + strconv.Itoa(previewChars) + `), char_length(h.payload::text), ` + publisherOf("h") + `
FROM (SELECT id FROM e WHERE id NOT IN (SELECT id FROM sent) `)
	q.add(`ORDER BY id DESC LIMIT ?) AS e JOIN outcrier.history AS h ON h.id = e.id ORDER BY h.id DESC`, limit)
	return rowsOf[Hit](ctx, tx, q.sql.String(), q.args...)
}
