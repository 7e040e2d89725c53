package doctor

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/migrations"
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

func atEnd(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	t.Cleanup(func() {
		if _, err := conn.Exec(context.Background(), statement); err != nil {
			t.Error(err)
		}
	})
}

func TestDatabase_HealthyHasNoErrors(t *testing.T) {
	url, conn := migrated(t)
	run(t, conn, `SELECT outcrier.append('a', 't')`)
	found := examine(t, Config{DatabaseURL: url})
	for _, f := range found {
		if f.Severity == Error || f.Severity == Warning && f.Check != "durability" { // the test's Postgres has no fsync
			t.Errorf("%+v", f)
		}
	}
	for _, check := range []string{"version", "sessions", "clock", "settings", "notifications", "listen", "create", "row security", "migrations", "schema", "grants",
		"publications", "sequence", "partitions", "default partition", "open transactions", "schedule"} {
		found.want(t, OK, check)
	}
}

// Each thing that can be broken, broken by hand, is found and named.
func TestDatabase_FindsWhatIsBroken(t *testing.T) {
	url, conn := migrated(t)
	run(t, conn,
		`INSERT INTO outcrier.event (topic, type, created_at) VALUES ('a', 't', '2020-02-02 02:02Z'), ('a', 't', '2020-02-02 23:59Z')`,
		`ALTER SEQUENCE outcrier.event_id CACHE 20`,
		`ALTER TABLE outcrier.event DISABLE TRIGGER settle_foreign`,
		`DROP TRIGGER refuse_change ON outbox`,
		`DO $$ BEGIN EXECUTE 'DROP TABLE outcrier.' || to_char((now() AT TIME ZONE 'UTC')::date + 1, '"event_"YYYY_MM_DD'); END $$`,
		`ALTER TABLE outcrier.event_type DROP CONSTRAINT severity_valid`,
		`ALTER TABLE outcrier.event ALTER COLUMN source SET DEFAULT '/elsewhere'`,
		`DROP INDEX outcrier.event_topic_id`,
		`CREATE OR REPLACE FUNCTION outcrier.position() RETURNS text LANGUAGE sql STABLE AS $$ SELECT '' $$`,
		`DROP VIEW outcrier.receipts`,
		`ALTER TABLE outcrier.dedup ADD COLUMN note text`,
		`CREATE TABLE outcrier.invoice ()`,
		`REVOKE EXECUTE ON FUNCTION outcrier.deliver_scheduled FROM outcrier_server`,
		`GRANT INSERT (xid) ON outcrier.event TO outcrier_writer`,
		`GRANT EXECUTE ON FUNCTION outcrier.drop_partition TO PUBLIC`,
		`SET idle_in_transaction_session_timeout = 0`,
	)
	found := examine(t, Config{DatabaseURL: url})
	found.want(t, Error, "sequence", "a cache of 20", "CACHE 1")
	found.want(t, Warning, "partitions", "partitions cover only the next", "SELECT outcrier.add_partition()")
	found.want(t, Error, "schema",
		"missing: constraint event_type.severity_valid", `changed: column event.source: it is "text COLLATE C NOT NULL DEFAULT '/elsewhere'::text"`, "missing: index event_topic_id",
		"changed: function position()", "missing: view receipts", "changed: trigger event.settle_foreign", "missing: trigger outbox.refuse_change")
	found.want(t, Advice, "schema", "column dedup.note", "table invoice")
	found.want(t, Error, "grants", "missing: outcrier_server EXECUTE function deliver_scheduled(at_most integer)")
	found.want(t, Warning, "grants", "beyond: outcrier_writer INSERT column event.xid", "beyond: PUBLIC EXECUTE function drop_partition(")
	found.want(t, Advice, "idle transactions", "idle_in_transaction_session_timeout = '5min'")

	// The remedy for the default partition is one.
	found.want(t, Warning, "default partition", "2 events of past days lie in event_default", "SELECT outcrier.add_partition()")
	run(t, conn, `DO $$ BEGIN WHILE outcrier.add_partition('0') IS NOT NULL LOOP END LOOP; END $$`)
	examine(t, Config{DatabaseURL: url}).want(t, OK, "default partition", "is empty")
}

// What a node will move in its time is no fault.
func TestDatabase_EventsOfTodayMayLieInTheDefaultPartition(t *testing.T) {
	url, conn := migrated(t)
	run(t, conn, `DO $$ BEGIN EXECUTE 'DROP TABLE outcrier.' || to_char((now() AT TIME ZONE 'UTC')::date, '"event_"YYYY_MM_DD'); END $$`, `SELECT outcrier.append('a', 't')`)
	found := examine(t, Config{DatabaseURL: url})
	found.want(t, OK, "default partition", "1 events lie in event_default, none of a past day")
	found.want(t, Error, "partitions", "no partition covers the present time", "when it is past")
}

// Hosts give rights to roles of their own, and switch on row security for all tables.
func TestDatabase_FindsWhatAHostDoes(t *testing.T) {
	url, conn := migrated(t)
	run(t, conn, `DROP ROLE IF EXISTS doctor_anon`, `CREATE ROLE doctor_anon`,
		`GRANT USAGE ON SCHEMA outcrier TO doctor_anon`, `GRANT ALL ON ALL TABLES IN SCHEMA outcrier TO doctor_anon`, `GRANT SELECT ON outbox TO doctor_anon`,
		`ALTER TABLE outcrier.event ENABLE ROW LEVEL SECURITY`, `ALTER TABLE outcrier.scheduled FORCE ROW LEVEL SECURITY`)
	atEnd(t, conn, `DROP OWNED BY doctor_anon; DROP ROLE doctor_anon`)
	found := examine(t, Config{DatabaseURL: url})
	found.want(t, Warning, "grants", "beyond: doctor_anon USAGE schema", "beyond: doctor_anon DELETE table event", "beyond: doctor_anon SELECT table outbox", "beyond: doctor_anon TRUNCATE partition event_20")
	found.want(t, Error, "row security", "on for 2 tables", "ALTER TABLE outcrier.event DISABLE ROW LEVEL SECURITY")
	found.want(t, OK, "create")
	run(t, conn, `GRANT CREATE ON SCHEMA outcrier TO doctor_anon, PUBLIC`)
	examine(t, Config{DatabaseURL: url}).want(t, Error, "create", "PUBLIC, doctor_anon may create objects", `REVOKE CREATE ON SCHEMA "outcrier" FROM PUBLIC, doctor_anon`)
}

// What a role or the database sets reaches applications, whatever nodes set themselves.
func TestDatabase_NamesSettingsOfRolesAndDatabases(t *testing.T) {
	url, conn := migrated(t)
	name := conn.Config().Database
	run(t, conn, `ALTER DATABASE `+name+` SET statement_timeout = '5s'`, `ALTER DATABASE `+name+` SET client_encoding = 'UTF8'`)
	examine(t, Config{DatabaseURL: url}).want(t, OK, "settings", "statement_timeout = 5s, for this database")
	run(t, conn, `ALTER DATABASE `+name+` SET client_encoding = 'LATIN1'`, `ALTER DATABASE `+name+` SET default_transaction_read_only = on`)
	found := examine(t, Config{DatabaseURL: url})
	found.want(t, Warning, "settings", "client_encoding = LATIN1, for this database: a client that sends UTF-8", "default_transaction_read_only = on", "RESET")
	found.want(t, OK, "sessions")
	run(t, conn, `DROP ROLE IF EXISTS doctor_replica`, `CREATE ROLE doctor_replica`, `ALTER ROLE doctor_replica IN DATABASE `+name+` SET session_replication_role = 'replica'`)
	atEnd(t, conn, `DROP ROLE doctor_replica`)
	examine(t, Config{DatabaseURL: url}).want(t, Error, "settings", "session_replication_role = replica, for role doctor_replica in this database", "stores nothing")
}

func TestDatabase_LooksAtPublications(t *testing.T) {
	url, conn := migrated(t)
	run(t, conn, `CREATE PUBLICATION everything FOR ALL TABLES`)
	examine(t, Config{DatabaseURL: url}).want(t, OK, "publications", "everything", "each has a key")
	run(t, conn, `ALTER TABLE outcrier.removal DROP CONSTRAINT removal_pkey`)
	examine(t, Config{DatabaseURL: url}).want(t, Error, "publications", "everything", "removal")
}

// A logical copy brings rows, and no sequences.
func TestDatabase_FindsASequenceThatIsBehind(t *testing.T) {
	url, conn := migrated(t)
	run(t, conn, `SELECT outcrier.append('a', 't')`, `SELECT outcrier.append('a', 't')`, `SELECT setval('outcrier.event_id', 1)`)
	examine(t, Config{DatabaseURL: url}).want(t, Error, "sequence", "ids will repeat", "SELECT setval('outcrier.event_id', 2)")
}

func TestDatabase_LooksAtTheNotificationQueue(t *testing.T) {
	url, _ := migrated(t)
	examine(t, Config{DatabaseURL: url}).want(t, OK, "notifications", "0 % full")
	for usage, severity := range map[float64]Severity{0.09: OK, 0.1: Warning, 0.49: Warning, 0.5: Error, 1: Error} {
		var found findings
		(&examination{Config: Config{Found: found.add}, counts: map[Severity]int{}}).queue(usage)
		found.want(t, severity, "notifications", fmt.Sprintf("%.0f %% full", 100*usage))
	}
}

// Many partitions cost every read.
func TestDatabase_CountsPartitions(t *testing.T) {
	url, conn := migrated(t)
	examine(t, Config{DatabaseURL: url}).want(t, OK, "partitions", "of at most 1 day, for the next")
	run(t, conn, `DO $$ BEGIN FOR n IN 1..110 LOOP
		EXECUTE format('CREATE TABLE outcrier.event_x%s PARTITION OF outcrier.event FOR VALUES FROM (%L) TO (%L)', n, now() - n * interval '1 hour' - interval '9 days', now() - n * interval '1 hour' - interval '9 days' + interval '1 hour');
		END LOOP; END $$`)
	examine(t, Config{DatabaseURL: url}).want(t, Warning, "partitions", "costs every read, and locks")
}

func TestDatabase_NamesOpenTransactionsThatHaveAppended(t *testing.T) {
	url, conn := migrated(t)
	run(t, conn, `SET outcrier.notify = 'off'`, `BEGIN`, `INSERT INTO outbox (topic, type) VALUES ('a', 't')`, `SELECT 'still busy'`)
	var pid int
	if err := conn.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	found := examine(t, Config{DatabaseURL: url, LongOpen: 1})
	found.want(t, Warning, "open transactions", "1 open transactions have appended", fmt.Sprintf("pid %d, ", pid), "idle in transaction", "last query: SELECT pg_backend_pid()")
	examine(t, Config{DatabaseURL: url}).want(t, OK, "open transactions", "1 have appended")
	run(t, conn, `PREPARE TRANSACTION 'holds "much"'`)
	examine(t, Config{DatabaseURL: url, LongOpen: 1}).want(t, Warning, "open transactions", `prepared transaction "holds \"much\""`)
	run(t, conn, `ROLLBACK PREPARED 'holds "much"'`)
	examine(t, Config{DatabaseURL: url, LongOpen: 1}).want(t, OK, "open transactions", "none has appended")
}

// An age that the role may not see is not reported as "none for long".
func TestDatabase_SaysWhenAnAgeIsNotKnown(t *testing.T) {
	url, conn := migrated(t)
	run(t, conn, `DROP ROLE IF EXISTS doctor_owner`, `CREATE ROLE doctor_owner`, `GRANT outcrier_server TO doctor_owner`,
		`ALTER FUNCTION outcrier.in_flight() OWNER TO doctor_owner`, `SET outcrier.notify = 'off'`, `BEGIN`, `INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
	atEnd(t, conn, `DROP ROLE doctor_owner`)
	atEnd(t, conn, `DROP OWNED BY doctor_owner CASCADE`)
	atEnd(t, conn, `ROLLBACK`)
	as := url + "&options=-c%20role%3Ddoctor_owner"
	examine(t, Config{DatabaseURL: as}).want(t, Warning, "open transactions", "1 open transactions have appended", "it is not known for how long", "GRANT pg_read_all_stats")
}

func TestDatabase_NamesScheduledEventsThatAreLate(t *testing.T) {
	url, conn := migrated(t)
	run(t, conn, `INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at) VALUES ('a', 't', '{}', '/', now() - interval '1 minute')`)
	examine(t, Config{DatabaseURL: url}).want(t, Warning, "schedule", "1 scheduled events are late, the first by 1m")
	run(t, conn, `ALTER TABLE outcrier.event ADD CONSTRAINT deny CHECK (type <> 't')`, `SELECT outcrier.deliver_scheduled()`)
	examine(t, Config{DatabaseURL: url}).want(t, Error, "schedule", "topic a, type t: ", "deny", "outcrier.cancel(id)")
}

func TestDatabase_SaysWhatARoleLacks(t *testing.T) {
	url, conn := migrated(t)
	run(t, conn, `DROP ROLE IF EXISTS doctor_weak`, `CREATE ROLE doctor_weak LOGIN`)
	atEnd(t, conn, `DROP ROLE doctor_weak`)
	weak := url + "&options=-c%20role%3Ddoctor_weak"
	examine(t, Config{DatabaseURL: weak}).want(t, Error, "rights", "may not use schema", "GRANT outcrier_server")
	run(t, conn, `GRANT outcrier_writer TO doctor_weak`)
	found := examine(t, Config{DatabaseURL: weak})
	found.want(t, Error, "rights", "role doctor_weak", "SELECT on table event", "EXECUTE on function settle(", `GRANT outcrier_server TO "doctor_weak"`)
	run(t, conn, `REVOKE outcrier_writer FROM doctor_weak`, `GRANT outcrier_server TO doctor_weak`, `SELECT outcrier.append('a', 't')`)
	found = examine(t, Config{DatabaseURL: weak})
	found.want(t, OK, "rights", "doctor_weak")
	found.want(t, OK, "sequence", "whether they rise is for the owner to see")
	for _, f := range found {
		if f.Severity == Error {
			t.Errorf("as a server: %+v", f)
		}
	}
}

func TestDatabase_SaysThatNothingIsThere(t *testing.T) {
	url, conn := migrated(t)
	examine(t, Config{DatabaseURL: url, Schema: "elsewhere"}).want(t, Error, "schema", `no schema "elsewhere"`, "outcrier migrate up", "a dump of public alone")
	run(t, conn, `CREATE SCHEMA elsewhere`)
	examine(t, Config{DatabaseURL: url, Schema: "elsewhere"}).want(t, Error, "schema", "has no table event")
	run(t, conn, `TRUNCATE outcrier.schema_migration`)
	examine(t, Config{DatabaseURL: url}).want(t, Error, "migrations", "with something missing", "migrate up restores rows of the version table")
	run(t, conn, `INSERT INTO outcrier.schema_migration (version_id, is_applied) VALUES (9999, true)`)
	examine(t, Config{DatabaseURL: url}).want(t, Warning, "migrations", "version 9999")
	run(t, conn, `TRUNCATE outcrier.schema_migration`, `DROP VIEW outbox`)
	examine(t, Config{DatabaseURL: url}).want(t, Error, "view", "does not exist", "outcrier migrate up")
	text, err := migrations.Migrations{Schema: "older", Outbox: "older_outbox"}.SQL(0)
	if err != nil {
		t.Fatal(err)
	}
	run(t, conn, text[:strings.Index(text, "\n-- 00011_")])
	examine(t, Config{DatabaseURL: url, Schema: "older"}).want(t, Error, "migrations", "is at version 10", "outcrier migrate up")
	found := examine(t, Config{DatabaseURL: "postgres://nobody:secret@127.0.0.1:1/x"})
	if f := found.want(t, Error, "connection", "can't be reached"); strings.Contains(f.Text, "secret") {
		t.Errorf("it shows the password: %s", f.Text)
	}
	wrong := strings.Replace(url, "://postgres:", "://postgres:not", 1)
	examine(t, Config{DatabaseURL: wrong}).want(t, Error, "connection", "refuses the role or its password", "correct the database URL")
	// A host that is not this machine has to prove who it is.
	const away = "postgres://nobody:secret@db.invalid/x?connect_timeout=1"
	examine(t, Config{DatabaseURL: away}).want(t, Warning, "tls", "--database-url", "db.invalid", "without TLS", "sslmode=verify-full")
	examine(t, Config{DatabaseURL: away + "&sslmode=verify-full", DirectURL: away + "&sslmode=require"}).want(t, Warning, "tls", "--direct-url", "does not prove")
	examine(t, Config{DatabaseURL: away + "&sslmode=verify-full"}).want(t, OK, "tls", "proves by its certificate")
}
