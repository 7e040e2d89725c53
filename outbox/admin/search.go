package admin

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// Search selects events of the history. Empty fields select all.
type Search struct {
	// Topic is a topic or a pattern.
	Topic outbox.Pattern
	// Type is a type, or the beginning of one with a final "*".
	Type string
	// From and Until bound when an event was appended: at or after From, and
	// before Until.
	From, Until time.Time
	// Text must be in the payload, as jsonb writes it (one blank after ":" and ",", no
	// escapes that are not needed); case does not matter. At most 200 bytes.
	Text string
	// Cursor is the Next of the page to continue after.
	Cursor string
	// Limit is how many events a page holds, from 1 to 200.
	Limit int
	// Whole has hits with their payloads whole, for an export.
	Whole bool
	// Bytes, when above 0, ends a page with the event whose payload fills so many bytes.
	Bytes int64
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
	// Publisher is as in Detail.
	Publisher *string `json:"publisher"`
}

// Found is a page of a search, the newest event first.
type Found struct {
	Events []Hit `json:"events"`
	// Next is the cursor of the next page; empty on the last one. A page need not be full
	// for that: see Admin.Search.
	Next string `json:"next"`
	// Further is set when the search stopped before the page was full, because it had taken
	// its time: Next looks further back. ScannedTo is how far back it looked, an event's
	// id.
	Further   bool  `json:"further"`
	ScannedTo int64 `json:"scanned_to"`
	// SQL is the statement for psql that returns the page's events.
	SQL string `json:"sql"`
}

// ErrSearch is wrapped by every error about an invalid search.
var ErrSearch = errors.New("search")

var errCursor = errors.New("invalid cursor: give next as the page before had it")

func invalid(err error) error { return fmt.Errorf("%w: %w", ErrSearch, err) }

// A search looks at the history in windows of ids, from the newest back, so that every
// statement is short: the windows grow while they are quick, shrink when one is not, and
// the page ends when its time is over.
const (
	searchText   = 200
	searchLimit  = 200
	firstWindow  = 1024
	leastWindow  = 16
	windowGrowth = 4
	// A window that took longer is not followed by a larger one.
	quickWindow = 150 * time.Millisecond
	// cursorBytes has room for the ids of more transactions than Postgres usually has
	// connections.
	cursorBytes = 64 << 10
	// previewChars is how much of a payload a page shows.
	previewChars = 300
	// disorder is how far apart the orders of ids and of times may be for an event to be on
	// its page: events that are further off follow on pages of their own.
	disorder = time.Minute
)

// Search reads a page. All pages that follow each other are of one moment, that
// of the first: an event that is committed later, with whatever id, is on none,
// and each other is on exactly one.
//
// A time is looked for where the SQL function id_at says that its ids are, with a minute to
// spare. Events of the time with ids elsewhere, as of a clock that was set back, follow
// after the rest, on pages of their own.
func (a *Admin) Search(ctx context.Context, s Search) (found Found, err error) {
	page, err := s.check()
	if err != nil {
		return Found{}, invalid(err)
	}
	page.time, page.schema = a.searchTime, a.Schema
	err = a.read(ctx, func(tx database.DB) error {
		if err := page.begin(ctx, tx); err != nil {
			return err
		}
		found, err = page.read(ctx, tx)
		return malformed(err)
	})
	return found, err
}

// cursorText matches a cursor: where the page begins, the ids that the first page got from
// id_at, and its snapshot, whose length depends on the transactions in flight.
var cursorText = regexp.MustCompile(`^([0-9]{1,18})-([0-9]{1,18})-([0-9]{1,18})\.([0-9]{1,19}:[0-9]{1,19}:[0-9,]*)$`)

// check returns the page that the search asks for, or why the search is not valid.
func (s *Search) check() (*searchPage, error) {
	if s.Topic != "" {
		if _, err := outbox.ParsePattern(string(s.Topic)); err != nil {
			return nil, err
		}
	}
	if s.Type != "" {
		if _, err := outbox.ParseType(s.Type); err != nil {
			return nil, err
		}
	}
	if err := plainText("text", s.Text, searchText); err != nil {
		return nil, err
	}
	switch {
	case s.Limit < 1 || s.Limit > searchLimit:
		return nil, fmt.Errorf("limit must be from 1 to %d, not %d", searchLimit, s.Limit)
	case !inYears(s.From) || !inYears(s.Until):
		return nil, errors.New("from and until must be within the years 1 to 9999")
	case s.Cursor == "":
		return &searchPage{Search: *s}, nil
	}
	parts := cursorText.FindStringSubmatch(s.Cursor)
	if parts == nil || len(s.Cursor) > cursorBytes {
		return nil, errCursor
	}
	var ids [3]int64
	for i := range ids {
		ids[i], _ = strconv.ParseInt(parts[i+1], 10, 64) // 18 digits
	}
	return &searchPage{Search: *s, before: ids[0], floor: ids[1], bound: ids[2], snapshot: parts[4]}, nil
}

func inYears(t time.Time) bool { return t.IsZero() || t.Year() >= 1 && t.Year() <= 9999 }

// malformed replaces Postgres's error about the snapshot in a cursor.
func malformed(err error) error {
	if database.SQLState(err) == "22P02" { // invalid_text_representation
		return invalid(errCursor)
	}
	return err
}
