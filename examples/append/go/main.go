// Append events from Go, by pgx and by database/sql: go run . postgres://…
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/outcrier/outcrier/outbox"
)

func main() {
	if err := run(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)

	// The order and its event are committed together, when the function returns.
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO orders (id, customer, state) VALUES (1, 42, 'placed')`); err != nil {
			return err
		}
		_, err := outbox.Append(ctx, tx, outbox.Draft{Topic: "user/42/orders", Type: "order.placed", Payload: map[string]int{"order": 1}})
		return err
	})
	if err != nil {
		return err
	}

	// A transaction that is rolled back leaves no event.
	changedMind := errors.New("changed my mind")
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := outbox.Append(ctx, tx, outbox.Draft{Topic: "user/42/orders", Type: "order.placed"}); err != nil {
			return err
		}
		return changedMind
	})
	if !errors.Is(err, changedMind) {
		return err
	}

	// An event that is not allowed fails the transaction, with an error that says what
	// is allowed.
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := outbox.Append(ctx, tx, outbox.Draft{Topic: "user//42", Type: "order.placed"})
		return err
	})
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		fmt.Println(refused.Code, refused.ColumnName, refused.Message)
	}
	return runSQL(ctx, url)
}

// runSQL does the rest by database/sql.
func runSQL(ctx context.Context, url string) error {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after the commit it does nothing

	// A retry with the same key stores nothing, and gets the first one's id.
	paid := outbox.Draft{Topic: "user/42/orders", Type: "order.paid", DedupKey: "payment-1"}
	ids, err := outbox.AppendSQL(ctx, tx, paid, paid)
	if err != nil {
		return err
	}
	if ids[0] != ids[1] {
		return errors.New("two ids")
	}

	// To be delivered later.
	_, err = outbox.AppendSQL(ctx, tx, outbox.Draft{
		Topic: "user/42/orders", Type: "order.reminded", DedupKey: "reminder-1", DeliverAt: time.Now().Add(24 * time.Hour),
	})
	if err != nil {
		return err
	}
	return tx.Commit()
}
