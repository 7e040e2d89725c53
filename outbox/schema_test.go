package outbox_test

import (
	"strings"
	"testing"

	"github.com/outcrier/outcrier/outbox"
)

func TestSchema_DefaultLeavesQueriesAsTheyAre(t *testing.T) {
	const query = `SELECT id FROM outcrier.event WHERE xid > $1`
	for _, schema := range []outbox.Schema{"", outbox.DefaultSchema} {
		if got := schema.SQL(query); got != query {
			t.Errorf("schema %q: %s", schema, got)
		}
		if n := testing.AllocsPerRun(100, func() { _ = schema.SQL(query) }); n != 0 {
			t.Errorf("schema %q: %v allocations", schema, n)
		}
	}
}

func TestSchema_NamesObjectsOfAnotherSchema(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		`SELECT e.id FROM outcrier.event AS e, outcrier.event_type`:                            `SELECT e.id FROM "tenant".event AS e, "tenant".event_type`,
		`SELECT nextval('outcrier.wake_request')`:                                              `SELECT nextval('"tenant".wake_request')`,
		`CREATE SCHEMA outcrier;`:                                                              `CREATE SCHEMA "tenant";`,
		`CREATE SCHEMA IF NOT EXISTS outcrier;`:                                                `CREATE SCHEMA IF NOT EXISTS "tenant";`,
		`REVOKE ALL ON ALL TABLES IN SCHEMA outcrier FROM PUBLIC`:                              `REVOKE ALL ON ALL TABLES IN SCHEMA "tenant" FROM PUBLIC`,
		`PERFORM outcrier.notify(); SELECT outcrier.reset()`:                                   `PERFORM "tenant".notify(); SELECT "tenant".reset()`,
		`current_setting('outcrier.notify', true)`:                                             `current_setting('outcrier.notify', true)`,
		`SET LOCAL outcrier.notify = 'off'`:                                                    `SET LOCAL outcrier.notify = 'off'`,
		`type IN ('outcrier.erased', 'outcrier.redacted', 'outcrier.reset', 'outcrier.hello')`: `type IN ('outcrier.erased', 'outcrier.redacted', 'outcrier.reset', '"tenant".hello')`,
		`starts_with(type, 'outcrier.')`:                                                       `starts_with(type, 'outcrier.')`,
		`GRANT SELECT ON outcrier.event TO outcrier_reader`:                                    `GRANT SELECT ON "tenant".event TO outcrier_reader`,
		`GRANT USAGE ON SCHEMA outcrier TO outcrier_server`:                                    `GRANT USAGE ON SCHEMA "tenant" TO outcrier_server`,
		`SELECT 1 FROM my_outcrier.event, xoutcrier.event`:                                     `SELECT 1 FROM my_outcrier.event, xoutcrier.event`,
		`SELECT 'outcrier' AS application, SCHEMA outcrier_x`:                                  `SELECT 'outcrier' AS application, SCHEMA outcrier_x`,
	} {
		for range 2 { // the second is from memory
			if got := outbox.Schema("tenant").SQL(query); got != want {
				t.Errorf("%s\ngives %s\nwant  %s", query, got, want)
			}
		}
	}
}

func TestSchema_QuotesOddNames(t *testing.T) {
	t.Parallel()
	for schema, want := range map[outbox.Schema]string{
		`Tenant 7`:    `SELECT FROM "Tenant 7".event`,
		`te"nant`:     `SELECT FROM "te""nant".event`,
		`select`:      `SELECT FROM "select".event`,
		`mandant-äöü`: `SELECT FROM "mandant-äöü".event`,
		`outcrier.x`:  `SELECT FROM "outcrier.x".event`,
	} {
		if err := schema.Check(); err != nil {
			t.Error(err)
		}
		if got := schema.SQL(`SELECT FROM outcrier.event`); got != want {
			t.Errorf("schema %q: %s, want %s", schema, got, want)
		}
	}
}

func TestSchema_RefusesNamesThatSQLWouldMisread(t *testing.T) {
	t.Parallel()
	for _, schema := range []outbox.Schema{
		`te'nant`, `te\nant`, `te%nant`, `te$nant`, "te\nnant", "te\xffnant", `pg_tenant`, `public`, outbox.Schema(strings.Repeat("x", 64)),
	} {
		if schema.Check() == nil {
			t.Errorf("schema %q is taken", schema)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("schema %q is written into SQL", schema)
				}
			}()
			schema.SQL(`SELECT FROM outcrier.event`)
		}()
	}
}
