package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox/internal/database"
)

// Revocation withdraws tokens before they expire: those of a subject that were issued up
// to a moment, or one by its id.
type Revocation struct {
	ID int64 `json:"id"`
	// Sub is a subject of tokens, JTI a token's id; exactly one of them is set.
	Sub *string `json:"sub"`
	JTI *string `json:"jti"`
	// Reason and By are for the record.
	Reason string `json:"reason"`
	By     string `json:"revoked_by"`
	// At is the moment, by the database's clock: a token of Sub that was issued later is good.
	At time.Time `json:"revoked_at"`
	// Until is when the last of the tokens has expired; nil where that is not known.
	Until *time.Time `json:"until"`
}

// revocationSQL is for columns of Revocation, in order.
const revocationSQL = `SELECT revocation, sub, jti, reason, revoked_by, revoked_at, until FROM outcrier.revoked`

// Revocations reads all revocations that still count.
func Revocations(ctx context.Context, pool *pgxpool.Pool, schema Schema) (list []Revocation, err error) {
	ctx, cancel := database.Within(ctx, 10*time.Second)
	defer cancel()
	err = database.InPool(ctx, pool, schema, func(q database.DB) error {
		list, err = rowsOf[Revocation](ctx, q, revocationSQL+` WHERE until IS NULL OR until > clock_timestamp() ORDER BY revocation`)
		return err
	})
	if err != nil {
		return nil, errors.Join(database.Migrated(err), context.Cause(ctx))
	}
	return list, nil
}

// RevocationPage is how many revocations are read at once.
const RevocationPage = 100

// Revocations reads the newest revocations before an id, those that no longer count too;
// from the newest on if it is 0.
func (a *Admin) Revocations(ctx context.Context, before int64) ([]Revocation, error) {
	return readAll[Revocation](ctx, a, revocationSQL+` WHERE $1 = 0 OR revocation < $1 ORDER BY revocation DESC LIMIT $2`, before, RevocationPage)
}

// Revoke withdraws tokens; ID and At are drawn by the database. If r is not valid, Refused
// explains the error.
func (a *Admin) Revoke(ctx context.Context, r Revocation) (done Revocation, err error) {
	err = a.change(ctx, func(tx database.DB) error {
		var id int64
		if err := tx.QueryRow(ctx, `SELECT outcrier.revoke_as($1, $2, $3, $4, $5)`, r.By, r.Sub, r.JTI, r.Reason, r.Until).Scan(&id); err != nil {
			return err
		}
		rows, err := rowsOf[Revocation](ctx, tx, revocationSQL+` WHERE revocation = $1`, id)
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
