package admin

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// sentTo is whether an event e was sent to a stream s, as the view receipts has it, and
// sentByPattern whether it was by one of the stream's patterns.
const (
	sentTo        = sentBetween + ` AND EXISTS (SELECT FROM unnest(s.topics) AS p WHERE outcrier.matches(e.topic, p))`
	sentByPattern = sentBetween + ` AND outcrier.matches(e.topic, s.pattern)`

	// perhapsSent is whether one that was sent was so only perhaps.
	perhapsSent = `(s.sure_set).max_xid IS NOT NULL AND NOT outcrier.contains(s.sure_set, e.xid, e.id)`

	sentBetween = `s.xid_range @> e.xid::text::bigint
	AND outcrier.contains(s.position_set, e.xid, e.id) AND NOT outcrier.contains(s.from_set, e.xid, e.id)
	AND (s.since IS NULL OR e.created_at >= s.since OR (s.live_set).max_xid IS NOT NULL AND NOT outcrier.contains(s.live_set, e.xid, e.id))
	AND (s.types = '{}' OR EXISTS (SELECT FROM unnest(s.types) AS k WHERE k = e.type OR right(k, 1) = '*' AND starts_with(e.type, left(k, -1))))`
)

// presentHistory is the history that positions and streams of now belong to.
const presentHistory = `(SELECT h.history FROM outcrier.history_id AS h ORDER BY h.nth DESC LIMIT 1)`

// SentSearch selects events that a person was sent.
type SentSearch struct {
	Subject string
	// Topic, From and Until are as in Search.
	Topic       outbox.Pattern
	From, Until time.Time
	// Before, when above 0, selects ids below it.
	Before int64
}

// Sent is an event that a person was sent.
type Sent struct {
	ID        int64     `json:"id"`
	CreatedAt time.Time `json:"created_at"`
	Topic     string    `json:"topic"`
	Type      string    `json:"type"`
	Title     *string   `json:"title"`
	Severity  *string   `json:"severity"`
	// Streams is how many of the person's streams it was sent on, of which nodes, between
	// which times.
	Streams    int       `json:"streams"`
	Nodes      []string  `json:"nodes"`
	SentAfter  time.Time `json:"sent_after"`
	SentBefore time.Time `json:"sent_before"`
	// Perhaps is set where on each of them the connection broke in that write, or soon after.
	Perhaps bool `json:"perhaps"`
}

// SentFound is a page of events that a person was sent, the newest first.
type SentFound struct {
	Events []Sent `json:"events"`
	// Next is the Before of what follows, 0 when nothing does. Further is set when the
	// page is not full because it had looked at so much.
	Next    int64  `json:"next"`
	Further bool   `json:"further"`
	SQL     string `json:"sql"`
}

// SentPage is how many events of a person are read at once.
const SentPage = 50

const (
	// sentStreams is how many of a person's streams are looked at, the newest.
	sentStreams = 1000
	// How many events a statement looks at: by topic, and by id.
	sentByTopic, sentByID = 500, 5000
)

// Sent reads a page of what a person was sent. Where the person's streams have few
// topics it goes by these, and else by ids from the newest back, for about as long as a
// page of Search.
func (a *Admin) Sent(ctx context.Context, s SentSearch) (found SentFound, err error) {
	if err := s.check(); err != nil {
		return found, invalid(err)
	}
	found.Events = []Sent{}
	err = a.read(ctx, func(tx database.DB) error {
		low, top, err := s.ids(ctx, tx)
		if err != nil {
			return err
		}
		topics, listed, err := s.topics(ctx, tx)
		if err != nil {
			return err
		}
		most := sentByTopic
		if !listed {
			topics, most = nil, sentByID
		}
		for began := time.Now(); low < top; {
			candidates := s.candidates(low, top, topics)
			events, lowest, err := scanned(ctx, tx, candidates)
			if err != nil {
				return err
			}
			sent, err := s.window(ctx, tx, candidates)
			if err != nil {
				return err
			}
			room := SentPage - len(found.Events)
			found.Events = append(found.Events, sent[:min(room, len(sent))]...)
			switch {
			case len(sent) > room:
				found.Next = found.Events[SentPage-1].ID
				return nil
			case events < most:
				return nil
			}
			if top = lowest; time.Since(began) > a.searchTime {
				found.Next, found.Further = top, true
				return nil
			}
		}
		return nil
	})
	found.SQL = s.sql().copied(a.Schema) + ";"
	return found, err
}

func (s *SentSearch) check() error {
	if s.Topic != "" {
		if _, err := outbox.ParsePattern(string(s.Topic)); err != nil {
			return err
		}
	}
	switch {
	case s.Subject == "":
		return errors.New("subject must be given")
	case !inYears(s.From) || !inYears(s.Until):
		return errors.New("from and until must be within the years 1 to 9999")
	}
	return plainText("subject", s.Subject, 1000)
}

// ids returns the range of ids to look at: from low to below top.
func (s *SentSearch) ids(ctx context.Context, tx database.DB) (low, top int64, err error) {
	const idsSQL = `
SELECT CASE WHEN $1::timestamptz IS NULL THEN 0 ELSE outcrier.id_at($1) END,
	least(CASE WHEN $2::timestamptz IS NULL THEN 9223372036854775807 ELSE outcrier.id_at($2) END, coalesce((SELECT max(id) + 1 FROM outcrier.event), 0))`
	var from, until *time.Time
	if !s.From.IsZero() {
		at := s.From.Add(-disorder)
		from = &at
	}
	if !s.Until.IsZero() {
		at := s.Until.Add(disorder)
		until = &at
	}
	err = tx.QueryRow(ctx, idsSQL, from, until).Scan(&low, &top)
	if s.Before > 0 {
		top = min(top, s.Before)
	}
	return low, top, err
}

// topics lists the topics that the person's streams selected, if they are few.
func (s *SentSearch) topics(ctx context.Context, tx database.DB) (topics []string, listed bool, err error) {
	const patternsSQL = `
SELECT DISTINCT p FROM (
	SELECT topics FROM outcrier.stream WHERE subject = $1 ORDER BY opened_at DESC LIMIT 1000
) AS s CROSS JOIN unnest(s.topics) AS p LIMIT 300`
	rows, _ := tx.Query(ctx, patternsSQL, s.Subject) // CollectRows has the error
	patterns, err := pgx.CollectRows(rows, pgx.RowTo[outbox.Pattern])
	if err != nil || len(patterns) == 300 {
		return nil, false, err
	}
	return database.Topics(ctx, tx, patterns)
}

// candidates selects the newest events with ids from low to below top that the person may
// have been sent: those on the topics, or all where topics is nil.
func (s *SentSearch) candidates(low, top int64, topics []string) *statement {
	q, limit := new(statement), sentByTopic
	q.add(`SELECT e.id, e.xid, e.topic, e.type, e.created_at FROM `)
	if topics != nil {
		q.add(`unnest(?::text[]) AS t (name) CROSS JOIN LATERAL (
	SELECT * FROM outcrier.event WHERE topic = t.name AND id >= ? AND id < ? ORDER BY id DESC LIMIT ?
) AS e WHERE true`, topics, low, top, sentByTopic)
	} else {
		limit = sentByID
		q.add(`outcrier.event AS e WHERE e.id >= ? AND e.id < ? AND e.topic <> ''`, low, top)
	}
	if s.Topic != "" {
		q.add(` AND outcrier.matches(e.topic, ?)`, string(s.Topic))
	}
	if !s.From.IsZero() {
		q.add(` AND e.created_at >= ?`, s.From)
	}
	if !s.Until.IsZero() {
		q.add(` AND e.created_at < ?`, s.Until)
	}
	q.add(` ORDER BY e.id DESC LIMIT ?`, limit)
	return q
}

// window reads what the person was sent of the candidates.
func (s *SentSearch) window(ctx context.Context, tx database.DB, candidates *statement) ([]Sent, error) {
	q := &statement{args: candidates.args}
	q.sql.WriteString(`WITH e AS MATERIALIZED (` + candidates.sql.String() + `)`)
	q.add(`, s AS MATERIALIZED (
	SELECT * FROM outcrier.stream WHERE subject = ? AND history = `+presentHistory+` ORDER BY opened_at DESC LIMIT ?
), sent AS (
	SELECT e.id, count(*) AS streams, array_agg(DISTINCT s.node) AS nodes, min(greatest(e.created_at, s.opened_at)) AS sent_after, max(s.position_at) AS sent_before, bool_and(`+perhapsSent+`) AS perhaps
	FROM e JOIN s ON `, s.Subject, sentStreams)
	q.sql.WriteString(sentTo + ` GROUP BY e.id
)
SELECT e.id, e.created_at, e.topic, e.type, t.title, t.severity, s.streams, s.nodes, s.sent_after, s.sent_before, s.perhaps
FROM sent AS s JOIN e ON e.id = s.id LEFT JOIN outcrier.event_type AS t ON t.type = e.type`)
	q.add(` ORDER BY e.id DESC LIMIT ?`, SentPage+1)
	return rowsOf[Sent](ctx, tx, q.sql.String(), q.args...)
}

// scanned counts the candidates, and returns the lowest of their ids.
func scanned(ctx context.Context, tx database.DB, candidates *statement) (events int, lowest int64, err error) {
	err = tx.QueryRow(ctx, `SELECT count(*), coalesce(min(id), 0) FROM (`+candidates.sql.String()+`) AS e`, candidates.args...).Scan(&events, &lowest)
	return events, lowest, err
}

// sql is the statement that asks the same of the view people.
func (s *SentSearch) sql() *statement {
	q := new(statement)
	q.add("SELECT id, created_at, topic, type, node, sent_after, sent_before, perhaps\nFROM outcrier.people\nWHERE subject = ?", s.Subject)
	if s.Topic != "" {
		q.add("\n  AND outcrier.matches(topic, ?)", string(s.Topic))
	}
	if !s.From.IsZero() {
		q.add("\n  AND created_at >= ? AND id >= (SELECT outcrier.id_at(?::timestamptz - interval '1 min'))", s.From, s.From)
	}
	if !s.Until.IsZero() {
		q.add("\n  AND created_at < ? AND id < (SELECT outcrier.id_at(?::timestamptz + interval '1 min'))", s.Until, s.Until)
	}
	if s.Before > 0 {
		q.add("\n  AND id < ?", s.Before)
	}
	q.add("\nORDER BY id DESC\nLIMIT ?", SentPage)
	return q
}
