package outbox_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/catalogue"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	_ "github.com/outcrier/outcrier/outbox/jsonschema"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

const orderSchema = `{
	"type": "object",
	"required": ["quantity"],
	"properties": {
		"quantity": {"type": "integer", "minimum": 1},
		"lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
		"at": {"type": "string", "format": "date-time"}
	},
	"$defs": {"line": {"type": "object", "properties": {"a/b": {"type": "string"}}}}
}`

func put(t *testing.T, pool *pgxpool.Pool, name, schema string) {
	t.Helper()
	sqltest.Exec(t, pool, `INSERT INTO outcrier.event_type (type, title, payload_schema) VALUES ($1, 'A title', $2)
		ON CONFLICT (type) DO UPDATE SET payload_schema = excluded.payload_schema`, name, schema)
}

// appendPayload appends one event in a transaction of its own, by pgx.
func appendPayload(ctx context.Context, pool *pgxpool.Pool, name, payload string) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := outbox.Append(ctx, tx, outbox.Draft{Topic: "a", Type: name, Payload: json.RawMessage(payload)})
		return err
	})
}

func TestAppend_HoldsPayloadsToTheirSchema(t *testing.T) {
	pool := outboxtest.New(t)
	put(t, pool, "order.placed", orderSchema)
	put(t, pool, "order.never", `false`)
	for _, c := range []struct{ kind, payload, path, reason string }{
		{"order.placed", `{"quantity": 1}`, "", ""},
		{"order.placed", `{"quantity": 1, "more": null}`, "", ""},
		{"order.placed", `{"quantity": 9223372036854775808123}`, "", ""},
		{"order.other", `[]`, "", ""},
		{"order.placed", `[]`, "", "want object"},
		{"order.placed", `{}`, "", "quantity"},
		{"order.placed", `{"quantity": 0}`, "/quantity", "minimum"},
		{"order.placed", `{"quantity": 1.5}`, "/quantity", "want integer"},
		{"order.placed", `{"quantity": 1, "lines": [{}, {"a/b": 7}]}`, "/lines/1/a~1b", "want string"},
		{"order.placed", `{"quantity": 1, "at": "tomorrow"}`, "/at", "date-time"},
		{"order.never", `{}`, "", "nothing is allowed"},
	} {
		for name, appends := range map[string]func() error{
			"pgx": func() error { return appendPayload(t.Context(), pool, c.kind, c.payload) },
			"database/sql": func() error {
				db := stdlib.OpenDBFromPool(pool)
				defer db.Close()
				tx, err := db.BeginTx(t.Context(), &sql.TxOptions{})
				if err != nil {
					return err
				}
				defer tx.Rollback() //nolint:errcheck // after a commit it has none
				if _, err := outbox.AppendSQL(t.Context(), tx, outbox.Draft{Topic: "a", Type: c.kind, Payload: []byte(c.payload)}); err != nil {
					return err
				}
				return tx.Commit()
			},
		} {
			before := count(t, pool)
			err := appends()
			var invalid *outbox.SchemaError
			switch {
			case c.reason == "":
				if err != nil || count(t, pool) != before+1 {
					t.Errorf("%s, %s %s: %v", name, c.kind, c.payload, err)
				}
			case !errors.As(err, &invalid), invalid.Path != c.path, !strings.Contains(err.Error(), c.reason), !strings.Contains(err.Error(), c.kind), count(t, pool) != before:
				t.Errorf("%s, %s %s: %v (%+v)", name, c.kind, c.payload, err, invalid)
			default:
				if reason, refused := outbox.Refused(err); !refused || reason == "" {
					t.Errorf("not a refusal: %v", err)
				}
			}
		}
	}
}

func count(t *testing.T, pool *pgxpool.Pool) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM outcrier.event`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAppend_SchemaCountsAtOnceWhereverItWasChanged(t *testing.T) {
	pool, other := outboxtest.New(t), outboxtest.New(t)
	passes := func(pool *pgxpool.Pool, want bool) {
		t.Helper()
		if err := appendPayload(t.Context(), pool, "t", `{}`); (err == nil) != want {
			t.Errorf("passes %v: %v", !want, err)
		}
	}
	passes(pool, true)
	put(t, pool, "t", `{"required": ["a"]}`)
	passes(pool, false)
	passes(other, true) // another database has its own
	for sql, want := range map[string]bool{
		`UPDATE outcrier.event_type SET payload_schema = '{"required": []}' WHERE type = 't'`:    true,
		`UPDATE outcrier.event_type SET payload_schema = '{"required": ["b"]}' WHERE type = 't'`: false,
		`DELETE FROM outcrier.event_type WHERE type = 't'`:                                       true,
	} {
		put(t, pool, "t", `{"required": ["a"]}`)
		passes(pool, false)
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		passes(pool, want)
		passes(other, true)
	}
}

func TestAppend_OfManyNamesTheOneThatDoesNotPass(t *testing.T) {
	pool := outboxtest.New(t)
	put(t, pool, "order.placed", orderSchema)
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := outbox.Append(t.Context(), tx,
			outbox.Draft{Topic: "a", Type: "order.placed", Payload: map[string]int{"quantity": 1}},
			outbox.Draft{Topic: "a", Type: "order.placed", Payload: map[string]int{"quantity": 0}})
		return err
	})
	var invalid *outbox.SchemaError
	if !errors.As(err, &invalid) || invalid.Draft != 1 || count(t, pool) != 0 {
		t.Errorf("%v", err)
	}
}

func TestCatalogue_RefusesWhatDoesNotCompile(t *testing.T) {
	pool := outboxtest.New(t)
	a := admin.New(pool)
	for schema, says := range map[string]string{
		`{"type": "objekt"}`:                         "type",
		`{"$ref": "http://127.0.0.1:1/schema.json"}`: "nothing is loaded",
		`{"$ref": "file:///etc/passwd"}`:             "nothing is loaded",
		`{"$ref": "other.json"}`:                     "nothing is loaded",
		`{"$ref": "#/$defs/missing"}`:                "missing",
		`{"$schema": "https://example.com/schema"}`:  "nothing is loaded",
		`{"pattern": "("}`:                           "pattern",
		`{`:                                          "not JSON",
		`7`:                                          "compile",
		`{"title": "` + strings.Repeat("x", 1<<16) + `"}`: "at most 65536 bytes",
	} {
		_, err := a.CreateEventType(t.Context(), catalogue.EventType{Type: "t", Title: "T", Severity: "info", Action: "none", PayloadSchema: json.RawMessage(schema)})
		if reason, refused := outbox.Refused(err); !refused || !strings.Contains(reason, says) {
			t.Errorf("%.60s: %v", schema, err)
		}
	}
	for _, c := range []struct {
		t    catalogue.EventType
		says string
	}{
		{catalogue.EventType{Type: "outcrier.x", Title: "T", Severity: "info", Action: "none"}, "outcrier."},
		{catalogue.EventType{Type: "t", Severity: "info", Action: "none"}, "title"},
		{catalogue.EventType{Type: "t", Title: "T", Severity: "fatal", Action: "none"}, "info, warning and error"},
		{catalogue.EventType{Type: "t", Title: "T", Severity: "info", Action: "Run!"}, "refresh"},
		{catalogue.EventType{Type: "t", Title: "T", Severity: "info", Action: "none", Code: new(string)}, "1 to 64"},
	} {
		_, err := a.CreateEventType(t.Context(), c.t)
		if reason, refused := outbox.Refused(err); !refused || !strings.Contains(reason, c.says) {
			t.Errorf("%+v: %q", c.t, reason)
		}
	}
	if list, err := (catalogue.Catalogue{Pool: pool}).List(t.Context()); err != nil || len(list) != 8 {
		t.Errorf("%d types, %v", len(list), err)
	}
	// A bad schema that was stored another way is reported by the append.
	put(t, pool, "t", `{"type": 7}`)
	if err := appendPayload(t.Context(), pool, "t", `{}`); err == nil || !strings.Contains(err.Error(), "does not compile") {
		t.Errorf("%v", err)
	}
}
