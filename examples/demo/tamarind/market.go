package tamarind

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
)

// Sync is a price list that came in.
type Sync struct {
	What string `json:"what"`
	Rows int    `json:"rows"`
	By   string `json:"by"`
}

// SyncPrices takes over the exchange's whole price list, in the name of trader. It appends
// one event for all of it, without the prices: pages that show some read them again.
func (b *Business) SyncPrices(ctx context.Context, trader string) (Sync, error) {
	sync := Sync{What: "prices", By: trader}
	err := b.transaction(ctx, func(tx pgx.Tx) error {
		if _, err := actor(ctx, tx, trader, roleTrader); err != nil {
			return err
		}
		// In one order for all, so that two don't wait for each other.
		const lockSQL = `SELECT symbol FROM demo_symbol ORDER BY symbol FOR UPDATE`
		rows, err := tx.Query(ctx, lockSQL)
		if err != nil {
			return fmt.Errorf("lock prices: %w", err)
		}
		symbols, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return fmt.Errorf("lock prices: %w", err)
		}
		for _, symbol := range symbols {
			if _, err := movePrice(ctx, tx, symbol); err != nil {
				return err
			}
		}
		sync.Rows = len(symbols)
		_, err = appendEvents(ctx, tx, outbox.Draft{Topic: "public/market", Type: "data.synced", Payload: sync, Source: "/demo/market"})
		return err
	})
	return sync, err
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
