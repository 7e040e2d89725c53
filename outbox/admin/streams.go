package admin

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
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
	if err := errors.Join(plainText("subject", s.Subject, 1000), plainText("node", s.Node, 1000), plainText("reason", s.Reason, 1000)); err != nil {
		return found, fmt.Errorf("%w: %w", ErrSearch, err)
	}
	column, open := "opened_at", "closed_at IS NULL"
	if s.Ended {
		column, open = "closed_at", "closed_at IS NOT NULL"
	}
	where := new(statement)
	where.add(" FROM outcrier.stream AS s WHERE " + open)
	if prefix, ok := strings.CutSuffix(s.Subject, "*"); ok {
		where.add(" AND subject >= ? AND starts_with(subject, ?)", prefix, prefix)
	} else if s.Subject != "" {
		where.add(" AND subject = ?", s.Subject)
	}
	if s.Node != "" {
		where.add(" AND node = ?", s.Node)
	}
	if s.Reason != "" {
		where.add(" AND end_reason = ?", s.Reason)
	}
	if s.Slow {
		where.add(" AND " + slowFor + " IS NOT NULL")
	}
	q := &statement{args: slices.Clone(where.args)}
	q.sql.WriteString(`SELECT run, stream, node, subject, client_address, topics, types, since, opened_at, position, position_at, events, last_event,
	closed_at, end_reason, end_requested_at, end_requested_by, ` + slowFor + where.sql.String())
	if s.Cursor != "" {
		parts := streamCursor.FindStringSubmatch(s.Cursor)
		if parts == nil {
			return found, fmt.Errorf("%w: invalid cursor: give next as the page before had it", ErrSearch)
		}
		var numbers [3]int64
		for i := range numbers {
			numbers[i], _ = strconv.ParseInt(parts[i+1], 10, 64) // 18 digits
		}
		q.add(" AND ("+column+", run, stream) < (?, ?, ?)", time.UnixMicro(numbers[0]), numbers[1], numbers[2])
	}
	if s.BySent {
		column = "events DESC, " + column
	}
	q.add(" ORDER BY "+column+" DESC, run DESC, stream DESC LIMIT ?", StreamPage+1)
	where.add(" LIMIT ?", streamTotal)
	err = a.read(ctx, func(tx database.DB) error {
		if found.Streams, err = rowsOf[StreamRow](ctx, tx, q.sql.String(), q.args...); err != nil {
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

// EndStream requests the end of a stream of the node that serves it, which ends it within a
// second or so of being able to. It returns false if the stream is not open according to
// the audit.
func (a *Admin) EndStream(ctx context.Context, run, stream int64, requestedBy string) (open bool, err error) {
	err = a.change(ctx, func(tx database.DB) error {
		const endSQL = `SELECT coalesce(outcrier.end_stream($1, $2, $3), false)`
		return tx.QueryRow(ctx, endSQL, run, stream, database.Clean(requestedBy)).Scan(&open)
	})
	return open, err
}
