package admin

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// searchPage is a page while it is read.
type searchPage struct {
	Search
	schema outbox.Schema
	time   time.Duration
	// least is the smallest id that is held, last is past the largest.
	least, last int64
	// Events from From until Until are expected with ids from floor to below bound.
	floor, bound int64
	// The page begins below the id before and shows events visible in snapshot; for the
	// first page, 0 and the transaction's own.
	before   int64
	snapshot string
	// spans are the ids that are still to be searched, each span from its high end down.
	spans []span
	// bytes are those of the payloads found.
	bytes int64
}

// full reports whether the page has its bytes.
func (p *searchPage) full() bool { return p.Bytes > 0 && p.bytes >= p.Bytes }

// span is the ids from low to below high.
type span struct {
	low, high int64
	// stray is set for a span in which no event is expected.
	stray bool
}

// begin finds out which spans to search.
func (p *searchPage) begin(ctx context.Context, tx database.DB) error {
	const idsSQL = `SELECT pg_current_snapshot()::text, coalesce((SELECT min(id) FROM outcrier.event), 0), coalesce((SELECT max(id) + 1 FROM outcrier.event), 0)`
	var present string
	if err := tx.QueryRow(ctx, idsSQL).Scan(&present, &p.least, &p.last); err != nil {
		return err
	}
	if p.before == 0 {
		p.snapshot, p.floor, p.bound = present, p.least, p.last
		const idAtSQL = `SELECT outcrier.id_at($1)`
		for _, side := range []struct {
			id    *int64
			at    time.Time
			spare time.Duration
		}{{&p.floor, p.From, -disorder}, {&p.bound, p.Until, disorder}} {
			if side.at.IsZero() {
				continue
			}
			if err := tx.QueryRow(ctx, idAtSQL, side.at.Add(side.spare)).Scan(side.id); err != nil {
				return err
			}
			*side.id = min(*side.id, p.last)
		}
	}
	p.last = max(p.last, p.before) // the newest may be gone since the first page
	p.floor = min(p.floor, p.bound)
	p.spans = []span{{low: p.floor, high: p.bound}, {low: p.bound, high: p.last, stray: true}, {low: p.least, high: p.floor, stray: true}}
	if p.Until.IsZero() {
		p.spans[1].high = p.bound // all else came later than the first page
	}
	if p.before > 0 {
		switch {
		case p.before > p.bound:
			p.spans = p.spans[1:]
		case p.before <= p.floor:
			p.spans = p.spans[2:]
		}
		p.spans[0].high = p.before
	}
	p.spans = slices.DeleteFunc(p.spans, func(s span) bool { return s.stray && s.low >= s.high })
	return nil
}

// read reads one span, or the rest of it, and another only where that has no events.
func (p *searchPage) read(ctx context.Context, tx database.DB) (found Found, err error) {
	found.Events = []Hit{}
	began := time.Now()
	shown := p.statement(p.before, p.before, p.Limit) // empty, if all was removed since the first page
	if len(p.spans) > 0 {
		shown = p.statement(p.spans[0].high, p.spans[0].low, p.Limit)
	}
	for len(p.spans) > 0 && len(found.Events) < p.Limit && !found.Further {
		if p.spans[0].stray {
			switch some, err := p.strays(ctx, tx); {
			case err != nil:
				return Found{}, err
			case !some:
				p.spans = nil
				continue
			}
		}
		if len(found.Events) > 0 {
			break
		}
		s := p.spans[0]
		if err := p.readSpan(ctx, tx, began, &found); err != nil {
			return Found{}, err
		}
		shown = p.shown(s, &found)
		if p.spans[0].low >= p.spans[0].high {
			p.spans = p.spans[1:]
		}
	}
	if len(p.spans) > 0 {
		found.Next = fmt.Sprintf("%d-%d-%d.%s", p.spans[0].high, p.floor, p.bound, p.snapshot)
	}
	found.SQL = shown.copied(p.schema) + ";"
	return found, nil
}

// readSpan reads the first span until the page is full, its time over, or the span
// at its end: from its high end down, which it moves.
func (p *searchPage) readSpan(ctx context.Context, tx database.DB, began time.Time, found *Found) error {
	s, window := &p.spans[0], int64(firstWindow)
	for first := true; s.low < s.high && len(found.Events) < p.Limit && !p.full(); {
		if found.Further = !first && time.Since(began) > p.time; found.Further {
			break
		}
		looked := time.Now()
		low := max(s.high-window, s.low)
		hits, err := p.look(ctx, tx, span{low: low, high: s.high}, p.Limit-len(found.Events))
		switch took := time.Since(looked); {
		case timedOut(err) && window > leastWindow:
			window = max(window/8, leastWindow)
			continue
		case err != nil:
			return err
		case took < quickWindow:
			window *= windowGrowth
		case took > 2*quickWindow:
			window = max(window/2, leastWindow)
		}
		found.Events = append(found.Events, hits...)
		s.high, first = low, false
	}
	if n := len(found.Events); n == p.Limit || p.full() {
		s.high = found.Events[n-1].ID
	}
	found.ScannedTo = s.high
	return nil
}

// look is window in a savepoint, since it may time out and others follow.
func (p *searchPage) look(ctx context.Context, tx database.DB, s span, limit int) (hits []Hit, err error) {
	before := p.bytes
	err = tx.Savepoint(ctx, func(tx database.DB) (err error) {
		hits, err = p.window(ctx, tx, s, limit)
		return err
	})
	if err != nil {
		p.bytes = before
	}
	return hits, err
}

// window reads the hits of a span, until the page is full.
func (p *searchPage) window(ctx context.Context, tx database.DB, w span, limit int) ([]Hit, error) {
	s := p.statement(w.high, w.low, limit)
	preview := `left(payload::text, ` + strconv.Itoa(previewChars) + `)`
	if p.Whole {
		preview = `payload::text`
	}
	query := `
SELECT id, created_at, topic, type, source, headers, title, severity, ` + preview + `, char_length(payload::text), ` + publisherOf("page") + `
FROM (` + s.sql.String() + `) AS page ORDER BY id DESC`
	rows, err := tx.Query(ctx, query, s.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() // reads the remaining rows off the connection, and keeps none
	var hits []Hit
	for rows.Next() {
		hit, err := pgx.RowToStructByPos[Hit](rows)
		if err != nil {
			return nil, err
		}
		// Events of one id are on one page: the next one begins below it.
		if n := len(hits); p.full() && (n == 0 || hits[n-1].ID != hit.ID) {
			break
		}
		hits = append(hits, hit)
		p.bytes += int64(len(hit.Payload))
	}
	rows.Close()
	return hits, rows.Err()
}

// strays reports whether there are events of the time in the spans where none are expected,
// or too many rows to find out quickly: it searches the keys of the partitions of that
// time.
func (p *searchPage) strays(ctx context.Context, tx database.DB) (some bool, err error) {
	s := new(statement)
	// Not EXISTS, which is planned for the first of many.
	s.add("SELECT count(*) > 0 FROM outcrier.history WHERE (false")
	for _, each := range p.spans {
		s.add(" OR id >= ? AND id < ?", each.low, each.high)
	}
	s.add(")")
	p.where(s, " AND ")
	err = tx.Savepoint(ctx, func(tx database.DB) error {
		if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = '200ms'`); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, s.sql.String(), s.args...).Scan(&some); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `SELECT set_config('statement_timeout', $1, true)`, fmt.Sprint(statementLimit.Milliseconds()))
		return err
	})
	if timedOut(err) {
		return true, nil
	}
	return some, err
}
