// Command xorm appends events with xorm: go run ./xorm postgres://…
package main

import (
	"errors"
	"log"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"xorm.io/xorm"

	"github.com/outcrier/outcrier/examples/orm/go/scenes"
)

// Event is a row of the view. xorm sends every field that is not autoincr.
type Event struct {
	ID        int64             `xorm:"'id' pk autoincr"`
	Topic     string            `xorm:"text"`
	Type      string            `xorm:"text"`
	Payload   map[string]any    `xorm:"json"`
	Source    string            `xorm:"text"`
	Headers   map[string]string `xorm:"json"`
	DedupKey  *string           `xorm:"text"`
	DeliverAt *time.Time        `xorm:"timestampz"`
	CreatedAt *time.Time        `xorm:"timestampz"`
}

// TableName is the view's.
func (Event) TableName() string { return "outbox" }

// Item is a row of the business.
type Item struct {
	ID   int64 `xorm:"'id' pk autoincr"`
	Name string
}

func main() {
	engine, err := xorm.NewEngine("pgx", scenes.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	scenes.Stack("xorm", "xorm.io/xorm")

	scenes.Run("one", func() (any, error) {
		event := Event{Topic: "orm/one", Type: "item.added", Payload: map[string]any{"item": 1}}
		_, err := engine.Insert(&event)
		return event.ID, err
	})

	scenes.Run("many", func() (any, error) {
		var events []*Event
		for n := range 3 {
			events = append(events, &Event{Topic: "orm/many", Type: "item.added", Payload: map[string]any{"item": n + 1}})
		}
		_, err := engine.Insert(&events) // one statement, whose ids xorm doesn't read back
		return nil, err
	})

	scenes.Run("transaction", func() (any, error) {
		return engine.Transaction(func(tx *xorm.Session) (any, error) {
			item := Item{Name: "lamp"}
			if _, err := tx.Insert(&item); err != nil {
				return nil, err
			}
			event := Event{Topic: "orm/transaction", Type: "item.added", Payload: map[string]any{"item": item.ID}}
			_, err := tx.Insert(&event)
			return event.ID, err
		})
	})

	scenes.Run("rollback", func() (any, error) {
		changedMind := errors.New("changed my mind")
		_, err := engine.Transaction(func(tx *xorm.Session) (any, error) {
			if _, err := tx.Insert(&Item{Name: "ghost"}); err != nil {
				return nil, err
			}
			if _, err := tx.Insert(&Event{Topic: "orm/rollback", Type: "item.added"}); err != nil {
				return nil, err
			}
			return nil, changedMind
		})
		if errors.Is(err, changedMind) {
			err = nil
		}
		return nil, err
	})

	scenes.Run("returning", func() (any, error) {
		// The id comes with the INSERT, the rest can be read until the commit.
		return engine.Transaction(func(tx *xorm.Session) (any, error) {
			event := Event{Topic: "orm/returning", Type: "item.added", Payload: map[string]any{"item": 4}}
			if _, err := tx.Insert(&event); err != nil {
				return nil, err
			}
			var read Event
			found, err := tx.ID(event.ID).Get(&read)
			if err == nil && (!found || read.CreatedAt == nil || read.Source != "/") {
				err = errors.New("not read back")
			}
			return event.ID, err
		})
	})

	scenes.Run("null", func() (any, error) {
		event := Event{Topic: "orm/null", Type: "item.added"}
		_, err := engine.Nullable("payload", "source", "headers").Insert(&event)
		return event.ID, err
	})

	scenes.Run("default", func() (any, error) {
		event := Event{Topic: "orm/default", Type: "item.added"}
		_, err := engine.Cols("topic", "type").Insert(&event) // the others are left out
		return event.ID, err
	})

	scenes.Run("json", func() (any, error) {
		event := Event{
			Topic: "orm/json", Type: "item.added",
			Payload: map[string]any{"item": map[string]any{"name": "Lämpchen 灯", "tags": []any{"new", 2, nil}, "price": 9.5}},
			Headers: map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		}
		_, err := engine.Insert(&event)
		return event.ID, err
	})

	scenes.Run("retry", func() (any, error) {
		pay := func() (any, error) {
			return engine.Transaction(func(tx *xorm.Session) (any, error) {
				key := "item-7-paid"
				event := Event{Topic: "orm/retry", Type: "item.paid", Payload: map[string]any{"item": 7}, DedupKey: &key}
				_, err := tx.Insert(&event)
				return event.ID, err
			})
		}
		first, err := pay()
		if err != nil {
			return nil, err
		}
		again, err := pay()
		return []any{first, again}, err
	})

	scenes.Run("clone", func() (any, error) {
		loaded, err := engine.Transaction(func(tx *xorm.Session) (any, error) {
			if _, err := tx.Insert(&Event{Topic: "orm/clone", Type: "item.added", Payload: map[string]any{"item": 8}}); err != nil {
				return nil, err
			}
			var event Event
			_, err := tx.Where("topic = ?", "orm/clone").Get(&event)
			return event, err
		})
		if err != nil {
			return nil, err
		}
		event := loaded.(Event)
		clone := event
		clone.ID = 0
		_, err = engine.Insert(&clone)
		return []int64{event.ID, clone.ID}, err
	})

	scenes.Run("read", func() (any, error) {
		return engine.Transaction(func(tx *xorm.Session) (any, error) {
			if _, err := tx.Insert(&Event{Topic: "orm/read", Type: "item.added", Payload: map[string]any{"item": 9}}); err != nil {
				return nil, err
			}
			var event Event
			_, err := tx.Where("topic = ?", "orm/read").Get(&event)
			return event.ID, err
		})
	})
}
