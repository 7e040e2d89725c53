package outbox

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Search selects events of the history. Empty fields select all.
type Search struct {
	// Topic is a topic or a pattern.
	Topic Pattern
	// Type is a type, or the beginning of one with a final "*".
	Type string
	// From and Until bound when an event was appended: at or after From, and
	// before Until.
	From, Until time.Time
	// Text must be in the payload, as jsonb writes it (one blank behind ":" and
	// ",", no escapes that are not needed), in letters of either case. At most
	// 200 bytes.
	Text string
	// Cursor goes on where another page ended, which had it as Next.
	Cursor string
	// Limit is how many events a page holds, from 1 to 200.
	Limit int
}

// Hit is one event of a page.
type Hit struct {
	ID        int64             `json:"id"`
	CreatedAt time.Time         `json:"created_at"`
	Topic     string            `json:"topic"`
	Type      string            `json:"type"`
	Source    string            `json:"source"`
	Headers   map[string]string `json:"headers"`
	Title     *string           `json:"title"`
	Severity  *string           `json:"severity"`
	// Payload is the payload's beginning as jsonb writes it, PayloadChars how
	// many characters it has in all.
	Payload      string `json:"payload"`
	PayloadChars int    `json:"payload_chars"`
}

// Found is a page of a search, the newest event first.
type Found struct {
	Events []Hit `json:"events"`
	// Next is the cursor of what follows; empty when nothing does.
	Next string `json:"next"`
	// Further is set when the search stopped before the page was full, since it
	// had looked at so much: Next looks further back. ScannedTo is how far back it
	// looked, an event's id.
	Further   bool  `json:"further"`
	ScannedTo int64 `json:"scanned_to"`
	// SQL is the statement for psql that gives the page's events.
	SQL string `json:"sql"`
}

// ErrSearch is of a search that can't be understood.
var ErrSearch = errors.New("search")

// A search looks at the history in windows of ids, from the newest back, so that
// no statement looks at more than is bearable: the windows grow while they are
// quick, shrink when one is not, and end the page when its time is over.
const (
	searchText   = 200
	searchLimit  = 200
	firstWindow  = 1024
	leastWindow  = 16
	windowGrowth = 4
	// A window that took longer is not followed by a larger one.
	quickWindow = 150 * time.Millisecond
	// cursorBytes is more than Postgres has connections, as a rule.
	cursorBytes = 64 << 10
	// previewChars is how much of a payload a page shows.
	previewChars = 300
	// disorder is how far ids and times may be out of step for the search to be
	// quick: it is right all the same where they are by more.
	disorder = time.Minute
)

// Search reads a page. All pages that follow each other are of one moment, that
// of the first: an event that is committed later, with whatever id, is on none,
// and each other is on exactly one.
func (a *Admin) Search(ctx context.Context, s Search) (found Found, err error) {
	before, snapshot, err := s.check()
	if err != nil {
		return Found{}, fmt.Errorf("%w: %w", ErrSearch, err)
	}
	err = a.read(ctx, func(tx pgx.Tx) error {
		const boundsSQL = `
SELECT pg_current_snapshot()::text, coalesce((SELECT min(id) FROM outbox), 0), coalesce((SELECT max(id) FROM outbox), 0), coalesce(outbox_id_at($1), 0)`
		var until *time.Time
		if !s.Until.IsZero() {
			spared := s.Until.Add(disorder)
			until = &spared
		}
		var present string
		var least, most, bound int64
		if err := tx.QueryRow(ctx, boundsSQL, until).Scan(&present, &least, &most, &bound); err != nil {
			return err
		}
		page := searched{Search: s, time: a.searchTime, least: least, bound: bound, before: before, snapshot: snapshot, top: min(before, most+1)}
		if page.snapshot == "" {
			page.snapshot, page.top = present, most+1
		}
		found, err = page.read(ctx, tx)
		return err
	})
	return found, err
}

// cursorText is an id, and the snapshot of the first page: as long as there were
// transactions in flight.
var cursorText = regexp.MustCompile(`^([0-9]{1,18})\.([0-9]{1,19}:[0-9]{1,19}:[0-9,]*)$`)

func (s *Search) check() (before int64, snapshot string, err error) {
	if s.Topic != "" {
		if _, err := ParsePattern(string(s.Topic)); err != nil {
			return 0, "", err
		}
	}
	if s.Type != "" {
		if _, err := ParseType(s.Type); err != nil {
			return 0, "", err
		}
	}
	if err := plainText("text", s.Text, searchText); err != nil {
		return 0, "", err
	}
	switch {
	case s.Limit < 1 || s.Limit > searchLimit:
		return 0, "", fmt.Errorf("limit must be from 1 to %d, not %d", searchLimit, s.Limit)
	case !inYears(s.From) || !inYears(s.Until):
		return 0, "", errors.New("from and until must be within the years 1 to 9999")
	case s.Cursor == "":
		return 0, "", nil
	}
	parts := cursorText.FindStringSubmatch(s.Cursor)
	if parts == nil || len(s.Cursor) > cursorBytes {
		return 0, "", errors.New("the cursor is none that a page had")
	}
	before, err = strconv.ParseInt(parts[1], 10, 64)
	return before, parts[2], err
}

func inYears(t time.Time) bool { return t.IsZero() || t.Year() >= 1 && t.Year() <= 9999 }

// searched is a page while it is read.
type searched struct {
	Search
	time time.Duration
	// least is the smallest id that is held.
	least int64
	// bound is an id from which on nothing is expected, since all of it was
	// appended too late; 0 for none.
	bound int64
	// before bounds the ids of all but the first page; its snapshot is shown
	// only then.
	before   int64
	snapshot string
	// top is where the next window ends.
	top int64
}

func (p *searched) read(ctx context.Context, tx pgx.Tx) (Found, error) {
	found := Found{Events: []Hit{}, ScannedTo: p.top}
	began, window := time.Now(), int64(firstWindow)
	if p.bound > 0 && p.bound < p.top {
		// One look at the index: there can be some, of an hour that came twice.
		low := max(p.bound, p.least)
		hits, err := p.look(ctx, tx, low, p.Limit)
		switch {
		case err == nil:
			found.Events, p.top = append(found.Events, hits...), low
			found.ScannedTo = p.top
		case !timedOut(err):
			return Found{}, malformed(err)
		}
	}
	for p.top > p.least && len(found.Events) < p.Limit {
		if found.Further = time.Since(began) > p.time && p.top < found.ScannedTo; found.Further {
			break
		}
		looked := time.Now()
		low := max(p.top-window, p.least)
		hits, err := p.look(ctx, tx, low, p.Limit-len(found.Events))
		switch took := time.Since(looked); {
		case timedOut(err) && window > leastWindow:
			window = max(window/8, leastWindow)
			continue
		case err != nil:
			return Found{}, malformed(err)
		case took < quickWindow:
			window *= windowGrowth
		case took > 2*quickWindow:
			window = max(window/2, leastWindow)
		}
		found.Events = append(found.Events, hits...)
		p.top = low
	}
	full := len(found.Events) == p.Limit
	if full {
		p.top = found.Events[p.Limit-1].ID
	}
	found.ScannedTo = p.top
	if p.top > p.least {
		found.Next = fmt.Sprintf("%d.%s", p.top, p.snapshot)
	}
	shown := p.statement(p.before, p.shownFloor(full), p.Limit)
	found.SQL = shown.copied() + ";"
	return found, nil
}

// shownFloor is the id down to which the shown statement looks: none where its
// limit ends it, or where there is nothing more.
func (p *searched) shownFloor(full bool) int64 {
	if full || p.top <= p.least {
		return 0
	}
	return p.top
}

// look is window in a savepoint: it may time out, and others follow.
func (p *searched) look(ctx context.Context, tx pgx.Tx, low int64, limit int) (hits []Hit, err error) {
	err = pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) (err error) {
		hits, err = p.window(ctx, tx, low, limit)
		return err
	})
	return hits, err
}

// window reads the hits from low to p.top.
func (p *searched) window(ctx context.Context, tx pgx.Tx, low int64, limit int) ([]Hit, error) {
	s := p.statement(p.top, low, limit)
	query := `
SELECT id, created_at, topic, type, source, headers, title, severity, left(payload::text, ` + strconv.Itoa(previewChars) + `), char_length(payload::text)
FROM (` + s.sql.String() + `) AS page ORDER BY id DESC`
	return rowsOf[Hit](ctx, tx, query, s.args...)
}

// statement is the search for ids from low, if it is not 0, to below top, if it
// is not 0.
func (p *searched) statement(top, low int64, limit int) *statement {
	s := new(statement)
	s.add("SELECT id, created_at, topic, type, payload, source, headers, severity, title\nFROM outbox_history")
	word := "\nWHERE "
	where := func(sql string, values ...any) {
		s.add(word)
		s.add(sql, values...)
		word = "\n  AND "
	}
	if top > 0 {
		where("id < ?", top)
	}
	if low > 0 {
		where("id >= ?", low)
	}
	switch {
	case p.Topic == "" || p.Topic == "**":
	case p.Topic.Exact():
		where("topic = ?", string(p.Topic))
	default:
		where("outbox_matches(topic, ?)", string(p.Topic))
	}
	if prefix, ok := strings.CutSuffix(p.Type, "*"); ok && prefix != "" {
		where("starts_with(type, ?)", prefix)
	} else if p.Type != "" && !ok {
		where("type = ?", p.Type)
	}
	if !p.From.IsZero() {
		where("created_at >= ?", p.From)
	}
	if !p.Until.IsZero() {
		where("created_at < ?", p.Until)
	}
	if p.Text != "" {
		where("payload::text ILIKE ?", likeContains(p.Text))
	}
	if p.before > 0 {
		where("pg_visible_in_snapshot(xid, ?)", p.snapshot)
	}
	s.add("\nORDER BY id DESC\nLIMIT ?", limit)
	return s
}

// malformed says of a snapshot in a cursor that it is none.
func malformed(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "22P02" {
		return fmt.Errorf("%w: the cursor is none that a page had", ErrSearch)
	}
	return err
}
