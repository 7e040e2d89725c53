package admin

import (
	"context"
	"time"
)

// SearchFor has a page of a search take no longer than about d.
func (a *Admin) SearchFor(d time.Duration) { a.searchTime = d }

// Busy returns when no turn is left.
func (a *Admin) Busy() {
	for len(a.turns) < cap(a.turns) {
		time.Sleep(time.Millisecond)
	}
}

// TrendOfBlocks is Trend with another size of its sample.
func (a *Admin) TrendOfBlocks(ctx context.Context, s TrendSearch, blocks float64) (Trend, error) {
	return a.trend(ctx, s, blocks)
}
