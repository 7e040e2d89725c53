package outbox

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox/internal/database"
)

// HoldFor records that a principal scheduled those of the events that tx has scheduled, and
// returns how many of the principal's scheduled events wait for their time, these included. It
// is for a limit of them, and needs what outcrier_server may.
func (s Schema) HoldFor(ctx context.Context, tx pgx.Tx, principal string, ids []int64) (held int64, err error) {
	if err := tx.QueryRow(ctx, s.SQL(`SELECT outcrier.hold_for($1, $2)`), database.Clean(principal), ids).Scan(&held); err != nil {
		return 0, fmt.Errorf("count what a principal has scheduled: %w", database.Migrated(err))
	}
	return held, nil
}
