package admin

import (
	"context"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// Planned is a scheduled event that is not due yet. Its payload must not be read before.
type Planned struct {
	ID        int64     `json:"id"`
	Topic     string    `json:"topic"`
	Type      string    `json:"type"`
	Source    string    `json:"source"`
	DeliverAt time.Time `json:"deliver_at"`
	CreatedAt time.Time `json:"created_at"`
	// Problem is why it could not be delivered when it was due, RetryAt when it is tried
	// again; both are nil for one that was not tried.
	Problem *string    `json:"problem"`
	RetryAt *time.Time `json:"retry_at"`
	// Publisher is whom the token was for that it was scheduled with; nil if by SQL.
	Publisher *string `json:"publisher"`
}

// PlannedSearch selects scheduled events.
type PlannedSearch struct {
	// Topic and Type are as in Search.
	Topic outbox.Pattern
	Type  string
	// Failed selects those that could not be delivered.
	Failed bool
	// After and ID are deliver_at and id of the last one of the page before.
	After time.Time
	ID    int64
}

// PlannedPage is how many scheduled events are read at once.
const PlannedPage = 100

// Planned reads a page of scheduled events, the next first.
func (a *Admin) Planned(ctx context.Context, s PlannedSearch) ([]Planned, error) {
	page, err := (&Search{Topic: s.Topic, Type: s.Type, Limit: 1}).check()
	if err != nil {
		return nil, invalid(err)
	}
	q := new(statement)
	q.add(`
SELECT id, topic, type, source, deliver_at, created_at, problem, retry_at, `+publisherOf("s")+` FROM outcrier.scheduled AS s
WHERE (deliver_at, id) > (?, ?)`, s.After, s.ID)
	page.where(q, " AND ")
	if s.Failed {
		q.add(" AND problem IS NOT NULL")
	}
	q.add(" ORDER BY deliver_at, id LIMIT ?", PlannedPage)
	return readAll[Planned](ctx, a, q.sql.String(), q.args...)
}

// Cancel removes a scheduled event, and reports whether it still waited: otherwise
// it was delivered or cancelled before.
func (a *Admin) Cancel(ctx context.Context, id int64) (waited bool, err error) {
	err = a.change(ctx, func(tx database.DB) error {
		return tx.QueryRow(ctx, `SELECT outcrier.cancel($1)`, id).Scan(&waited)
	})
	return waited, err
}
