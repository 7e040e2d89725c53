package plug_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/catalogue"
	"github.com/outcrier/outcrier/outbox/internal/plug"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// This test binary does not import package jsonschema.

func TestAppend_RefusesPayloadsThatTheProgramCannotCheck(t *testing.T) {
	if plug.Compile != nil {
		t.Fatal("this program can check schemas")
	}
	pool := outboxtest.New(t)
	if _, err := pool.Exec(t.Context(), `INSERT INTO outcrier.event_type (type, title, payload_schema) VALUES ('checked', 'Checked', 'true')`); err != nil {
		t.Fatal(err)
	}
	appended := func(kind string) error {
		return pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			_, err := outbox.Append(t.Context(), tx, outbox.Draft{Topic: "a", Type: kind})
			return err
		})
	}
	if err := appended("free"); err != nil {
		t.Errorf("a type without a schema: %v", err)
	}
	if err := appended("checked"); err == nil || !strings.Contains(err.Error(), `import _ "github.com/outcrier/outcrier/outbox/jsonschema"`) {
		t.Errorf("a type with a schema: %v", err)
	}
	var kinds []string
	if err := pool.QueryRow(t.Context(), `SELECT array_agg(type) FROM outcrier.event`).Scan(&kinds); err != nil || len(kinds) != 1 || kinds[0] != "free" {
		t.Errorf("stored: %q, %v", kinds, err)
	}
	entry := catalogue.EventType{Type: "new", Title: "New", Severity: "info", Action: "none", PayloadSchema: []byte(`true`)}
	if _, err := admin.New(pool).CreateEventType(t.Context(), entry); err == nil || !strings.Contains(err.Error(), "import _") {
		t.Errorf("an entry with a schema: %v", err)
	}
}
