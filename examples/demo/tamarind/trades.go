package tamarind

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
)

// Trade is an item that was bought.
type Trade struct {
	ID         int64     `json:"id"`
	Item       int64     `json:"item"`
	Title      string    `json:"title"`
	Symbol     string    `json:"symbol"`
	Quantity   int       `json:"quantity"`
	Submitter  string    `json:"submitter"`
	PriceCents int64     `json:"price_cents"`
	Trader     string    `json:"trader"`
	ExecutedAt time.Time `json:"executed_at"`
}

// Price is what one unit last cost.
type Price struct {
	Symbol        string `json:"symbol"`
	Title         string `json:"title"`
	Unit          string `json:"unit"`
	PriceCents    int64  `json:"price_cents"`
	PreviousCents int64  `json:"previous_cents"`
}

// Execute buys what an approved item asks for, in the name of trader. The trade moves the
// market: its price is the symbol's new one. During maintenance the market is shut (503),
// and the trader gets an event, which is committed although the trade is not.
func (b *Business) Execute(ctx context.Context, trader string, item int64) (Trade, error) {
	var trade Trade
	var refused *Problem
	err := b.transaction(ctx, func(tx pgx.Tx) error {
		if _, err := actor(ctx, tx, trader, roleTrader); err != nil {
			return err
		}
		i, err := lockItem(ctx, tx, item)
		if err != nil {
			return err
		}
		switch i.Status {
		case "submitted":
			return problem(http.StatusConflict, "not_approved", "“%s” is not approved yet.", i.Title)
		case "rejected":
			return problem(http.StatusConflict, "was_rejected", "“%s” was rejected by %s.", i.Title, *i.Reviewer)
		case "traded":
			return problem(http.StatusConflict, "traded_already", "“%s” was traded already.", i.Title)
		}
		until, err := shutUntil(ctx, tx)
		if err != nil {
			return err
		}
		if until != nil {
			refused, err = appendShut(ctx, tx, trader, i, *until)
			return err
		}
		price, err := movePrice(ctx, tx, i.Symbol)
		if err != nil {
			return err
		}
		trade = Trade{
			Item: i.ID, Title: i.Title, Symbol: i.Symbol, Quantity: i.Quantity,
			Submitter: i.Submitter, PriceCents: price.PriceCents, Trader: trader,
		}
		const tradeSQL = `
			WITH traded AS (UPDATE demo_item SET status = 'traded' WHERE id = $1)
			INSERT INTO demo_trade (item_id, price_cents, trader) VALUES ($1, $2, $3)
			RETURNING id, executed_at`
		err = tx.QueryRow(ctx, tradeSQL, i.ID, price.PriceCents, trader).Scan(&trade.ID, &trade.ExecutedAt)
		if err != nil {
			return fmt.Errorf("record trade: %w", err)
		}
		_, err = appendEvents(ctx, tx,
			outbox.Draft{Topic: "user/" + i.Submitter, Type: "trade.executed", Payload: trade, Source: "/demo/trades"},
			outbox.Draft{Topic: "trades/" + i.Symbol, Type: "trade.executed", Payload: trade, Source: "/demo/trades"},
			outbox.Draft{Topic: "public/prices", Type: "info.updated", Payload: price, Source: "/demo/trades"})
		return err
	})
	if err == nil && refused != nil {
		err = refused
	}
	return trade, err
}

// Failure is a failed action, with the data to try it again.
type Failure struct {
	// Values of What: trade.
	What  string `json:"what"`
	Item  int64  `json:"item"`
	Title string `json:"title"`
	// Reason is market_shut.
	Reason string `json:"reason"`
	// Until is when it is worth another try.
	Until time.Time `json:"until"`
}

// shutUntil is when the market opens again; nil while it is open.
func shutUntil(ctx context.Context, tx pgx.Tx) (until *time.Time, err error) {
	const shutSQL = `
		SELECT max(ends_at) FROM demo_maintenance
		WHERE cancelled_at IS NULL AND starts_at <= clock_timestamp() AND ends_at > clock_timestamp()`
	if err := tx.QueryRow(ctx, shutSQL).Scan(&until); err != nil {
		return nil, fmt.Errorf("look for maintenance: %w", err)
	}
	return until, nil
}

// appendShut tells trader that item can't be bought until then, and returns the
// problem that says the same.
func appendShut(ctx context.Context, tx pgx.Tx, trader string, item Item, until time.Time) (*Problem, error) {
	const reason = "market_shut"
	failure := Failure{What: "trade", Item: item.ID, Title: item.Title, Reason: reason, Until: until}
	_, err := appendEvents(ctx, tx, outbox.Draft{Topic: "user/" + trader, Type: "client.error", Payload: failure, Source: "/demo/trades"})
	p := problem(http.StatusServiceUnavailable, reason, "The market is shut for maintenance until %s.", until.UTC().Format("15:04:05 MST"))
	p.Values, p.Told = []any{until}, true
	return p, err
}
