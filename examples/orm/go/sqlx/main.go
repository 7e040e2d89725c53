// Command sqlx appends events with sqlx on database/sql, no ORM: go run ./sqlx postgres://…
package main

import (
	"encoding/json"
	"errors"
	"log"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"

	"github.com/outcrier/outcrier/examples/orm/go/scenes"
)

// Event is a row of the view.
type Event struct {
	ID        int64
	Topic     string
	Type      string
	Payload   json.RawMessage
	Source    *string
	Headers   *json.RawMessage
	DedupKey  *string    `db:"dedup_key"`
	DeliverAt *time.Time `db:"deliver_at"`
	CreatedAt *time.Time `db:"created_at"`
}

const insert = `INSERT INTO outbox (topic, type, payload) VALUES ($1, $2, $3) RETURNING id`

func main() {
	db, err := sqlx.Connect("pgx", scenes.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	scenes.Stack("sqlx", "github.com/jmoiron/sqlx")

	scenes.Run("one", func() (any, error) {
		var id int64
		err := db.Get(&id, insert, "orm/one", "item.added", `{"item": 1}`)
		return id, err
	})

	scenes.Run("many", func() (any, error) {
		var events []Event
		for _, payload := range []string{`{"item": 1}`, `{"item": 2}`, `{"item": 3}`} {
			events = append(events, Event{Topic: "orm/many", Type: "item.added", Payload: json.RawMessage(payload)})
		}
		// NamedExec sends one statement for the slice, and has no rows to return.
		_, err := db.NamedExec(`INSERT INTO outbox (topic, type, payload) VALUES (:topic, :type, :payload)`, events)
		return nil, err
	})

	scenes.Run("transaction", func() (any, error) {
		tx, err := db.Beginx()
		if err != nil {
			return nil, err
		}
		defer tx.Rollback()
		var item, id int64
		if err := tx.Get(&item, `INSERT INTO item (name) VALUES ('lamp') RETURNING id`); err != nil {
			return nil, err
		}
		payload, err := json.Marshal(map[string]any{"item": item})
		if err != nil {
			return nil, err
		}
		if err := tx.Get(&id, insert, "orm/transaction", "item.added", payload); err != nil {
			return nil, err
		}
		return id, tx.Commit()
	})

	scenes.Run("rollback", func() (any, error) {
		tx, err := db.Beginx()
		if err != nil {
			return nil, err
		}
		if _, err := tx.Exec(`INSERT INTO item (name) VALUES ('ghost')`); err != nil {
			return nil, err
		}
		if _, err := tx.Exec(insert, "orm/rollback", "item.added", nil); err != nil {
			return nil, err
		}
		return nil, tx.Rollback()
	})

	scenes.Run("returning", func() (any, error) {
		var event Event
		err := db.Get(&event, `INSERT INTO outbox (topic, type, payload) VALUES ($1, $2, $3) RETURNING *`,
			"orm/returning", "item.added", `{"item": 4}`)
		if err == nil && (event.CreatedAt == nil || *event.Source != "/") {
			err = errors.New("not read back")
		}
		return event.ID, err
	})

	scenes.Run("null", func() (any, error) {
		var id int64
		err := db.Get(&id, `INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id`,
			nil, "orm/null", "item.added", nil, nil, nil, nil, nil, nil)
		return id, err
	})

	scenes.Run("default", func() (any, error) {
		var id int64
		err := db.Get(&id, `INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)
			VALUES (DEFAULT, $1, $2, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT) RETURNING id`,
			"orm/default", "item.added")
		return id, err
	})

	scenes.Run("json", func() (any, error) {
		payload, err := json.Marshal(map[string]any{"item": map[string]any{"name": "Lämpchen 灯", "tags": []any{"new", 2, nil}, "price": 9.5}})
		if err != nil {
			return nil, err
		}
		headers, err := json.Marshal(map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
		if err != nil {
			return nil, err
		}
		var id int64
		err = db.Get(&id, `INSERT INTO outbox (topic, type, payload, headers) VALUES ($1, $2, $3, $4) RETURNING id`,
			"orm/json", "item.added", payload, headers)
		return id, err
	})

	scenes.Run("retry", func() (any, error) {
		pay := func() (id int64, err error) {
			tx, err := db.Beginx()
			if err != nil {
				return 0, err
			}
			defer tx.Rollback()
			err = tx.Get(&id, `INSERT INTO outbox (topic, type, payload, dedup_key) VALUES ($1, $2, $3, $4) RETURNING id`,
				"orm/retry", "item.paid", `{"item": 7}`, "item-7-paid")
			if err != nil {
				return 0, err
			}
			return id, tx.Commit()
		}
		first, err := pay()
		if err != nil {
			return nil, err
		}
		again, err := pay()
		return []int64{first, again}, err
	})

	scenes.Run("clone", func() (any, error) {
		tx, err := db.Beginx()
		if err != nil {
			return nil, err
		}
		defer tx.Rollback()
		var event Event
		if _, err := tx.Exec(insert, "orm/clone", "item.added", `{"item": 8}`); err != nil {
			return nil, err
		}
		if err := tx.Get(&event, `SELECT * FROM outbox WHERE topic = 'orm/clone'`); err != nil {
			return nil, err
		}
		if err := tx.Commit(); err != nil {
			return nil, err
		}
		// The view assigns an id and a time to the row, whatever values it has.
		clone, err := db.PrepareNamed(`INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)
			VALUES (:id, :topic, :type, :payload, :source, :headers, :dedup_key, :deliver_at, :created_at) RETURNING id`)
		if err != nil {
			return nil, err
		}
		var id int64
		err = clone.Get(&id, event)
		return []int64{event.ID, id}, err
	})

	scenes.Run("read", func() (any, error) {
		tx, err := db.Beginx()
		if err != nil {
			return nil, err
		}
		defer tx.Rollback()
		if _, err := tx.Exec(insert, "orm/read", "item.added", `{"item": 9}`); err != nil {
			return nil, err
		}
		var event Event
		if err := tx.Get(&event, `SELECT * FROM outbox WHERE topic = 'orm/read'`); err != nil {
			return nil, err
		}
		return event.ID, tx.Commit()
	})
}
