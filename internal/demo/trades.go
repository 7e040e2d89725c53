package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
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

// Execute buys what an approved item asks for, in the name of trader. The
// trade moves the market: its price is the symbol's new one.
func (d *Demo) Execute(ctx context.Context, trader string, item int64) (Trade, error) {
	var trade Trade
	err := pgx.BeginFunc(ctx, d.pool, func(tx pgx.Tx) error {
		if _, err := actor(ctx, tx, trader, roleTrader); err != nil {
			return err
		}
		i, err := lockItem(ctx, tx, item)
		if err != nil {
			return err
		}
		switch i.Status {
		case "submitted":
			return problem(http.StatusConflict, "“%s” is not approved yet.", i.Title)
		case "rejected":
			return problem(http.StatusConflict, "“%s” was rejected by %s.", i.Title, *i.Reviewer)
		case "traded":
			return problem(http.StatusConflict, "“%s” was traded already.", i.Title)
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
		_, err = outbox.Append(ctx, tx,
			outbox.Draft{Topic: "user/" + i.Submitter, Type: "trade.executed", Payload: trade, Source: "/demo/trades"},
			outbox.Draft{Topic: "trades/" + i.Symbol, Type: "trade.executed", Payload: trade, Source: "/demo/trades"},
			outbox.Draft{Topic: "public/prices", Type: "info.updated", Payload: price, Source: "/demo/trades"})
		return err
	})
	return trade, err
}

// movePrice gives symbol a new price within 3 % of its last.
func movePrice(ctx context.Context, tx pgx.Tx, symbol string) (Price, error) {
	const moveSQL = `
		UPDATE demo_symbol
		SET previous_cents = price_cents, price_cents = greatest(100, round(price_cents * $2::float8))
		WHERE symbol = $1
		RETURNING symbol, title, unit, price_cents, previous_cents`
	rows, err := tx.Query(ctx, moveSQL, symbol, 0.97+0.06*rand.Float64())
	if err != nil {
		return Price{}, fmt.Errorf("move price of %s: %w", symbol, err)
	}
	price, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Price])
	if err != nil {
		return Price{}, fmt.Errorf("move price of %s: %w", symbol, err)
	}
	return price, nil
}
