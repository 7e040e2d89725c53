package admin

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox/internal/database"
)

// Why says whether a person was sent an event, and if not why not.
type Why struct {
	Subject string `json:"subject"`
	Event   int64  `json:"event"`
	// Verdict is the first of these that holds: "sent"; "perhaps" where the connection broke
	// in that write, or soon after; "erased", "scheduled", "unknown" of
	// an event that is not held; "behind" for a stream that selects it and has not reached
	// it; "ended" for one that ended before; "passed" for one that began after it; "type"
	// and "topic" for streams that select others; "elsewhere" for streams of another
	// history; "not_connected".
	Verdict string `json:"verdict"`
	// Topic, Type and CreatedAt are of the event, nil where it is not held.
	Topic     *string    `json:"topic"`
	Type      *string    `json:"type"`
	CreatedAt *time.Time `json:"created_at"`
	// Streams are the person's that were open when it was appended or later, the first
	// 50 of them; LastClosed is when one ended for the last time before.
	Streams    []WhyStream `json:"streams"`
	LastClosed *time.Time  `json:"last_closed"`
}

// WhyStream is what one stream had to do with the event.
type WhyStream struct {
	Run           int64      `json:"run"`
	Stream        int64      `json:"stream"`
	Node          string     `json:"node"`
	ClientAddress string     `json:"client_address"`
	Topics        []string   `json:"topics"`
	Types         []string   `json:"types"`
	OpenedAt      time.Time  `json:"opened_at"`
	PositionAt    time.Time  `json:"position_at"`
	ClosedAt      *time.Time `json:"closed_at"`
	EndReason     *string    `json:"end_reason"`
	// Verdict is one of Why's that streams have.
	Verdict string `json:"verdict"`
}

const (
	whyEventSQL = `SELECT xid::text, topic, type, created_at FROM outcrier.event WHERE id = $1`

	// whyAbsentSQL is for an event that is not held under its id.
	whyAbsentSQL = `
SELECT CASE WHEN EXISTS (SELECT FROM outcrier.scheduled WHERE id = $1) THEN 'scheduled'
	WHEN EXISTS (SELECT FROM outcrier.erasure WHERE event_id = $1 AND kind = 'erase') THEN 'erased' ELSE 'unknown' END`

	whyStreamsSQL = `
SELECT s.run, s.stream, s.node, s.client_address, s.topics, s.types, s.opened_at, s.position_at, s.closed_at, s.end_reason, CASE
	WHEN s.history <> ` + presentHistory + ` THEN 'elsewhere'
	WHEN NOT EXISTS (SELECT FROM unnest(s.topics) AS p WHERE outcrier.matches(e.topic, p)) THEN 'topic'
	WHEN s.types <> '{}' AND NOT EXISTS (SELECT FROM unnest(s.types) AS k WHERE k = e.type OR right(k, 1) = '*' AND starts_with(e.type, left(k, -1))) THEN 'type'
	WHEN outcrier.contains(s.from_set, e.xid, e.id) THEN 'passed'
	WHEN s.since IS NOT NULL AND e.created_at < s.since AND ((s.live_set).max_xid IS NULL OR outcrier.contains(s.live_set, e.xid, e.id)) THEN 'passed'
	WHEN outcrier.contains(s.position_set, e.xid, e.id) THEN CASE WHEN ` + perhapsSent + ` THEN 'perhaps' ELSE 'sent' END
	WHEN s.closed_at IS NULL THEN 'behind'
	ELSE 'ended' END AS verdict
FROM (SELECT $2::bigint AS id, $3::text::xid8 AS xid, $4::text AS topic, $5::text AS type, $6::timestamptz AS created_at) AS e
JOIN outcrier.stream AS s ON s.subject = $1
WHERE s.closed_at IS NULL OR s.closed_at >= e.created_at - interval '1 minute'
ORDER BY s.opened_at, s.run, s.stream LIMIT 50`

	whyClosedSQL = `SELECT max(closed_at) FROM (SELECT closed_at FROM outcrier.stream WHERE subject = $1 AND closed_at < $2 ORDER BY opened_at DESC LIMIT 1000) AS s`
)

// verdicts are those of streams, the one that explains most first.
var verdicts = []string{"sent", "perhaps", "behind", "ended", "passed", "type", "topic", "elsewhere"}

// Why finds out whether a person was sent an event. It goes by the audit: what a stream
// was sent in its last seconds, and what a client did with it, it does not know.
func (a *Admin) Why(ctx context.Context, subject string, id int64) (why Why, err error) {
	if err := plainText("subject", subject, 1000); err != nil {
		return why, invalid(err)
	}
	why = Why{Subject: subject, Event: id, Streams: []WhyStream{}}
	err = a.read(ctx, func(tx database.DB) error {
		var xid string
		err := tx.QueryRow(ctx, whyEventSQL, id).Scan(&xid, &why.Topic, &why.Type, &why.CreatedAt)
		if errors.Is(err, pgx.ErrNoRows) {
			return tx.QueryRow(ctx, whyAbsentSQL, id).Scan(&why.Verdict)
		}
		if err != nil {
			return err
		}
		if *why.Topic == "" { // a tombstone
			why.Verdict, why.Topic, why.Type = "erased", nil, nil
			return nil
		}
		why.Streams, err = rowsOf[WhyStream](ctx, tx, whyStreamsSQL, subject, id, xid, *why.Topic, *why.Type, *why.CreatedAt)
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, whyClosedSQL, subject, why.CreatedAt.Add(-time.Minute)).Scan(&why.LastClosed)
	})
	if err != nil || why.Verdict != "" {
		return why, err
	}
	why.Verdict = "not_connected"
	for _, verdict := range verdicts {
		for _, s := range why.Streams {
			if s.Verdict == verdict {
				why.Verdict = verdict
				return why, nil
			}
		}
	}
	return why, nil
}
