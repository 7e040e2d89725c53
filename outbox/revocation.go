package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox/internal/database"
)

// Revocation revokes tokens before they expire: those of a subject that were issued up
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

// Revocations reads all revocations that still count.
func Revocations(ctx context.Context, pool *pgxpool.Pool, schema Schema) (list []Revocation, err error) {
	const presentSQL = `
SELECT revocation, sub, jti, reason, revoked_by, revoked_at, until FROM outcrier.revoked
WHERE until IS NULL OR until > clock_timestamp() ORDER BY revocation`
	ctx, cancel := database.Within(ctx, 10*time.Second)
	defer cancel()
	err = database.InPool(ctx, pool, schema, func(q database.DB) error {
		rows, _ := q.Query(ctx, presentSQL) // CollectRows has the error
		list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Revocation])
		return err
	})
	if err != nil {
		return nil, errors.Join(database.Migrated(err), context.Cause(ctx))
	}
	return list, nil
}
