// Command bun appends events with bun: go run ./bun postgres://…
package main

import (
	"context"
	"database/sql"
	"errors"
	"log"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/outcrier/outcrier/examples/orm/go/scenes"
)

// Event is a row of the view. bun sends DEFAULT for a zero field with nullzero.
type Event struct {
	bun.BaseModel `bun:"table:outbox"`

	ID        int64 `bun:",pk,autoincrement"`
	Topic     string
	Type      string
	Payload   map[string]any    `bun:"type:json,nullzero"`
	Source    string            `bun:",nullzero,default:'/'"`
	Headers   map[string]string `bun:"type:jsonb,nullzero"`
	DedupKey  string            `bun:",nullzero"`
	DeliverAt time.Time         `bun:",nullzero"`
	CreatedAt time.Time         `bun:",nullzero,default:now()"`
}

// Item is a row of the business.
type Item struct {
	bun.BaseModel `bun:"table:item"`

	ID   int64 `bun:",pk,autoincrement"`
	Name string
}

func main() {
	ctx := context.Background()
	pool, err := sql.Open("pgx", scenes.URL())
	if err != nil {
		log.Fatal(err)
	}
	db := bun.NewDB(pool, pgdialect.New())
	defer db.Close()
	scenes.Stack("bun", "github.com/uptrace/bun")

	scenes.Run("one", func() (any, error) {
		event := Event{Topic: "orm/one", Type: "item.added", Payload: map[string]any{"item": 1}}
		_, err := db.NewInsert().Model(&event).Exec(ctx)
		return event.ID, err
	})

	scenes.Run("many", func() (any, error) {
		var events []Event
		for n := range 3 {
			events = append(events, Event{Topic: "orm/many", Type: "item.added", Payload: map[string]any{"item": n + 1}})
		}
		_, err := db.NewInsert().Model(&events).Exec(ctx)
		return ids(events), err
	})

	scenes.Run("transaction", func() (any, error) {
		var event Event
		err := db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			item := Item{Name: "lamp"}
			if _, err := tx.NewInsert().Model(&item).Exec(ctx); err != nil {
				return err
			}
			event = Event{Topic: "orm/transaction", Type: "item.added", Payload: map[string]any{"item": item.ID}}
			_, err := tx.NewInsert().Model(&event).Exec(ctx)
			return err
		})
		return event.ID, err
	})

	scenes.Run("rollback", func() (any, error) {
		changedMind := errors.New("changed my mind")
		err := db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.NewInsert().Model(&Item{Name: "ghost"}).Exec(ctx); err != nil {
				return err
			}
			if _, err := tx.NewInsert().Model(&Event{Topic: "orm/rollback", Type: "item.added"}).Exec(ctx); err != nil {
				return err
			}
			return changedMind
		})
		if errors.Is(err, changedMind) {
			err = nil
		}
		return nil, err
	})

	scenes.Run("returning", func() (any, error) {
		event := Event{Topic: "orm/returning", Type: "item.added", Payload: map[string]any{"item": 4}}
		_, err := db.NewInsert().Model(&event).Returning("*").Exec(ctx)
		if err == nil && (event.CreatedAt.IsZero() || event.Source != "/") {
			err = errors.New("not read back")
		}
		return event.ID, err
	})

	scenes.Run("null", func() (any, error) {
		event := Event{Topic: "orm/null", Type: "item.added"}
		_, err := db.NewInsert().Model(&event).
			Value("payload", "NULL").Value("source", "NULL").Value("headers", "NULL").
			Value("dedup_key", "NULL").Value("deliver_at", "NULL").Value("created_at", "NULL").Exec(ctx)
		return event.ID, err
	})

	scenes.Run("default", func() (any, error) {
		event := Event{Topic: "orm/default", Type: "item.added"}
		_, err := db.NewInsert().Model(&event).Exec(ctx)
		return event.ID, err
	})

	scenes.Run("json", func() (any, error) {
		event := Event{
			Topic: "orm/json", Type: "item.added",
			Payload: map[string]any{"item": map[string]any{"name": "Lämpchen 灯", "tags": []any{"new", 2, nil}, "price": 9.5}},
			Headers: map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		}
		_, err := db.NewInsert().Model(&event).Exec(ctx)
		return event.ID, err
	})

	scenes.Run("retry", func() (any, error) {
		pay := func() (int64, error) {
			event := Event{Topic: "orm/retry", Type: "item.paid", Payload: map[string]any{"item": 7}, DedupKey: "item-7-paid"}
			err := db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.NewInsert().Model(&event).Exec(ctx)
				return err
			})
			return event.ID, err
		}
		first, err := pay()
		if err != nil {
			return nil, err
		}
		again, err := pay()
		return []int64{first, again}, err
	})

	scenes.Run("clone", func() (any, error) {
		var event Event
		err := db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			first := Event{Topic: "orm/clone", Type: "item.added", Payload: map[string]any{"item": 8}}
			if _, err := tx.NewInsert().Model(&first).Exec(ctx); err != nil {
				return err
			}
			return tx.NewSelect().Model(&event).Where("topic = ?", "orm/clone").Scan(ctx)
		})
		if err != nil {
			return nil, err
		}
		clone := event
		clone.ID = 0
		_, err = db.NewInsert().Model(&clone).Exec(ctx)
		return []int64{event.ID, clone.ID}, err
	})

	scenes.Run("read", func() (any, error) {
		var event Event
		err := db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			first := Event{Topic: "orm/read", Type: "item.added", Payload: map[string]any{"item": 9}}
			if _, err := tx.NewInsert().Model(&first).Exec(ctx); err != nil {
				return err
			}
			return tx.NewSelect().Model(&event).Where("topic = ?", "orm/read").Scan(ctx)
		})
		return event.ID, err
	})
}

func ids(events []Event) []int64 {
	var ids []int64
	for _, event := range events {
		ids = append(ids, event.ID)
	}
	return ids
}
