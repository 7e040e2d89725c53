package admin

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/outcrier/outcrier/outbox/internal/database"
)

// StreamSearch selects streams that the audit has on record.
type StreamSearch struct {
	// Ended selects those that have ended, the last first; else those that are
	// open, the newest first.
	Ended bool
	// Subject and Node, when not empty, are exactly these; a Subject that ends in "*" is
	// the beginning of one.
	Subject, Node string
	// Reason, when not empty, is why the stream ended.
	Reason string
	// Slow selects open streams whose readers don't keep up.
	Slow bool
	// BySent has those first that were sent the most, on one page.
	BySent bool
	// Cursor is the Next of the page to continue after.
	Cursor string
}

// StreamRow is a stream on record.
type StreamRow struct {
	Run           int64      `json:"run"`
	Stream        int64      `json:"stream"`
	Node          string     `json:"node"`
	Subject       string     `json:"subject"`
	ClientAddress string     `json:"client_address"`
	Topics        []string   `json:"topics"`
	Types         []string   `json:"types"`
	Since         *time.Time `json:"since"`
	OpenedAt      time.Time  `json:"opened_at"`
	Position      string     `json:"position"`
	PositionAt    time.Time  `json:"position_at"`
	Events        int64      `json:"events"`
	LastEvent     *int64     `json:"last_event"`
	ClosedAt      *time.Time `json:"closed_at"`
	EndReason     *string    `json:"end_reason"`
	// EndRequestedAt is when an administrator requested its end, EndRequestedBy who it was.
	EndRequestedAt *time.Time `json:"end_requested_at"`
	EndRequestedBy *string    `json:"end_requested_by"`
	// SlowFor is for how long its reader has not kept up, in seconds, some seconds ago;
	// nil for one that does.
	SlowFor *float64 `json:"slow_for_s"`
}

// StreamPage is how many streams a page holds.
const StreamPage = 50

// StreamsFound is a page of streams.
type StreamsFound struct {
	Streams []StreamRow `json:"streams"`
	// Next is the cursor of the next page; empty on the last one.
	Next string `json:"next"`
	// Total is how many match on all pages, 10,000 if it is more.
	Total int `json:"total"`
}

// streamTotal is up to how many streams are counted.
const streamTotal = 10_000

// slowFor is the part of a stream's node's word about itself that has the stream.
const slowFor = `(SELECT (e ->> 'for_s')::float8 FROM outcrier.node AS n CROSS JOIN jsonb_array_elements(n.about -> 'slow') AS e
	WHERE n.run = s.run AND (e ->> 'stream')::bigint = s.stream LIMIT 1)`

// streamCursor is a time in microseconds, a run and a stream.
var streamCursor = regexp.MustCompile(`^(-?[0-9]{1,18})\.([0-9]{1,18})\.([0-9]{1,18})$`)

// Streams reads a page. Streams that open between two pages are on none of the later pages,
// and no stream is on two.
func (a *Admin) Streams(ctx context.Context, s StreamSearch) (found StreamsFound, err error) {
	where := s.where()
	page, err := s.page(where)
	if err != nil {
		return found, invalid(err)
	}
	where.add(" LIMIT ?", streamTotal)
	err = a.read(ctx, func(tx database.DB) error {
		if found.Streams, err = rowsOf[StreamRow](ctx, tx, page.sql.String(), page.args...); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT count(*) FROM (SELECT"+where.sql.String()+") AS s", where.args...).Scan(&found.Total)
	})
	if err == nil && len(found.Streams) > StreamPage {
		found.Streams = found.Streams[:StreamPage]
		last := found.Streams[StreamPage-1]
		at := last.OpenedAt
		if s.Ended {
			at = *last.ClosedAt
		}
		if !s.BySent {
			found.Next = fmt.Sprintf("%d.%d.%d", at.UnixMicro(), last.Run, last.Stream)
		}
	}
	return found, err
}

// where returns the rest of a SELECT, from FROM on, of the streams that match on all pages.
func (s *StreamSearch) where() *statement {
	where := new(statement)
	where.add(" FROM outcrier.stream AS s WHERE closed_at IS ")
	if s.Ended {
		where.add("NOT ")
	}
	where.add("NULL")
	where.subject(s.Subject)
	if s.Node != "" {
		where.add(" AND node = ?", s.Node)
	}
	if s.Reason != "" {
		where.add(" AND end_reason = ?", s.Reason)
	}
	if s.Slow {
		where.add(" AND " + slowFor + " IS NOT NULL")
	}
	return where
}

// page returns the query for one page and the first stream of the next, or why the search is
// not valid.
func (s *StreamSearch) page(where *statement) (*statement, error) {
	if err := errors.Join(plainText("subject", s.Subject, 1000), plainText("node", s.Node, 1000), plainText("reason", s.Reason, 1000)); err != nil {
		return nil, err
	}
	order := "opened_at"
	if s.Ended {
		order = "closed_at"
	}
	q := &statement{args: slices.Clone(where.args)}
	q.sql.WriteString(`SELECT run, stream, node, subject, client_address, topics, types, since, opened_at, position, position_at, events, last_event,
	closed_at, end_reason, end_requested_at, end_requested_by, ` + slowFor + where.sql.String())
	if s.Cursor != "" {
		parts := streamCursor.FindStringSubmatch(s.Cursor)
		if parts == nil {
			return nil, errCursor
		}
		var numbers [3]int64
		for i := range numbers {
			numbers[i], _ = strconv.ParseInt(parts[i+1], 10, 64) // 18 digits
		}
		q.add(" AND ("+order+", run, stream) < (?, ?, ?)", time.UnixMicro(numbers[0]), numbers[1], numbers[2])
	}
	if s.BySent {
		order = "events DESC, " + order
	}
	q.add(" ORDER BY "+order+" DESC, run DESC, stream DESC LIMIT ?", StreamPage+1)
	return q, nil
}

// EndStream requests the end of a stream of the node that serves it, which ends it within a
// second or so of being able to. It returns false if the stream is not open according to
// the audit.
func (a *Admin) EndStream(ctx context.Context, run, stream int64, requestedBy string) (open bool, err error) {
	err = a.change(ctx, func(tx database.DB) error {
		const endSQL = `SELECT outcrier.end_stream($1, $2, $3)`
		return tx.QueryRow(ctx, endSQL, run, stream, database.Clean(requestedBy)).Scan(&open)
	})
	return open, err
}
