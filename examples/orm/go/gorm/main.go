// Command gorm appends events with gorm: go run ./gorm postgres://…
package main

import (
	"errors"
	"log"
	"os"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/outcrier/outcrier/examples/orm/go/scenes"
)

// Event is a row of the view. A nil field is sent as NULL, which the view reads as not set.
// Leave it out of AutoMigrate, which would make a table of it.
type Event struct {
	ID        int64
	Topic     string
	Type      string
	Payload   map[string]any    `gorm:"serializer:json"`
	Source    string            `gorm:"default:(-)"` // read back after the INSERT
	Headers   map[string]string `gorm:"serializer:json"`
	DedupKey  *string
	DeliverAt *time.Time
	CreatedAt time.Time `gorm:"default:(-);autoCreateTime:false"`
}

// TableName keeps the model apart from a table named events.
func (Event) TableName() string { return "outbox" }

// Item is a row of the business.
type Item struct {
	ID   int64
	Name string
}

// TableName is singular, unlike gorm's guess.
func (Item) TableName() string { return "item" }

func main() {
	db, err := gorm.Open(postgres.Open(scenes.URL()), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		log.Fatal(err)
	}
	if len(os.Args) > 2 {
		tools(db)
		return
	}
	scenes.Stack("gorm", "gorm.io/gorm")

	scenes.Run("one", func() (any, error) {
		event := Event{Topic: "orm/one", Type: "item.added", Payload: map[string]any{"item": 1}}
		err := db.Create(&event).Error
		return event.ID, err
	})

	scenes.Run("many", func() (any, error) {
		var events []Event
		for n := range 3 {
			events = append(events, Event{Topic: "orm/many", Type: "item.added", Payload: map[string]any{"item": n + 1}})
		}
		err := db.Create(&events).Error
		return ids(events), err
	})

	scenes.Run("transaction", func() (any, error) {
		var event Event
		err := db.Transaction(func(tx *gorm.DB) error {
			item := Item{Name: "lamp"}
			if err := tx.Create(&item).Error; err != nil {
				return err
			}
			event = Event{Topic: "orm/transaction", Type: "item.added", Payload: map[string]any{"item": item.ID}}
			return tx.Create(&event).Error
		})
		return event.ID, err
	})

	scenes.Run("rollback", func() (any, error) {
		changedMind := errors.New("changed my mind")
		err := db.Transaction(func(tx *gorm.DB) error {
			if err := tx.Create(&Item{Name: "ghost"}).Error; err != nil {
				return err
			}
			if err := tx.Create(&Event{Topic: "orm/rollback", Type: "item.added"}).Error; err != nil {
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
		err := db.Create(&event).Error
		if err == nil && (event.CreatedAt.IsZero() || event.Source != "/") {
			err = errors.New("not read back")
		}
		return event.ID, err
	})

	scenes.Run("null", func() (any, error) {
		event := Event{Topic: "orm/null", Type: "item.added"}
		err := db.Create(&event).Error
		return event.ID, err
	})

	scenes.Run("default", func() (any, error) {
		// gorm sends DEFAULT for a field with a default that is not set in one row and set in another.
		events := []Event{
			{Topic: "orm/default", Type: "item.added"},
			{Topic: "orm/default", Type: "item.added", Source: "/"},
		}
		err := db.Create(&events).Error
		return ids(events), err
	})

	scenes.Run("json", func() (any, error) {
		event := Event{
			Topic: "orm/json", Type: "item.added",
			Payload: map[string]any{"item": map[string]any{"name": "Lämpchen 灯", "tags": []any{"new", 2, nil}, "price": 9.5}},
			Headers: map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		}
		err := db.Create(&event).Error
		return event.ID, err
	})

	scenes.Run("retry", func() (any, error) {
		pay := func() (int64, error) {
			key := "item-7-paid"
			event := Event{Topic: "orm/retry", Type: "item.paid", Payload: map[string]any{"item": 7}, DedupKey: &key}
			err := db.Transaction(func(tx *gorm.DB) error { return tx.Create(&event).Error })
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
		err := db.Transaction(func(tx *gorm.DB) error {
			err := tx.Create(&Event{Topic: "orm/clone", Type: "item.added", Payload: map[string]any{"item": 8}}).Error
			if err != nil {
				return err
			}
			return tx.First(&event, "topic = ?", "orm/clone").Error
		})
		if err != nil {
			return nil, err
		}
		clone := event
		clone.ID = 0
		err = db.Create(&clone).Error
		return []int64{event.ID, clone.ID}, err
	})

	scenes.Run("read", func() (any, error) {
		var event Event
		err := db.Transaction(func(tx *gorm.DB) error {
			err := tx.Create(&Event{Topic: "orm/read", Type: "item.added", Payload: map[string]any{"item": 9}}).Error
			if err != nil {
				return err
			}
			return tx.First(&event, "topic = ?", "orm/read").Error
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
