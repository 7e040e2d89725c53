package admin

import (
	"context"
	"time"

	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// Overview is the state of an outbox and of all its nodes.
type Overview struct {
	// Now is the database's time.
	Now time.Time `json:"now"`
	// LastID is the largest id that is held, 0 for none.
	LastID int64  `json:"last_id"`
	Lag    Lag    `json:"lag"`
	Nodes  []Node `json:"nodes"`
	// Open are the open transactions that have appended events, the oldest first, 50 at
	// most; Lag says how many there are.
	Open []OpenTransaction `json:"open"`
	// Topics are the ten with the most events in the last hour.
	Topics []TopicStats `json:"topics"`
	// Scheduled is how many events wait for their time, 1000 if it is more.
	Scheduled int `json:"scheduled"`
}

// Lag says, in seconds, how late events are; 0 if they are not, nil where that is not
// known.
type Lag struct {
	// Behind is the longest time for which a node has not followed; nil if no node reports
	// it.
	Behind *float64 `json:"behind_s"`
	// Overdue is how long the oldest scheduled event is past its time.
	Overdue float64 `json:"overdue_s"`
	// Open is how many open transactions have appended, OpenFor how long the
	// oldest of them has been open.
	Open    int      `json:"open"`
	OpenFor *float64 `json:"open_for_s"`
}

// Node is a node that keeps an audit.
type Node struct {
	Run       int64     `json:"run"`
	Name      string    `json:"node"`
	StartedAt time.Time `json:"started_at"`
	// SeenFor is how long ago it was last heard of, in seconds.
	SeenFor  float64  `json:"seen_for_s"`
	Streams  int      `json:"streams"`
	Position *string  `json:"position"`
	Lag      *float64 `json:"lag_s"`
	// About is what the node says of itself; nil for one of another version.
	About *audit.About `json:"about"`
}

// OpenTransaction is a transaction that has appended events and has not ended: they become
// visible with its commit.
type OpenTransaction struct {
	// PID is nil and GID is set for a prepared transaction.
	PID         *int    `json:"pid"`
	GID         *string `json:"gid"`
	Role        *string `json:"role"`
	Application *string `json:"application"`
	Client      *string `json:"client"`
	// Age is in seconds, and nil like State and Query where the outbox's owner
	// may not see another role's session.
	Age   *float64 `json:"age_s"`
	State *string  `json:"state"`
	// Query is the first 1000 characters of its current or last query.
	Query *string `json:"query"`
}

// TopicStats counts the events on a topic.
type TopicStats struct {
	Topic  string `json:"topic"`
	Events int64  `json:"events"`
	// Bytes is what the payloads take in the table.
	Bytes  int64     `json:"bytes"`
	LastID int64     `json:"last_id"`
	LastAt time.Time `json:"last_at"`
}

const (
	overviewSQL = `
SELECT clock_timestamp(), coalesce((SELECT id FROM outcrier.event WHERE topic <> '' ORDER BY id DESC LIMIT 1), 0),
	extract(epoch FROM lag)::float8, extract(epoch FROM overdue)::float8, open, extract(epoch FROM open_for)::float8,
	(SELECT count(*) FROM (SELECT FROM outcrier.scheduled LIMIT 1000) AS s)
FROM outcrier.lag`

	nodesSQL = `
SELECT run, node, started_at, greatest(extract(epoch FROM clock_timestamp() - seen_at), 0)::float8, streams, position, extract(epoch FROM lag)::float8, about
FROM outcrier.node ORDER BY node, started_at LIMIT 500`

	openSQL = `
SELECT pid, gid, role, application, host(client), extract(epoch FROM clock_timestamp() - since)::float8, state, nullif(left(query, 1000), '<insufficient privilege>')
FROM outcrier.in_flight() ORDER BY since NULLS LAST, pid LIMIT 50`

	topicsStatsSQL = `
SELECT topic, events, bytes, last_id, last_at FROM outcrier.topics ORDER BY events DESC, topic LIMIT 10`
)

// Overview reads the present state.
func (a *Admin) Overview(ctx context.Context) (o Overview, err error) {
	err = a.read(ctx, func(tx database.DB) error {
		err := tx.QueryRow(ctx, overviewSQL).
			Scan(&o.Now, &o.LastID, &o.Lag.Behind, &o.Lag.Overdue, &o.Lag.Open, &o.Lag.OpenFor, &o.Scheduled)
		if err != nil {
			return err
		}
		if o.Nodes, err = rowsOf[Node](ctx, tx, nodesSQL); err != nil {
			return err
		}
		if o.Open, err = rowsOf[OpenTransaction](ctx, tx, openSQL); err != nil {
			return err
		}
		o.Topics, err = rowsOf[TopicStats](ctx, tx, topicsStatsSQL)
		return err
	})
	return o, err
}
