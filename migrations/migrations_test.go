package migrations_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

func TestMain(m *testing.M) {
	testkit.SideBySide(8)
	m.Run()
}

// connect has no statement compiled: for the large ones about the catalogue that takes
// longer than they run.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["jit"] = "off"
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func ask[T any](t *testing.T, conn *pgx.Conn, sql string) (value T) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql, pgx.QueryExecModeExec).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// empty is a database without the schema.
func empty(t *testing.T) (address string, conn *pgx.Conn) {
	t.Helper()
	address = database(t, "template0")
	return address, connect(t, address)
}

// migrated is a database with the schema.
func migrated(t *testing.T) (address string, conn *pgx.Conn) {
	t.Helper()
	address = outboxtest.URL(t)
	return address, connect(t, address)
}

// with is the address with one more parameter.
func with(t *testing.T, address, name, value string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set(name, value)
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // as libpq reads it
	return u.String()
}

func up(t *testing.T, m migrations.Migrations) {
	t.Helper()
	if err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// objects counts the objects of our schema.
const objects = `SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid = 'outcrier'::regnamespace`

// It runs alone: transactions of other databases would move the position.
func TestUp_TwiceChangesNothing(t *testing.T) {
	address, conn := empty(t)
	m := migrations.Migrations{URL: address}
	up(t, m)
	exec(t, conn, `INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
	exec(t, conn, `SELECT outcrier.settle()`)
	position, made := ask[string](t, conn, `SELECT outcrier.position()`), ask[int](t, conn, objects)
	written := ask[string](t, conn, `SELECT string_agg(xmin::text, ' ' ORDER BY oid) FROM pg_proc WHERE pronamespace = 'outcrier'::regnamespace`)
	up(t, m)
	if got := ask[string](t, conn, `SELECT outcrier.position()`); got != position {
		t.Errorf("the position was %s and is %s", position, got)
	}
	if got := ask[int](t, conn, objects); got != made {
		t.Errorf("there were %d objects and are %d", made, got)
	}
	if got := ask[string](t, conn, `SELECT string_agg(xmin::text, ' ' ORDER BY oid) FROM pg_proc WHERE pronamespace = 'outcrier'::regnamespace`); got != written {
		t.Error("functions were written anew")
	}
	status, err := m.Status(t.Context())
	if err != nil || len(status.Migrations) == 0 || status.Version != status.Newest || status.Problem != "" || status.Schema != "outcrier" || status.Outbox != "public.outbox" {
		t.Fatalf("%+v, %v", status, err)
	}
	for _, one := range status.Migrations {
		if one.AppliedAt == nil || !one.Applied {
			t.Errorf("%+v", one)
		}
	}
}

func TestUp_ManyAtOnce(t *testing.T) {
	t.Parallel()
	address, conn := empty(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := (migrations.Migrations{URL: address}).Up(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	exec(t, conn, `INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
	if n := ask[int](t, conn, `SELECT count(*) FROM outcrier.schema_migration`); int64(n) != 1+migrations.Newest() {
		t.Errorf("%d rows in the version table", n)
	}
}

// One relation is where applications look, and so where their schema tools look.
func TestUp_PutsOneViewIntoTheApplicationsSchema(t *testing.T) {
	t.Parallel()
	_, conn := migrated(t)
	got := ask[string](t, conn, `SELECT string_agg(o.what, ', ' ORDER BY 1) FROM (
		SELECT relkind::text || ' ' || relname AS what FROM pg_class WHERE relnamespace = 'public'::regnamespace
		UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
		UNION ALL SELECT 'type ' || typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typrelid = 0 AND typelem = 0) AS o`)
	if got != "v outbox" {
		t.Errorf("schema public has %s", got)
	}
	if path := ask[string](t, conn, `SHOW search_path`); path != `"$user", public` {
		t.Errorf("search_path is %s", path)
	}
}

// Every outbox has a schema and a view of its own; names that need quotes are as good.
func TestUp_SchemaAndViewAreSettings(t *testing.T) {
	t.Parallel()
	address, conn := migrated(t)
	exec(t, conn, `CREATE SCHEMA "An App"`)
	m := migrations.Migrations{URL: with(t, address, "search_path", `missing, "An App", public`), Schema: `it is "ours" ü`}
	up(t, m)
	if view := ask[string](t, conn, `SELECT '"An App".outbox'::regclass::text`); view == "" {
		t.Error("the view is not in the first schema that exists")
	}
	exec(t, conn, `INSERT INTO "An App".outbox (topic, type, dedup_key) VALUES ('a', 't', 'k')`)
	const quoted = `"it is ""ours"" ü"`
	exec(t, conn, `SELECT `+quoted+`.append('a', 't')`)
	exec(t, conn, `SELECT `+quoted+`.settle(), `+quoted+`.add_partition(), `+quoted+`.drop_partition('1 day'), `+quoted+`.deliver_scheduled()`)
	if n := ask[int](t, conn, `SELECT count(*) FROM `+quoted+`.history`); n != 2 {
		t.Errorf("%d events", n)
	}
	if n := ask[int](t, conn, `SELECT count(*) FROM outcrier.history`); n != 0 {
		t.Errorf("the other one has %d events", n)
	}
	if p := ask[string](t, conn, `SELECT `+quoted+`.position()`); !strings.HasPrefix(p, "2.") {
		t.Errorf("position %s", p)
	}
	third := migrations.Migrations{URL: address, Schema: "tenant_7", Outbox: "An App.Tenant's 7"}
	if err := third.Up(t.Context()); err == nil || !strings.Contains(err.Error(), "want schema.name") {
		t.Errorf("a view's name with a quote: %v", err)
	}
	third.Outbox = "An App.Tenant 7"
	up(t, third)
	exec(t, conn, `INSERT INTO "An App"."Tenant 7" (topic, type) VALUES ('a', 't')`)
	status, err := third.Status(t.Context())
	if err != nil || status.Outbox != `"An App"."Tenant 7"` || status.Schema != "tenant_7" || status.Version != status.Newest {
		t.Errorf("%+v, %v", status, err)
	}
}

// A login with the name of our schema has it on its search_path, by "$user".
func TestUp_ViewIsNeverInOurSchema(t *testing.T) {
	t.Parallel()
	address, conn := empty(t)
	m := migrations.Migrations{URL: with(t, address, "search_path", "outcrier, public")}
	up(t, m)
	exec(t, conn, `INSERT INTO public.outbox (topic, type) VALUES ('a', 't')`)
	up(t, m)
}

// The owner may put the view where it likes: it is found by its trigger.
func TestUp_FollowsTheViewWhereverItWasMoved(t *testing.T) {
	t.Parallel()
	address, conn := migrated(t)
	m := migrations.Migrations{URL: address}
	exec(t, conn, `CREATE SCHEMA app; ALTER VIEW outbox SET SCHEMA app; ALTER VIEW app.outbox RENAME TO "Events"`)
	status, err := m.Status(t.Context())
	if err != nil || status.Outbox != `app."Events"` || status.Problem != "" {
		t.Fatalf("%+v, %v", status, err)
	}
	up(t, m)
	if err := m.Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !ask[bool](t, conn, `SELECT has_table_privilege('outcrier_writer', 'app."Events"', 'INSERT') AND to_regclass('public.outbox') IS NULL`) {
		t.Error("writers may not insert, or there is a second view")
	}
	exec(t, conn, `INSERT INTO app."Events" (topic, type) VALUES ('a', 't')`)
}

func TestUp_LeavesAnApplicationsGooseAlone(t *testing.T) {
	t.Parallel()
	address, conn := empty(t)
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	application, err := goose.NewProvider(goose.DialectPostgres, db, fstest.MapFS{
		"00001_theirs.sql": {Data: []byte("-- +goose Up\nCREATE TABLE theirs ();\n-- +goose Down\nDROP TABLE theirs;\n")},
		"00007_more.sql":   {Data: []byte("-- +goose Up\nCREATE TABLE more ();\n-- +goose Down\nDROP TABLE more;\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := application.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	versions := `SELECT string_agg(version_id::text, ' ' ORDER BY id) FROM goose_db_version`
	before := ask[string](t, conn, versions)
	m := migrations.Migrations{URL: address}
	up(t, m)
	if err := m.Drop(t.Context(), conn.Config().Database); err != nil {
		t.Fatal(err)
	}
	up(t, m)
	if got := ask[string](t, conn, versions); got != before {
		t.Errorf("its versions were %s and are %s", before, got)
	}
	if pending, err := application.HasPending(t.Context()); pending || err != nil {
		t.Errorf("pending %v, %v", pending, err)
	}
	exec(t, conn, `INSERT INTO theirs DEFAULT VALUES`)
}

func TestUp_PayloadLimitIsASetting(t *testing.T) {
	t.Parallel()
	address, conn := empty(t)
	up(t, migrations.Migrations{URL: address, PayloadLimit: 100})
	payload := func(size int) string { return `'"` + strings.Repeat("p", size-2) + `"'` }
	exec(t, conn, `INSERT INTO outbox (topic, type, payload) VALUES ('a', 't', `+payload(100)+`)`)
	for _, insert := range []string{
		`INSERT INTO outbox (topic, type, payload) VALUES ('a', 't', ` + payload(101) + `)`,
		`SELECT outcrier.append('a', 't', ` + payload(101) + `, deliver_at => now() + interval '1 hour')`,
		`SELECT outcrier.append_all('{a}', '{t}', ARRAY[` + payload(101) + `::json])`,
	} {
		_, err := conn.Exec(t.Context(), insert)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.ConstraintName != "outbox_payload" || !strings.Contains(pg.Message, "101 bytes") || !strings.Contains(pg.Message, "at most 100") {
			t.Errorf("%.100s: %v", insert, err)
		}
	}
}

func TestUp_SaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	address, conn := empty(t)
	fails := func(m migrations.Migrations, want ...string) {
		t.Helper()
		err := m.Up(t.Context())
		for _, part := range want {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%v, want %q", err, part)
			}
		}
	}
	fails(migrations.Migrations{URL: with(t, address, "search_path", "nowhere")}, "search_path", "--outbox")
	fails(migrations.Migrations{URL: address, Outbox: "nowhere.outbox"}, `"nowhere"."outbox"`, "does not exist")
	fails(migrations.Migrations{URL: address, Schema: "public"}, "a schema of its own")
	fails(migrations.Migrations{URL: address, Outbox: "outcrier.outbox"}, "another schema than Outcrier's own")
	exec(t, conn, `CREATE TABLE outbox (id int)`)
	fails(migrations.Migrations{URL: address}, "public.outbox", "a table has that name", "--outbox")
	exec(t, conn, `DROP TABLE outbox; CREATE TYPE outbox AS ENUM ()`)
	fails(migrations.Migrations{URL: address}, "public.outbox", "a type has that name")
	exec(t, conn, `DROP TYPE outbox`)
	if ask[bool](t, conn, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'outcrier')`) {
		t.Error("a refusal has made the schema")
	}
	exec(t, conn, `CREATE SCHEMA outcrier; CREATE TABLE outcrier.invoice ()`)
	fails(migrations.Migrations{URL: address}, "is not Outcrier's", `"invoice"`, "--schema")
	exec(t, conn, `DROP SCHEMA outcrier CASCADE`)

	name := ask[string](t, conn, `SELECT current_database()`) + "_ascii"
	exec(t, conn, `CREATE DATABASE `+name+` ENCODING 'SQL_ASCII' TEMPLATE template0`)
	t.Cleanup(func() {
		if _, err := conn.Exec(context.Background(), `DROP DATABASE `+name+` WITH (FORCE)`); err != nil {
			t.Error(err)
		}
	})
	fails(migrations.Migrations{URL: at(t, address, name)}, "SQL_ASCII", "UTF8")
	fails(migrations.Migrations{URL: "postgres://127.0.0.1:1/none?connect_timeout=2"}, "migrate")
	fails(migrations.Migrations{URL: "postgres://[::1"}, "migrate")
}

// A role may migrate that may do nothing but own a schema which somebody made for it.
func TestUp_NeedsNothingButASchemaOfItsOwn(t *testing.T) {
	t.Parallel()
	address, admin := empty(t)
	name, owner := login(t, admin, address, "")
	m := migrations.Migrations{URL: owner, Outbox: "public.outbox"}
	if err := m.Up(t.Context()); err == nil || !strings.Contains(err.Error(), "permission denied for database") {
		t.Errorf("without CREATE in the database: %v", err)
	}
	exec(t, admin, `CREATE SCHEMA outcrier AUTHORIZATION `+name)
	if err := m.Up(t.Context()); err == nil || !strings.Contains(err.Error(), "permission denied for schema public") {
		t.Errorf("without CREATE in public: %v", err)
	}
	exec(t, admin, `GRANT CREATE ON SCHEMA public TO `+name)
	up(t, m)
	exec(t, admin, `REVOKE CREATE ON SCHEMA public FROM `+name)
	up(t, m)
	exec(t, connect(t, owner), `INSERT INTO outbox (topic, type) VALUES ('a', 't')`)

	// Objects that another role makes by migrating belong to the owner.
	_, other := login(t, admin, address, "")
	if err := (migrations.Migrations{URL: other}).Up(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("as another role: %v", err)
	}
	exec(t, admin, `TRUNCATE outcrier.schema_migration, outcrier.event_type; DROP VIEW public.outbox; GRANT CREATE ON SCHEMA public TO `+name)
	up(t, migrations.Migrations{URL: address})
	if owners := ask[string](t, admin, `SELECT string_agg(DISTINCT relowner::regrole::text, ', ') FROM pg_class WHERE relnamespace = 'outcrier'::regnamespace OR oid = 'public.outbox'::regclass`); owners != name {
		t.Errorf("objects belong to %s", owners)
	}
}

// Settings of the role or the database change nothing about the objects that are made.
func TestUp_DependsOnNoSetting(t *testing.T) {
	t.Parallel()
	address, conn := empty(t)
	for name, value := range map[string]string{
		"client_encoding": "LATIN1", "standard_conforming_strings": "off", "DateStyle": "German, DMY", "IntervalStyle": "sql_standard", "TimeZone": "Pacific/Kiritimati",
		"default_transaction_read_only": "on", "default_transaction_isolation": "serializable", "statement_timeout": "50ms", "idle_session_timeout": "50ms", "check_function_bodies": "off",
		"row_security": "on", "quote_all_identifiers": "on", "transform_null_equals": "on", "search_path": "public",
	} {
		exec(t, conn, `ALTER DATABASE `+conn.Config().Database+` SET "`+name+`" = '`+value+`'`)
	}
	m := migrations.Migrations{URL: address}
	up(t, m)
	status, err := m.Status(t.Context())
	if err != nil || status.Version != status.Newest || status.Problem != "" {
		t.Errorf("%+v, %v", status, err)
	}
	sameSchema(t, connect(t, with(t, address, "options", "-c quote_all_identifiers=off -c client_encoding=UTF8 -c standard_conforming_strings=on -c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c search_path=public -c statement_timeout=0 -c idle_session_timeout=0")))
}

// A schema that a newer program has migrated is left alone: no rows of an older version
// are restored.
func TestUp_LeavesANewerSchemaAlone(t *testing.T) {
	t.Parallel()
	address, conn := migrated(t)
	exec(t, conn, `INSERT INTO outcrier.schema_migration (version_id, is_applied) VALUES (4711, true);
		CREATE OR REPLACE FUNCTION outcrier.schema_version(OUT version bigint, OUT nodes_from bigint) LANGUAGE sql STABLE AS 'SELECT 4711::bigint, 10::bigint';
		DELETE FROM outcrier.event_type`)
	up(t, migrations.Migrations{URL: address})
	if n := ask[int](t, conn, `SELECT count(*) FROM outcrier.event_type`); n != 0 {
		t.Errorf("%d entries are restored, of another time", n)
	}
}
