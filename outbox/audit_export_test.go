package outbox

import (
	"context"
	"time"
)

// Turn is one turn of Run, of a node with this run.
func (a *Audit) Turn(ctx context.Context, run int64, every time.Duration) error {
	a.run = run
	return a.turn(ctx, every)
}
