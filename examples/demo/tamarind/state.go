package tamarind

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// State is all that a person's page shows, as of one snapshot, and the position of that
// same snapshot: a stream opened from there gets the events after it, each once, however
// long the page took to render.
type State struct {
	Position string `json:"position"`
	// Topics are what the page should follow.
	Topics []string `json:"topics"`
	// Now is the database's clock, for delays and countdowns.
	Now    time.Time `json:"now"`
	Person Person    `json:"person"`
	// People are all of the desk, by role and name.
	People []Person `json:"people"`
	// Items are, newest first, a submitter's own; for a reviewer those that
	// wait and the last reviewed; for a trader those approved.
	Items []Item `json:"items"`
	// Trades are the last, newest first; for a submitter only their own.
	Trades []Trade `json:"trades"`
	Prices []Price `json:"prices"`
	// Maintenance are the windows announced or under way, the next first.
	Maintenance []Maintenance `json:"maintenance"`
}

// topics are the topics that concern a person. No event is on two of them, so that no
// person sees it twice.
func topics(p Person) []string {
	switch p.Role {
	case roleReviewer:
		return []string{"user/" + p.Name, "reviewers", "public/**"}
	case roleTrader:
		return []string{"user/" + p.Name, "traders", "trades/*", "public/announcements", "public/market"}
	default:
		return []string{"user/" + p.Name, "public/**"}
	}
}

// TopicList is topics for the page.
func (p Person) TopicList() string { return strings.Join(topics(p), " ") }

const (
	peopleSQL = `SELECT ` + personColumns + ` FROM demo_person ORDER BY role = 'trader', role = 'reviewer', name`
	pricesSQL = `SELECT symbol, title, unit, price_cents, previous_cents FROM demo_symbol ORDER BY title`
)

// State reads what person's page shows.
func (b *Business) State(ctx context.Context, person string) (State, error) {
	var s State
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, b.pool, snapshot, func(tx pgx.Tx) error {
		const positionSQL = `SELECT outcrier.position(), clock_timestamp()`
		if err := tx.QueryRow(ctx, positionSQL).Scan(&s.Position, &s.Now); err != nil {
			return fmt.Errorf("read position: %w", err)
		}
		const maintenanceSQL = `SELECT ` + maintenanceColumns + ` FROM demo_maintenance
			WHERE cancelled_at IS NULL AND ends_at > clock_timestamp() ORDER BY starts_at LIMIT 10`
		if err := collect(ctx, tx, &s.People, peopleSQL); err != nil {
			return err
		}
		if err := collect(ctx, tx, &s.Prices, pricesSQL); err != nil {
			return err
		}
		if err := collect(ctx, tx, &s.Maintenance, maintenanceSQL); err != nil {
			return err
		}
		for _, p := range s.People {
			if p.Name == person {
				s.Person, s.Topics = p, topics(p)
				return readDesk(ctx, tx, &s)
			}
		}
		return problem(http.StatusNotFound, "nobody", "Nobody here is called %q.", person)
	})
	return s, err
}

// readDesk reads the items and trades that s.Person has to do with.
func readDesk(ctx context.Context, tx pgx.Tx, s *State) error {
	const items = `SELECT ` + itemColumns + `, t.price_cents FROM demo_item i LEFT JOIN demo_trade t ON t.item_id = i.id `
	const ownSQL = items + `WHERE i.submitter = $1 ORDER BY i.id DESC LIMIT 30`
	const reviewSQL = `(` + items + `WHERE i.status = 'submitted' ORDER BY i.id DESC LIMIT 200)
		UNION ALL (` + items + `WHERE i.reviewed_at IS NOT NULL ORDER BY i.reviewed_at DESC LIMIT 8)`
	const approvedSQL = items + `WHERE i.status = 'approved' ORDER BY i.id DESC LIMIT 200`
	const tradesSQL = `
		SELECT t.id, i.id, i.title, i.symbol, i.quantity, i.submitter, t.price_cents, t.trader, t.executed_at
		FROM demo_trade t JOIN demo_item i ON i.id = t.item_id
		WHERE $1 OR i.submitter = $2
		ORDER BY t.id DESC LIMIT 12`
	itemsSQL, args := ownSQL, []any{s.Person.Name}
	switch s.Person.Role {
	case roleReviewer:
		itemsSQL, args = reviewSQL, nil
	case roleTrader:
		itemsSQL, args = approvedSQL, nil
	}
	if err := collect(ctx, tx, &s.Items, itemsSQL, args...); err != nil {
		return err
	}
	return collect(ctx, tx, &s.Trades, tradesSQL, s.Person.Role != roleSubmitter, s.Person.Name)
}

// querier is a transaction or a pool.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// collect reads rows into structs, column by column.
func collect[T any](ctx context.Context, db querier, into *[]T, sql string, args ...any) error {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return fmt.Errorf("read %T: %w", *into, err)
	}
	if *into, err = pgx.CollectRows(rows, pgx.RowToStructByPos[T]); err != nil {
		return fmt.Errorf("read %T: %w", *into, err)
	}
	return nil
}
