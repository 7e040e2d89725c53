package doctor

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// examine is a whole examination.
func examine(t *testing.T, c Config) (list findings) {
	t.Helper()
	c.Found = list.add
	Examine(t.Context(), c)
	return list
}

func run(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func TestDatabase_HealthyHasNoErrors(t *testing.T) {
	url, conn := migrated(t)
	run(t, conn, `SELECT outbox_append('a', 't')`)
	found := examine(t, Config{DatabaseURL: url})
	for _, f := range found {
		if f.Severity == Error || f.Severity == Warning && f.Check != "durability" { // the test's Postgres has no fsync
			t.Errorf("%+v", f)
		}
	}
	for _, check := range []string{"version", "sessions", "clock", "listen", "migrations", "schema", "grants", "sequence", "trigger", "partitions", "default partition", "open transactions"} {
		found.want(t, OK, check)
	}
}

// Each thing that can be broken, broken by hand, is found and named.
func TestDatabase_FindsWhatIsBroken(t *testing.T) {
	url, conn := migrated(t)
	run(t, conn,
		`ALTER SEQUENCE outbox_id_seq CACHE 20`,
		`ALTER TABLE outbox_default DISABLE TRIGGER outbox_ring`,
		`DO $$ BEGIN EXECUTE 'DROP TRIGGER outbox_ring ON ' || to_char((now() AT TIME ZONE 'UTC')::date + 3, '"outbox_"YYYY_MM_DD'); END $$`,
		`DO $$ BEGIN EXECUTE 'DROP TABLE ' || to_char((now() AT TIME ZONE 'UTC')::date + 1, '"outbox_"YYYY_MM_DD'); END $$`,
		`INSERT INTO outbox (topic, type, created_at) VALUES ('a', 't', '2020-02-02 02:02Z'), ('a', 't', '2020-02-02 23:59Z')`,
		`ALTER TABLE outbox DROP CONSTRAINT outbox_type`,
		`ALTER TABLE outbox ALTER COLUMN source SET DEFAULT '/elsewhere'`,
		`DROP INDEX outbox_topic_id`,
		`CREATE OR REPLACE FUNCTION outbox_position() RETURNS text LANGUAGE sql STABLE AS $$ SELECT '' $$`,
		`DROP VIEW outbox_receipts`,
		`ALTER TABLE outbox ADD COLUMN note text`,
		`REVOKE EXECUTE ON FUNCTION outbox_deliver_due FROM outbox_server`,
		`GRANT INSERT (xid) ON outbox TO outbox_writer`,
		`GRANT EXECUTE ON FUNCTION outbox_retain TO PUBLIC`,
		`SET idle_in_transaction_session_timeout = 0`,
	)
	found := examine(t, Config{DatabaseURL: url})
	found.want(t, Error, "sequence", "a cache of 20", "CACHE 1")
	found.want(t, Error, "trigger", "ALTER TABLE outbox_default ENABLE TRIGGER outbox_ring", "missing: CREATE TRIGGER outbox_ring AFTER INSERT ON outbox_20")
	found.want(t, Warning, "partitions", "no partition for tomorrow")
	found.want(t, Error, "schema",
		"missing: constraint outbox.outbox_type", `changed: column outbox.source: it is "text NOT NULL DEFAULT '/elsewhere'::text"`, "missing: index outbox_topic_id",
		"changed: function outbox_position()", "missing: view outbox_receipts", "changed: trigger outbox_default.outbox_ring")
	found.want(t, Advice, "schema", "column outbox.note")
	found.want(t, Error, "grants", "missing: outbox_server EXECUTE function outbox_deliver_due(at_most integer)")
	found.want(t, Warning, "grants", "beyond: outbox_writer INSERT column outbox.xid", "beyond: PUBLIC EXECUTE function outbox_retain(keep interval)")
	found.want(t, Advice, "idle transactions", "idle_in_transaction_session_timeout = '5min'")

	// The remedy for the default partition is one.
	found.want(t, Warning, "default partition", "2 events of past days lie in outbox_default", "SELECT outbox_partitions_ahead()")
	run(t, conn, `SELECT outbox_partitions_ahead()`)
	examine(t, Config{DatabaseURL: url}).want(t, OK, "default partition", "is empty")
	var partition string
	if err := conn.QueryRow(t.Context(), `SELECT DISTINCT tableoid::regclass FROM outbox`).Scan(&partition); err != nil || partition != "outbox_2020_02_02" {
		t.Errorf("the events are in %s: %v", partition, err)
	}
}

// What a node will move in its time is no fault.
func TestDatabase_EventsOfTodayMayLieInTheDefaultPartition(t *testing.T) {
	url, conn := migrated(t)
	run(t, conn, `DO $$ BEGIN EXECUTE 'DROP TABLE ' || to_char((now() AT TIME ZONE 'UTC')::date, '"outbox_"YYYY_MM_DD'); END $$`, `SELECT outbox_append('a', 't')`)
	found := examine(t, Config{DatabaseURL: url})
	found.want(t, OK, "default partition", "1 events lie in outbox_default, none of a past day")
	found.want(t, Error, "partitions", "no partition for today", "when it is past")
}

func TestDatabase_NamesTransactionsThatOweEvents(t *testing.T) {
	url, conn := migrated(t)
	run(t, conn, `BEGIN`, `INSERT INTO outbox (topic, type) VALUES ('a', 't')`, `SELECT 'still busy'`)
	var pid int
	if err := conn.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	found := examine(t, Config{DatabaseURL: url, LongOpen: 1})
	found.want(t, Warning, "open transactions", "1 open transactions owe events", fmt.Sprintf("pid %d, ", pid), "idle in transaction", "last query: SELECT pg_backend_pid()")
	examine(t, Config{DatabaseURL: url}).want(t, OK, "open transactions", "1 owe events")
	run(t, conn, `PREPARE TRANSACTION 'owes "much"'`)
	examine(t, Config{DatabaseURL: url, LongOpen: 1}).want(t, Warning, "open transactions", `prepared transaction "owes \"much\""`)
	run(t, conn, `ROLLBACK PREPARED 'owes "much"'`)
	examine(t, Config{DatabaseURL: url, LongOpen: 1}).want(t, OK, "open transactions", "none owes")
}

func TestDatabase_SaysWhatARoleLacks(t *testing.T) {
	url, conn := migrated(t)
	run(t, conn, `DROP ROLE IF EXISTS doctor_weak`, `CREATE ROLE doctor_weak LOGIN`, `GRANT outbox_writer TO doctor_weak`)
	weak := url + "&options=-c%20role%3Ddoctor_weak"
	found := examine(t, Config{DatabaseURL: weak})
	found.want(t, Error, "rights", "role doctor_weak", "SELECT on table outbox", "EXECUTE on function outbox_settle()", `GRANT outbox_server TO "doctor_weak"`)
	run(t, conn, `GRANT outbox_server TO doctor_weak`)
	found = examine(t, Config{DatabaseURL: weak})
	found.want(t, OK, "rights", "doctor_weak")
	run(t, conn, `DROP ROLE doctor_weak`)
}

func TestDatabase_SaysThatNothingIsThere(t *testing.T) {
	url, conn := migrated(t)
	run(t, conn, `CREATE SCHEMA elsewhere`)
	examine(t, Config{DatabaseURL: url + "&search_path=elsewhere"}).want(t, Error, "schema", "no table outbox", "outcrier migrate up")
	run(t, conn, `DELETE FROM outbox_goose_version WHERE version_id > 2`)
	examine(t, Config{DatabaseURL: url}).want(t, Error, "migrations", "migration 2 is the last one applied", "outcrier migrate up")
	run(t, conn, `INSERT INTO outbox_goose_version (version_id, is_applied) VALUES (9999, true)`)
	examine(t, Config{DatabaseURL: url}).want(t, Warning, "migrations", "migration 9999")
	found := examine(t, Config{DatabaseURL: "postgres://nobody:secret@127.0.0.1:1/x"})
	if f := found.want(t, Error, "connection", "can't be reached"); strings.Contains(f.Text, "secret") {
		t.Errorf("it shows the password: %s", f.Text)
	}
}
