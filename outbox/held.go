package outbox

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// HoldFor records that a principal scheduled those of the events that tx has scheduled, and
// returns how many of the principal's scheduled events wait for their time, these included. It
// is for a limit of them, and needs what outcrier_server may.
func (s Schema) HoldFor(ctx context.Context, tx pgx.Tx, principal string, ids []int64) (held int64, err error) {
	if err := tx.QueryRow(ctx, s.SQL(`SELECT outcrier.hold_for($1, $2)`), clean(principal), ids).Scan(&held); err != nil {
		return 0, fmt.Errorf("count what a principal has scheduled: %w", migrated(err))
	}
	return held, nil
}
