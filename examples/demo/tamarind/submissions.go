package tamarind

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
)

// Item is a purchase that someone asked for, and what became of it.
type Item struct {
	ID        int64  `json:"id"`
	Title     string `json:"title"`
	Symbol    string `json:"symbol"`
	Quantity  int    `json:"quantity"`
	Submitter string `json:"submitter"`
	// Status is submitted, then approved or rejected; an approved one ends as traded.
	Status      string    `json:"status"`
	SubmittedAt time.Time `json:"submitted_at"`
	// Reviewer, Note and ReviewedAt are of the approval or the rejection.
	Reviewer   *string    `json:"reviewer"`
	Note       string     `json:"note"`
	ReviewedAt *time.Time `json:"reviewed_at"`
	// PriceCents is what one unit cost, once traded.
	PriceCents *int64 `json:"price_cents"`
}

// Submission is what a submitter fills in.
type Submission struct {
	// Title is one line of 1 to 120 characters.
	Title string `json:"title"`
	// Symbol is what to buy; COFFEE when empty.
	Symbol string `json:"symbol"`
	// Quantity is how many units, 1 to 10,000; 10 when nil.
	Quantity *int `json:"quantity"`
}

const (
	titleLimit    = 120
	symbolLimit   = 12
	noteLimit     = 280
	quantityLimit = 10_000
)

const itemColumns = `i.id, i.title, i.symbol, i.quantity, i.submitter, i.status, i.submitted_at, i.reviewer, i.note, i.reviewed_at`

// Submit hands an item in for review, in the name of submitter.
func (b *Business) Submit(ctx context.Context, submitter string, s Submission) (Item, error) {
	title, err := line("title", s.Title, titleLimit)
	if err != nil {
		return Item{}, err
	}
	if title == "" {
		return Item{}, invalid("title", "title_missing", "Say what the purchase is for.")
	}
	quantity := 10
	if s.Quantity != nil {
		quantity = *s.Quantity
	}
	if quantity < 1 || quantity > quantityLimit {
		return Item{}, invalid("quantity", "quantity", "The quantity must be between 1 and %d.", quantityLimit)
	}
	symbol, err := line("symbol", s.Symbol, symbolLimit)
	if err != nil {
		return Item{}, err
	}
	if symbol == "" {
		symbol = "COFFEE"
	}

	var item Item
	err = b.transaction(ctx, func(tx pgx.Tx) error {
		if _, err := actor(ctx, tx, submitter, roleSubmitter); err != nil {
			return err
		}
		item, err = insertItem(ctx, tx, Item{Title: title, Symbol: symbol, Quantity: quantity, Submitter: submitter})
		if errors.Is(err, pgx.ErrNoRows) {
			return invalid("symbol", "no_symbol", "Nothing called %q is traded here.", symbol)
		}
		if err != nil {
			return err
		}
		return appendItem(ctx, tx, "audit.submitted", item, "user/"+submitter, "reviewers")
	})
	return item, err
}

// insertItem answers pgx.ErrNoRows for an unknown symbol.
func insertItem(ctx context.Context, tx pgx.Tx, i Item) (Item, error) {
	const insertSQL = `
		INSERT INTO demo_item AS i (title, symbol, quantity, submitter)
		SELECT $1, symbol, $3, $4 FROM demo_symbol WHERE symbol = $2
		RETURNING ` + itemColumns + `, NULL::bigint AS price_cents`
	rows, err := tx.Query(ctx, insertSQL, i.Title, i.Symbol, i.Quantity, i.Submitter)
	if err != nil {
		return Item{}, fmt.Errorf("insert item: %w", err)
	}
	item, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Item])
	if err != nil {
		return Item{}, fmt.Errorf("insert item: %w", err)
	}
	return item, nil
}

// Approve lets the item pass on to the traders. The note, one line, may be empty.
func (b *Business) Approve(ctx context.Context, reviewer string, id int64, note string) (Item, error) {
	return b.review(ctx, reviewer, id, note, "approved")
}

// Reject sends the item back to its submitter. The note, one line, may be empty.
func (b *Business) Reject(ctx context.Context, reviewer string, id int64, note string) (Item, error) {
	return b.review(ctx, reviewer, id, note, "rejected")
}

func (b *Business) review(ctx context.Context, reviewer string, id int64, note, verdict string) (Item, error) {
	note, err := line("note", note, noteLimit)
	if err != nil {
		return Item{}, err
	}
	var item Item
	err = b.transaction(ctx, func(tx pgx.Tx) error {
		if _, err := actor(ctx, tx, reviewer, roleReviewer); err != nil {
			return err
		}
		// The lock makes the second of two reviewers wait, see the verdict of the first,
		// and get an error.
		if item, err = lockItem(ctx, tx, id); err != nil {
			return err
		}
		if item.Status != "submitted" {
			return problem(http.StatusConflict, "decided_already", "“%s” is %s already, by the verdict of %s.", item.Title, item.Status, *item.Reviewer)
		}
		const reviewSQL = `
			UPDATE demo_item SET status = $2, reviewer = $3, note = $4, reviewed_at = now()
			WHERE id = $1
			RETURNING status, reviewer, note, reviewed_at`
		err := tx.QueryRow(ctx, reviewSQL, id, verdict, reviewer, note).
			Scan(&item.Status, &item.Reviewer, &item.Note, &item.ReviewedAt)
		if err != nil {
			return fmt.Errorf("record verdict: %w", err)
		}
		topics := []string{"user/" + item.Submitter, "reviewers"}
		if verdict == "approved" {
			topics = append(topics, "traders")
		}
		return appendItem(ctx, tx, "audit."+verdict, item, topics...)
	})
	return item, err
}

// lockItem reads an item and keeps it as it is until the transaction ends.
func lockItem(ctx context.Context, tx pgx.Tx, id int64) (Item, error) {
	const lockSQL = `
		SELECT ` + itemColumns + `, t.price_cents
		FROM demo_item i LEFT JOIN demo_trade t ON t.item_id = i.id
		WHERE i.id = $1
		FOR UPDATE OF i`
	rows, err := tx.Query(ctx, lockSQL, id)
	if err != nil {
		return Item{}, fmt.Errorf("lock item: %w", err)
	}
	item, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Item])
	if errors.Is(err, pgx.ErrNoRows) {
		return Item{}, problem(http.StatusNotFound, "not_found", "There is no item %d.", id)
	}
	if err != nil {
		return Item{}, fmt.Errorf("lock item: %w", err)
	}
	return item, nil
}

// appendItem tells each topic the same: what happened, and the item as it is now.
func appendItem(ctx context.Context, tx pgx.Tx, what string, item Item, topics ...string) error {
	drafts := make([]outbox.Draft, len(topics))
	for i, topic := range topics {
		drafts[i] = outbox.Draft{Topic: topic, Type: what, Payload: item, Source: "/demo/submissions"}
	}
	_, err := appendEvents(ctx, tx, drafts...)
	return err
}
