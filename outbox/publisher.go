package outbox

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox/internal/database"
)

// RecordPublisher records who appended the events of these ids, by HTTP: the subject of a
// token, and the client's address. It is called in the transaction that appended them, with
// the ids that Append returned, and needs the rights of outcrier_server.
func (s Schema) RecordPublisher(ctx context.Context, tx pgx.Tx, publisher, clientAddress string, ids ...int64) error {
	if _, err := tx.Exec(ctx, s.SQL(`SELECT outcrier.record_publisher($1, $2, $3)`), ids, database.Clean(publisher), database.Clean(clientAddress)); err != nil {
		return fmt.Errorf("record the publisher: %w", database.Migrated(err))
	}
	return nil
}
