package migrations_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// works shows that an outbox does its whole work: events are appended, once for each
// key, scheduled and delivered, a new tail reads them, and partitions are made.
func works(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	before := ask[int](t, conn, `SELECT count(*) FROM outcrier.history`)
	insert := fmt.Sprintf(`INSERT INTO outbox (topic, type, dedup_key) VALUES ('works', 't', 'works %d') RETURNING id`, time.Now().UnixNano())
	first := ask[int64](t, conn, insert)
	if again := ask[int64](t, conn, insert); again != first {
		t.Errorf("a retry has id %d, the first %d", again, first)
	}
	if highest := ask[int64](t, conn, `SELECT coalesce(max(id), 0) FROM outcrier.event WHERE id <> `+fmt.Sprint(first)); highest >= first {
		t.Errorf("the new id is %d, and there is %d", first, highest)
	}
	exec(t, conn, `SELECT outcrier.append('works', 'later', deliver_at => now() + interval '1 hour')`)
	due(t, conn, "works")
	testkit.Eventually(t, "what is scheduled is delivered", func() bool { return ask[int](t, conn, `SELECT outcrier.deliver_scheduled()`) == 1 })
	testkit.Eventually(t, "the outbox is settled", func() bool { return ask[bool](t, conn, `SELECT outcrier.settle() IS NOT NULL`) })
	if n := ask[int](t, conn, `SELECT count(*) FROM outcrier.history`); n != before+2 {
		t.Errorf("there were %d events, and are %d, want 2 more", before, n)
	}
	for range 10 {
		exec(t, conn, `SELECT outcrier.add_partition()`)
	}
	if ask[bool](t, conn, `SELECT outcrier.add_partition() IS NOT NULL`) || ask[int](t, conn, `SELECT count(*) FROM outcrier.partitions() WHERE ends > now()`) < 3 {
		t.Error("partitions are missing")
	}
	if position := ask[string](t, conn, `SELECT outcrier.position()`); position == "" {
		t.Error("there is no position")
	}
	exec(t, conn, `SELECT outcrier.heartbeat(1, 'n', 0, NULL, NULL), outcrier.stop_node(1)`)
	exec(t, conn, `SELECT outcrier.append_checked('{0}', '{works}', '{t}', '{1}', '{/}', NULL, NULL, NULL)`)
}

// due lets the time of the topic's scheduled event come. (An event that is appended for a
// moment ahead is not scheduled where the statement takes longer than the moment.)
func due(t *testing.T, owner *pgx.Conn, topic string) {
	t.Helper()
	if n := ask[int](t, owner, `WITH moved AS (UPDATE outcrier.scheduled SET deliver_at = now() WHERE topic = '`+topic+`' RETURNING id) SELECT count(*) FROM moved`); n != 1 {
		t.Errorf("%d events of %s are scheduled, want 1", n, topic)
	}
}

// whole shows that Up finds nothing to do.
func whole(t *testing.T, m migrations.Migrations) {
	t.Helper()
	status, err := m.Status(t.Context())
	if err != nil || status.Version != status.Newest || status.Problem != "" || strings.Contains(status.String(), "pending") {
		t.Errorf("%v\n%v", err, status)
	}
}

const truncateAll = `DO $$ DECLARE names text; BEGIN
	SELECT string_agg(oid::regclass::text, ', ') INTO names FROM pg_class WHERE relnamespace = 'outcrier'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition;
	EXECUTE 'TRUNCATE ' || names || ' RESTART IDENTITY'; END $$`

// A test suite empties all tables between its tests. Nothing that the outbox needs is in
// them.
func TestRestore_AfterASuiteThatEmptiesAllTables(t *testing.T) {
	t.Parallel()
	address, conn := migrated(t)
	m := migrations.Migrations{URL: address}
	for range 2 {
		exec(t, conn, `INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', 't', 'works')`)
		exec(t, conn, truncateAll)
		works(t, conn)
	}
	exec(t, conn, truncateAll)
	status, err := m.Status(t.Context())
	if err != nil || status.Version != status.Newest || !strings.Contains(status.Problem, "migrate up restores rows of the version table, the first entries of the catalogue") {
		t.Errorf("%+v, %v", status, err)
	}
	if err := m.Check(t.Context()); err != nil {
		t.Errorf("a node does not start: %v", err)
	}
	up(t, m)
	whole(t, m)
	sameSchema(t, conn)
	works(t, conn)
}

// Each thing that Up restores, alone.
func TestRestore_WhatIsMissing(t *testing.T) {
	t.Parallel()
	for what, gone := range map[string]string{
		"all versions":         `DELETE FROM outcrier.schema_migration`,
		"the version table":    `DROP TABLE outcrier.schema_migration`,
		"goose's version":      `DELETE FROM outcrier.schema_migration WHERE version_id = 0`,
		"the newest version":   `DELETE FROM outcrier.schema_migration WHERE version_id = (SELECT max(version_id) FROM outcrier.schema_migration)`,
		"an early version":     `DELETE FROM outcrier.schema_migration WHERE version_id = 2`,
		"the catalogue":        `DELETE FROM outcrier.event_type`,
		"the view":             `DROP VIEW public.outbox`,
		"schema public itself": `DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC`,
		"privileges": `GRANT USAGE ON SCHEMA outcrier TO PUBLIC; DO $$ DECLARE f regprocedure; BEGIN
			FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'outcrier'::regnamespace LOOP EXECUTE 'GRANT EXECUTE ON ROUTINE ' || f || ' TO PUBLIC'; END LOOP; END $$`,
		"the rows that are made when missing": `TRUNCATE outcrier.maintenance, outcrier.history_id, outcrier.catalogue_version`,
	} {
		t.Run(what, func(t *testing.T) {
			address, conn := migrated(t)
			m := migrations.Migrations{URL: address}
			exec(t, conn, gone)
			up(t, m)
			whole(t, m)
			sameSchema(t, conn)
			works(t, conn)
		})
	}
}

// Entries that somebody has made, or removed, are not Up's.
func TestRestore_LeavesTheCatalogueOfOthersAlone(t *testing.T) {
	t.Parallel()
	address, conn := migrated(t)
	exec(t, conn, `DELETE FROM outcrier.event_type WHERE type <> 'data.synced'; TRUNCATE outcrier.schema_migration`)
	up(t, migrations.Migrations{URL: address})
	if got := ask[string](t, conn, `SELECT string_agg(type, ' ') FROM outcrier.event_type`); got != "data.synced" {
		t.Errorf("the catalogue has %s", got)
	}
}

// A migration that failed in the middle is not taken for a restore: it goes on.
func TestUp_GoesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	address := database(t, "template0")
	for from := int64(1); from < migrations.Newest(); from++ {
		step := script(t, migrations.Migrations{}, from-1)
		begun := connect(t, address)
		exec(t, begun, step[:strings.Index(step, fmt.Sprintf("\n-- %05d_", from+1))])
		begun.Close(t.Context())
		m := migrations.Migrations{URL: database(t, begun.Config().Database)}
		status, err := m.Status(t.Context())
		if err != nil || status.Version != from {
			t.Errorf("behind %d it is at %d, %v", from, status.Version, err)
		}
		up(t, m)
		sameSchema(t, connect(t, m.URL))
	}
}

// A dump of everything, restored into another database of the same cluster.
func TestRestore_OfADump(t *testing.T) {
	t.Parallel()
	from, source := migrated(t)
	exec(t, source, `SELECT outcrier.append('kept', 't', dedup_key => 'kept'), outcrier.append('kept', 'later', deliver_at => now() + interval '1 hour')`)
	exec(t, source, `SELECT outcrier.settle(), outcrier.revoke(jti => 'a token', reason => 'a test')`)
	for name, restore := range map[string]func(t *testing.T, from, to string){
		"pg_dump | psql": func(t *testing.T, from, to string) {
			mustRun(t, mustRun(t, "", "pg_dump", "-d", from), "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to)
		},
		"pg_dump | pg_restore": func(t *testing.T, from, to string) {
			file := t.TempDir() + "/dump"
			mustRun(t, "", "pg_dump", "-Fc", "-f", file, "-d", from)
			mustRun(t, "", "pg_restore", "--exit-on-error", "-d", to, file)
		},
		"pg_restore in parallel, without owners and rights": func(t *testing.T, from, to string) {
			dir := t.TempDir() + "/dump"
			mustRun(t, "", "pg_dump", "-Fd", "-j", "2", "-f", dir, "-d", from)
			mustRun(t, "", "pg_restore", "--exit-on-error", "-j", "2", "--no-owner", "--no-privileges", "-d", to, dir)
		},
		"pg_dump -n, both schemas": func(t *testing.T, from, to string) {
			connect(t, to).Exec(t.Context(), `DROP SCHEMA public`) //nolint:errcheck // psql tells
			mustRun(t, mustRun(t, "", "pg_dump", "-n", "public", "-n", "outcrier", "-d", from), "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to)
		},
		"the schema, then the data": func(t *testing.T, from, to string) {
			mustRun(t, mustRun(t, "", "pg_dump", "--schema-only", "-d", from), "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to)
			mustRun(t, mustRun(t, "", "pg_dump", "--data-only", "-d", from), "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to)
		},
	} {
		t.Run(name, func(t *testing.T) {
			to, _ := empty(t)
			restore(t, from, to)
			conn := connect(t, to)
			m := migrations.Migrations{URL: to}
			up(t, m)
			whole(t, m)
			sameSchema(t, conn)
			if got := ask[string](t, conn, `SELECT string_agg(topic, ' ') FROM outcrier.history`); got != "kept" {
				t.Errorf("restored are %s", got)
			}
			if a, b := ask[int64](t, source, `SELECT max(id) FROM outcrier.event`), ask[int64](t, conn, `SELECT outcrier.append('kept', 't', dedup_key => 'kept')`); a != b {
				t.Errorf("the key's event is %d, and a retry has %d", a, b)
			}
			works(t, conn)
		})
	}
}

// A dump of the schema alone has no rows: it works as it is, and Up puts back the rest.
func TestRestore_OfTheSchemaAlone(t *testing.T) {
	t.Parallel()
	from, source := migrated(t)
	exec(t, source, `SELECT outcrier.append('a', 't'), outcrier.settle()`)
	to, _ := empty(t)
	mustRun(t, mustRun(t, "", "pg_dump", "--schema-only", "-d", from), "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to)
	conn := connect(t, to)
	m := migrations.Migrations{URL: to}
	if err := m.Check(t.Context()); err != nil {
		t.Errorf("a node does not start: %v", err)
	}
	works(t, conn)
	status, err := m.Status(t.Context())
	if err != nil || status.Version != status.Newest {
		t.Errorf("%+v, %v", status, err)
	}
	up(t, m)
	whole(t, m)
	sameSchema(t, conn)
	works(t, conn)
}

// A tool that dumps public alone (Rails' structure.sql) takes the view along, and not
// the tables and functions that it needs.
func TestRestore_OfPublicAloneFailsLoudlyAndUpMakesItWhole(t *testing.T) {
	t.Parallel()
	from, _ := migrated(t)
	to, conn := empty(t)
	exec(t, conn, `DROP SCHEMA public`)
	out, err := run(t, mustRun(t, "", "pg_dump", "-n", "public", "-d", from), "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to)
	if err == nil || !strings.Contains(out, `schema "outcrier" does not exist`) {
		t.Errorf("%v, %s", err, out)
	}
	up(t, migrations.Migrations{URL: to})
	sameSchema(t, conn)
	// And a dump of our schema alone lacks the view.
	to, _ = empty(t)
	mustRun(t, mustRun(t, "", "pg_dump", "-n", "outcrier", "-d", from), "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to)
	m := migrations.Migrations{URL: to}
	status, err := m.Status(t.Context())
	if err != nil || !strings.Contains(status.Problem, "the view public.outbox") {
		t.Errorf("%+v, %v", status, err)
	}
	up(t, m)
	conn = connect(t, to)
	sameSchema(t, conn)
	works(t, conn)
}

// A database from a template is another one with the same rows.
func TestRestore_OfATemplate(t *testing.T) {
	t.Parallel()
	address, conn := migrated(t)
	exec(t, conn, `SELECT outcrier.append('a', 't'), outcrier.settle()`)
	name := conn.Config().Database
	admin := connect(t, outboxtest.URL(t))
	conn.Close(t.Context())
	exec(t, admin, `CREATE DATABASE `+name+`_copy TEMPLATE `+name)
	t.Cleanup(func() { admin.Exec(context.Background(), `DROP DATABASE `+name+`_copy WITH (FORCE)`) }) //nolint:errcheck // the server goes too
	copied := strings.Replace(address, "/"+name+"?", "/"+name+"_copy?", 1)
	up(t, migrations.Migrations{URL: copied})
	works(t, connect(t, copied))
}
