package outbox

import (
	"context"
	"time"
)

// Planned is an event whose time has not come. Its payload is nobody's to read
// before.
type Planned struct {
	ID        int64     `json:"id"`
	Topic     string    `json:"topic"`
	Type      string    `json:"type"`
	Source    string    `json:"source"`
	DeliverAt time.Time `json:"deliver_at"`
	CreatedAt time.Time `json:"created_at"`
}

// PlannedPage is how many scheduled events are read at once.
const PlannedPage = 100

// Planned reads what is scheduled behind a time and an id, the next first.
func (a *Admin) Planned(ctx context.Context, after time.Time, id int64) ([]Planned, error) {
	const plannedSQL = `
SELECT id, topic, type, source, deliver_at, created_at FROM outcrier.scheduled
WHERE (deliver_at, id) > ($1, $2) ORDER BY deliver_at, id LIMIT $3`
	return readAll[Planned](ctx, a, plannedSQL, after, id, PlannedPage)
}

// Cancel removes a scheduled event, and reports whether it still waited: otherwise
// it was delivered or cancelled before.
func (a *Admin) Cancel(ctx context.Context, id int64) (waited bool, err error) {
	err = a.change(ctx, func(tx db) error {
		return tx.QueryRow(ctx, `SELECT coalesce(outcrier.cancel($1), false)`, id).Scan(&waited)
	})
	return waited, err
}
