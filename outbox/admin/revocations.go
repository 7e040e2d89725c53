package admin

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// revocationSQL is for columns of Revocation, in order.
const revocationSQL = `SELECT revocation, sub, jti, reason, revoked_by, revoked_at, until FROM outcrier.revoked`

// RevocationPage is how many revocations are read at once.
const RevocationPage = 100

// Revocations reads the newest revocations before an id, those that no longer count too;
// from the newest on if it is 0.
func (a *Admin) Revocations(ctx context.Context, before int64) ([]outbox.Revocation, error) {
	return readAll[outbox.Revocation](ctx, a, revocationSQL+` WHERE $1 = 0 OR revocation < $1 ORDER BY revocation DESC LIMIT $2`, before, RevocationPage)
}

// Revoke revokes tokens; ID and At are drawn by the database. If r is not valid, outbox.Refused
// explains the error.
func (a *Admin) Revoke(ctx context.Context, r outbox.Revocation) (done outbox.Revocation, err error) {
	err = a.change(ctx, func(tx database.DB) error {
		var id int64
		if err := tx.QueryRow(ctx, `SELECT outcrier.revoke_as($1, $2, $3, $4, $5)`, r.By, r.Sub, r.JTI, r.Reason, r.Until).Scan(&id); err != nil {
			return err
		}
		rows, err := rowsOf[outbox.Revocation](ctx, tx, revocationSQL+` WHERE revocation = $1`, id)
		if err != nil {
			return err
		}
		if len(rows) != 1 {
			return pgx.ErrNoRows
		}
		done = rows[0]
		return nil
	})
	return done, err
}
