package outbox_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// An approval and its event are one transaction: both are there, or neither.
func ExampleAppend() {
	ctx := context.Background()
	url, drop, err := outboxtest.Open() // the application's database
	if err != nil {
		log.Fatal(err)
	}
	defer drop()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `CREATE TABLE submission (id bigint PRIMARY KEY, approved boolean); INSERT INTO submission VALUES (7, false)`); err != nil {
		log.Fatal(err)
	}

	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE submission SET approved = true WHERE id = $1`, 7); err != nil {
			return err
		}
		_, err := outbox.Append(ctx, tx, outbox.Draft{
			Topic: "user/42", Type: "audit.approved", Payload: map[string]int{"submission": 7},
		})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	var topic, kind, payload string
	if err := conn.QueryRow(ctx, `SELECT topic, type, payload FROM outcrier.history`).Scan(&topic, &kind, &payload); err != nil {
		log.Fatal(err)
	}
	fmt.Println(topic, kind, payload)
	// Output: user/42 audit.approved {"submission": 7}
}
