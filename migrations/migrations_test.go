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

	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
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
	if err := conn.QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// empty is a database without the schema.
func empty(t *testing.T) (address string, conn *pgx.Conn) {
	t.Helper()
	address = outboxtest.URL(t)
	conn = connect(t, address)
	exec(t, conn, `DROP SCHEMA public CASCADE`)
	exec(t, conn, `CREATE SCHEMA public`)
	return address, conn
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

const objects = `SELECT count(*) FROM pg_class WHERE relname LIKE 'outbox%' AND relnamespace::regnamespace::text = 'public'`

func TestUp_TwiceChangesNothing(t *testing.T) {
	address, conn := empty(t)
	m := migrations.Migrations{URL: address}
	up(t, m)
	exec(t, conn, `INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
	position, made := ask[string](t, conn, `SELECT outbox_position()`), ask[int](t, conn, objects)
	up(t, m)
	if got := ask[string](t, conn, `SELECT outbox_position()`); got != position {
		t.Errorf("the position was %s and is %s", position, got)
	}
	if got := ask[int](t, conn, objects); got != made {
		t.Errorf("there were %d objects and are %d", made, got)
	}
	status, err := m.Status(t.Context())
	if err != nil || len(status.Migrations) == 0 || status.Version != status.Newest || status.Problem != "" {
		t.Fatalf("%+v, %v", status, err)
	}
	for _, one := range status.Migrations {
		if one.AppliedAt == nil {
			t.Errorf("%+v", one)
		}
	}
}

func TestUp_ManyAtOnce(t *testing.T) {
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
	if n := ask[int](t, conn, `SELECT count(*) FROM outbox_histories`); n != 1 {
		t.Errorf("%d histories", n)
	}
}

func TestDown_LeavesNothingAndUpWorksAgain(t *testing.T) {
	address, conn := empty(t)
	m := migrations.Migrations{URL: address}
	for range 2 {
		up(t, m)
		exec(t, conn, `INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', 't', 'k')`)
		exec(t, conn, `SELECT outbox_append('a', 't', deliver_at => now() + interval '1 hour')`)
		if err := m.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		left := ask[string](t, conn, `SELECT coalesce(string_agg(name, ' '), '') FROM (
			SELECT relname::text AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace 
			UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace) AS o`)
		if left != "" {
			t.Errorf("down leaves %s", left)
		}
	}
}

func TestUp_IntoTheFirstSchemaOfTheSearchPath(t *testing.T) {
	address, conn := empty(t)
	exec(t, conn, `CREATE SCHEMA "An Outbox"`)
	elsewhere := with(t, address, "search_path", `missing, "An Outbox", public`)
	up(t, migrations.Migrations{URL: elsewhere})
	if n := ask[int](t, conn, objects); n != 0 {
		t.Errorf("%d objects are in public", n)
	}
	// Functions find their tables wherever they are called from.
	exec(t, conn, `SELECT "An Outbox".outbox_append('a', 't')`)
	exec(t, conn, `INSERT INTO "An Outbox".outbox (topic, type, dedup_key) VALUES ('a', 't', 'k')`)
	exec(t, conn, `SELECT "An Outbox".outbox_partitions_ahead(5), "An Outbox".outbox_retain('1 day'), "An Outbox".outbox_deliver_due()`)
	if n := ask[int](t, conn, `SELECT count(*) FROM "An Outbox".outbox`); n != 2 {
		t.Errorf("%d events", n)
	}
	if p := ask[string](t, conn, `SELECT "An Outbox".outbox_position()`); !strings.HasPrefix(p, "2.") {
		t.Errorf("position %s", p)
	}
	// Another beside it is one of its own.
	up(t, migrations.Migrations{URL: address})
	if n := ask[int](t, conn, `SELECT count(*) FROM public.outbox`); n != 0 {
		t.Errorf("the other one has %d events", n)
	}
	if a, b := ask[string](t, conn, `SELECT outbox_bell_channel()`), ask[string](t, conn, `SELECT "An Outbox".outbox_bell_channel()`); a == b {
		t.Errorf("both ring on %s", a)
	}
}

func TestUp_LeavesAnApplicationsGooseAlone(t *testing.T) {
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
	if err := m.Down(t.Context()); err != nil {
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
	address, conn := empty(t)
	up(t, migrations.Migrations{URL: address, PayloadLimit: 100})
	payload := func(size int) string { return `'"` + strings.Repeat("p", size-2) + `"'` }
	exec(t, conn, `INSERT INTO outbox (topic, type, payload) VALUES ('a', 't', `+payload(100)+`)`)
	for _, insert := range []string{
		`INSERT INTO outbox (topic, type, payload) VALUES ('a', 't', ` + payload(101) + `)`,
		`SELECT outbox_append('a', 't', ` + payload(101) + `, deliver_at => now() + interval '1 hour')`,
	} {
		_, err := conn.Exec(t.Context(), insert)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.ConstraintName != "outbox_payload" || !strings.Contains(pg.Message, "101 bytes long: allowed are at most 100") {
			t.Errorf("%v", err)
		}
	}
}

func TestUp_SaysWhatIsMissing(t *testing.T) {
	address, conn := empty(t)
	if err := (migrations.Migrations{URL: with(t, address, "search_path", "nowhere")}).Up(t.Context()); err == nil || !strings.Contains(err.Error(), "search_path") {
		t.Errorf("without a schema: %v", err)
	}
	name := ask[string](t, conn, `SELECT current_database()`) + "_ascii"
	exec(t, conn, `CREATE DATABASE `+name+` ENCODING 'SQL_ASCII' TEMPLATE template0`)
	t.Cleanup(func() {
		if _, err := conn.Exec(context.Background(), `DROP DATABASE `+name+` WITH (FORCE)`); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	if err := (migrations.Migrations{URL: u.String()}).Up(t.Context()); err == nil || !strings.Contains(err.Error(), "SQL_ASCII") || !strings.Contains(err.Error(), "UTF8") {
		t.Errorf("not in UTF-8: %v", err)
	}
	if err := (migrations.Migrations{URL: "postgres://127.0.0.1:1/none?connect_timeout=2"}).Up(t.Context()); err == nil {
		t.Error("without a server it succeeds")
	}
	if err := (migrations.Migrations{URL: "postgres://[::1"}).Up(t.Context()); err == nil {
		t.Error("without a URL it succeeds")
	}
}

// The bell's trigger sets no search_path, because that would cost every append.
// Whatever a writer's path says, it calls what it means.
func TestRing_CallsNothingOfTheWriters(t *testing.T) {
	address, conn := empty(t)
	exec(t, conn, `CREATE SCHEMA "it's the ""outbox"""`)
	up(t, migrations.Migrations{URL: with(t, address, "search_path", `"it's the ""outbox"""`)})
	exec(t, conn, `
		CREATE SCHEMA evil;
		CREATE FUNCTION evil.raise() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'called as %', current_user; END $$;
		CREATE FUNCTION evil.compare(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.raise(); END $$;
		CREATE FUNCTION evil.compare(bigint, integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.raise(); END $$;
		CREATE FUNCTION evil.compare(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.raise(); END $$;
		CREATE OPERATOR evil.> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.compare);
		CREATE OPERATOR evil.> (LEFTARG = bigint, RIGHTARG = integer, FUNCTION = evil.compare);
		CREATE OPERATOR evil.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.compare);
		CREATE FUNCTION evil.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.raise(); END $$;
		CREATE FUNCTION evil.current_setting(text, boolean) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.raise(); END $$;
		CREATE FUNCTION evil.pg_sequence_last_value(regclass) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.raise(); END $$;
		CREATE FUNCTION evil.outbox_bell_channel() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.raise(); END $$;
		CREATE SEQUENCE evil.outbox_bell_asked;
		CREATE SEQUENCE evil.outbox_bell_answered;
		SET search_path = evil, pg_catalog`)
	for _, asked := range []bool{false, true} {
		if asked {
			exec(t, conn, `SELECT nextval('"it''s the ""outbox""".outbox_bell_asked')`)
		}
		// A session plans the function once, under the path of then.
		writer := connect(t, address)
		exec(t, writer, `SET search_path = evil, pg_catalog`)
		exec(t, writer, `INSERT INTO "it's the ""outbox""".outbox (topic, type) VALUES ('a', 't')`)
	}
	if rows := ask[int](t, conn, `SELECT count(*) FROM "it's the ""outbox""".outbox`); rows != 2 {
		t.Errorf("%d rows are stored", rows)
	}
}
