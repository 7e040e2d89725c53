package outbox

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// StreamSearch selects streams that the audit has on record.
type StreamSearch struct {
	// Ended selects those that have ended, the last first; else those that are
	// open, the newest first.
	Ended bool
	// Subject and Node, when not empty, are exactly these.
	Subject, Node string
	// Cursor goes on where another page ended.
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
	// EndRequestedAt is when somebody requested its end, EndRequestedBy who.
	EndRequestedAt *time.Time `json:"end_requested_at"`
	EndRequestedBy *string    `json:"end_requested_by"`
}

// StreamPage is how many streams a page holds.
const StreamPage = 50

// StreamsFound is a page of streams.
type StreamsFound struct {
	Streams []StreamRow `json:"streams"`
	// Next is the cursor of what follows; empty when nothing does.
	Next string `json:"next"`
}

// streamCursor is a time in microseconds, a run and a stream.
var streamCursor = regexp.MustCompile(`^(-?[0-9]{1,18})\.([0-9]{1,18})\.([0-9]{1,18})$`)

// Streams reads a page. Streams that are opened while somebody pages are on none
// of the pages that follow, and none is on two.
func (a *Admin) Streams(ctx context.Context, s StreamSearch) (found StreamsFound, err error) {
	if err := errors.Join(plainText("subject", s.Subject, 1000), plainText("node", s.Node, 1000)); err != nil {
		return found, fmt.Errorf("%w: %w", ErrSearch, err)
	}
	column, open := "opened_at", "closed_at IS NULL"
	if s.Ended {
		column, open = "closed_at", "closed_at IS NOT NULL"
	}
	q := new(statement)
	q.add(`SELECT run, stream, node, subject, client_address, topics, types, since, opened_at, position, position_at, events, last_event,
	closed_at, end_reason, end_requested_at, end_requested_by FROM outcrier.stream WHERE ` + open)
	if s.Subject != "" {
		q.add(" AND subject = ?", s.Subject)
	}
	if s.Node != "" {
		q.add(" AND node = ?", s.Node)
	}
	if s.Cursor != "" {
		parts := streamCursor.FindStringSubmatch(s.Cursor)
		if parts == nil {
			return found, fmt.Errorf("%w: the cursor is none that a page had", ErrSearch)
		}
		var numbers [3]int64
		for i := range numbers {
			numbers[i], _ = strconv.ParseInt(parts[i+1], 10, 64) // 18 digits
		}
		q.add(" AND ("+column+", run, stream) < (?, ?, ?)", time.UnixMicro(numbers[0]), numbers[1], numbers[2])
	}
	q.add(" ORDER BY "+column+" DESC, run DESC, stream DESC LIMIT ?", StreamPage+1)
	found.Streams, err = readAll[StreamRow](ctx, a, q.sql.String(), q.args...)
	if err == nil && len(found.Streams) > StreamPage {
		found.Streams = found.Streams[:StreamPage]
		last := found.Streams[StreamPage-1]
		at := last.OpenedAt
		if s.Ended {
			at = *last.ClosedAt
		}
		found.Next = fmt.Sprintf("%d.%d.%d", at.UnixMicro(), last.Run, last.Stream)
	}
	return found, err
}

// EndStream requests the end of a stream of the node that serves it, which ends it
// within a second or so of being able to. It returns false when the stream is not open,
// as far as is on record.
func (a *Admin) EndStream(ctx context.Context, run, stream int64, requestedBy string) (open bool, err error) {
	err = a.change(ctx, func(tx db) error {
		const endSQL = `SELECT coalesce(outcrier.end_stream($1, $2, $3), false)`
		return tx.QueryRow(ctx, endSQL, run, stream, clean(requestedBy)).Scan(&open)
	})
	return open, err
}
