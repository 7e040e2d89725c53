package outbox_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox"
)

// An approval and its event are one transaction: both are there, or neither.
func ExampleAppend() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE submission SET approved = true WHERE id = $1`, 7); err != nil {
			return err
		}
		ids, err := outbox.Append(ctx, tx, outbox.Draft{
			Topic: "user/42", Type: "audit.approved", Payload: map[string]int{"submission": 7},
		})
		fmt.Println("event", ids)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
}
