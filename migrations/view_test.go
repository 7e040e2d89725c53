package migrations_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// code is the SQLSTATE of an error, "" for none.
func code(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// list reads a column.
func list[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) []T {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	values, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return values
}

// Each statement is what some driver, ORM or trigger sends. All are appends of one
// event on topic "a" and return its id.
func TestView_TakesWhatWritersSend(t *testing.T) {
	t.Parallel()
	g := guard(t)
	admin, writer := g.admin, connect(t, g.writer)
	exec(t, admin, `CREATE TABLE public.item (id int, doc jsonb)`)
	exec(t, admin, `GRANT ALL ON public.item TO PUBLIC`)
	for _, statement := range []string{
		`INSERT INTO outbox (topic, type) VALUES ('a', 't') RETURNING id`,
		`INSERT INTO outbox (id, topic, type, created_at) VALUES (DEFAULT, 'a', 't', DEFAULT) RETURNING id`,
		`INSERT INTO outbox (id, topic, type, created_at) VALUES (NULL, 'a', 't', NULL) RETURNING id`,
		`INSERT INTO outbox (id, topic, type, created_at) VALUES (1, 'a', 't', 'epoch') RETURNING id`,
		`INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)
			VALUES (NULL, 'a', 't', NULL, NULL, NULL, NULL, NULL, NULL) RETURNING id`,
		`INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)
			VALUES (DEFAULT, 'a', 't', DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT) RETURNING id`,
		`INSERT INTO outbox (topic, type, payload, source, headers, dedup_key) VALUES ('a', 't', '{}', '', 'null', '') RETURNING id`,
		`INSERT INTO "outbox" ("topic", "type", "payload") VALUES ('a', 't', '{"a": 1}'::jsonb) RETURNING "outbox"."id"`,
		`INSERT INTO outbox AS o (topic, type, headers) VALUES ('a', 't', '{"traceparent": "00-1"}') RETURNING o.id`,
		`INSERT INTO outbox (topic, type) VALUES ('a', 't') ON CONFLICT DO NOTHING RETURNING id`,
		`INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', 't', gen_random_uuid()) RETURNING id`,
		`INSERT INTO outbox (topic, type, deliver_at) VALUES ('a', 't', now() - interval '1 hour') RETURNING id`,
		`WITH i AS (INSERT INTO item VALUES (1, '{"n": 1}') RETURNING *) INSERT INTO outbox (topic, type, payload) SELECT 'a', 't', to_jsonb(i) FROM i RETURNING id`,
		`SELECT outcrier.append('a', 't')`,
		`SELECT outcrier.append('a', 't', '{}')`,
		`SELECT outcrier.append('a', 't', '{}'::text)`,
		`SELECT outcrier.append('a', 't', '{}'::json)`,
		`SELECT outcrier.append('a', 't', jsonb_build_object('n', 1))`,
		`SELECT outcrier.append('a', 't', to_jsonb(i)) FROM (SELECT 1 AS n) AS i`,
		`SELECT outcrier.append('a', 't', payload => NULL::jsonb, source => NULL, headers => NULL, dedup_key => NULL::text, deliver_at => NULL)`,
		`SELECT outcrier.append('a', 't', dedup_key => gen_random_uuid())`,
		`SELECT outcrier.append('a', 't', payload => '{}'::jsonb, dedup_key => gen_random_uuid())`,
		`SELECT outcrier.append('a', 't', payload => '{}'::text, dedup_key => gen_random_uuid())`,
		`SELECT outcrier.append('a'::varchar(10), 't'::varchar, dedup_key => 'x'::varchar)`,
		`SELECT outcrier.append('a', 't', '{}', '/', '{"a": "b"}')`,
		`SELECT outcrier.append('a', 't', '{}', '/', NULL, NULL, NULL)`,
		`SELECT outcrier.append('a', 't', NULL, NULL, NULL, 'k', NULL)`,
		`SELECT outcrier.append_all(ARRAY['a'], ARRAY['t'], ARRAY['{}'::jsonb])`,
		`SELECT outcrier.append_all(ARRAY['a'], ARRAY['t'], ARRAY['{}'])`,
		`SELECT outcrier.append_all(ARRAY['a'], ARRAY['t'], ARRAY['{}']::json[], ARRAY['/'], ARRAY[NULL]::jsonb[], ARRAY['all'])`,
		`SELECT * FROM (SELECT outcrier.append('a', 't')) AS s (id)`,
	} {
		exec(t, admin, `DELETE FROM outcrier.event`)
		exec(t, admin, `DELETE FROM outcrier.event WHERE topic = ''`)
		var id int64
		if err := writer.QueryRow(t.Context(), statement).Scan(&id); err != nil {
			t.Errorf("%s: %v", statement, err)
			continue
		}
		got := list[string](t, admin, `SELECT concat_ws(' ', id, topic, type, source, xid > '3', created_at > now() - interval '1 minute') FROM outcrier.event WHERE topic <> ''`)
		if want := fmt.Sprintf("%d a t / t t", id); len(got) != 1 || got[0] != want {
			t.Errorf("%s: stored are %q, want %q", statement, got, want)
		}
	}
	// What drivers send: parameters whose types Postgres is to find out.
	var id int64
	if err := writer.QueryRow(t.Context(), `SELECT outcrier.append($1, $2, $3, $4, $5, $6, $7)`, "a", "t", `{"a": 1}`, "/", nil, nil, nil).Scan(&id); err != nil {
		t.Errorf("with parameters: %v", err)
	}
	if err := writer.QueryRow(t.Context(), `SELECT outcrier.append($1, $2, $3, dedup_key => $4)`, "a", "t", `{"a": 1}`, "k2").Scan(&id); err != nil {
		t.Errorf("with named parameters: %v", err)
	}
	if _, err := writer.Exec(t.Context(), `INSERT INTO outbox (topic, type) VALUES ('a', 't')`); err != nil {
		t.Fatal(err)
	}
	if last, newest := ask[int64](t, writer, `SELECT lastval()`), ask[int64](t, admin, `SELECT max(id) FROM outcrier.event`); last != newest {
		t.Errorf("lastval() is %d, the id %d", last, newest)
	}
	if n := ask[int64](t, writer, `SELECT currval('outcrier.event_id')`); n == 0 {
		t.Error("currval is 0")
	}
	tag, err := writer.PgConn().CopyFrom(t.Context(), strings.NewReader("a\tt\n\"b\"\tt\n"), `COPY outbox (topic, type) FROM STDIN`)
	if err != nil || tag.RowsAffected() != 2 {
		t.Errorf("COPY: %v, %v", tag, err)
	}
	if _, err := writer.Exec(t.Context(), `INSERT INTO outbox (topic, type) VALUES ('a', 't') ON CONFLICT (id) DO NOTHING`); code(err) != "42P10" {
		t.Errorf("ON CONFLICT with a target: %v", err)
	}
}

func TestView_RefusesAndNamesTheColumn(t *testing.T) {
	t.Parallel()
	conn := connect(t, outboxtest.URL(t))
	long := strings.Repeat("l", 256)
	deep := func(n int) string { return strings.Repeat(`[{"a":`, n/2) + "1" + strings.Repeat(`}]`, n/2) }
	for _, one := range []struct{ column, columns, values string }{
		{"topic", "topic, type", `NULL, 't'`},
		{"topic", "topic, type", `'', 't'`},
		{"topic", "topic, type", `'/a', 't'`},
		{"topic", "topic, type", `'a//b', 't'`},
		{"topic", "topic, type", `'a/', 't'`},
		{"topic", "topic, type", `'a/*', 't'`},
		{"topic", "topic, type", `E'a\nb', 't'`},
		{"topic", "topic, type", `U&'a\0085b', 't'`},
		{"topic", "topic, type", `'` + long + `', 't'`},
		{"type", "topic, type", `'a', NULL`},
		{"type", "topic, type", `'a', ''`},
		{"type", "topic, type", `'a', E't\r'`},
		{"type", "topic, type", `'a', 'outcrier.hello'`},
		{"type", "topic, type", `'a', U&'t\2028id: 7'`},
		{"type", "topic, type", `'a', '` + long + `'`},
		{"source", "topic, type, source", `'a', 't', E'\x7f'`},
		{"source", "topic, type, source", `'a', 't', '` + long + `'`},
		{"dedup_key", "topic, type, dedup_key", `'a', 't', '` + long + `'`},
		{"headers", "topic, type, headers", `'a', 't', '[]'`},
		{"headers", "topic, type, headers", `'a', 't', '{"a": 1}'`},
		{"headers", "topic, type, headers", `'a', 't', '{"a": {"b": "c"}}'`},
		{"headers", "topic, type, headers", `'a', 't', jsonb_build_object('a', repeat('x', 16384))`},
		{"payload", "topic, type, payload", `'a', 't', to_json(repeat('x', 1048576))`},
		{"payload", "topic, type, payload", `'a', 't', '` + deep(66) + `'`},
		{"payload", "topic, type, payload, source", `'a', 't', '` + deep(10000) + `', '/s'`},
		{"deliver_at", "topic, type, deliver_at", `'a', 't', 'infinity'`},
		{"deliver_at", "topic, type, deliver_at", `'a', 't', '-infinity'`},
		{"deliver_at", "topic, type, deliver_at", `'a', 't', now() + interval '101 years'`},
	} {
		for _, statement := range []string{
			`INSERT INTO outbox (` + one.columns + `) VALUES (` + one.values + `)`,
			`SELECT outcrier.append(topic => ` + strings.Replace(one.values, ", ", ", type => ", 1) + `)`,
		} {
			if strings.HasPrefix(statement, "SELECT") && one.columns != "topic, type" {
				continue
			}
			_, err := conn.Exec(t.Context(), statement)
			var refused *pgconn.PgError
			if !errors.As(err, &refused) || refused.Code != "23514" || refused.ColumnName != one.column || refused.TableName != "outbox" ||
				!strings.Contains(refused.Message, "allowed") {
				t.Errorf("%.120s: %v", statement, err)
			}
		}
	}
	if _, err := conn.Exec(t.Context(), `SELECT outcrier.append_all(ARRAY['a', 'b*'], ARRAY['t', 't'], NULL::json[])`); code(err) != "23514" {
		t.Errorf("append_all: %v", err)
	}
	if _, err := conn.Exec(t.Context(), `SELECT outcrier.append_all(ARRAY['a', 'b'], ARRAY['t'], NULL::json[])`); code(err) != "2202E" {
		t.Errorf("append_all with arrays of different length: %v", err)
	}
	for _, accepted := range []string{
		`'a', 't', '` + deep(64) + `'`,
		`'a', 't', '"` + strings.Repeat(`[`, 200) + `"'`,
		`'a', 't', '"` + strings.Repeat(`[\"`, 200) + `"'`,
		`'a', 't', '` + strings.TrimSuffix(strings.Repeat(`[],`, 300), ",") + `'`,
	} {
		accepted = strings.Replace(accepted, `'[],`, `'[[],`, 1)
		if strings.HasPrefix(accepted, `'a', 't', '[[],`) {
			accepted = strings.TrimSuffix(accepted, `'`) + `]'`
		}
		exec(t, conn, `INSERT INTO outbox (topic, type, payload) VALUES (`+accepted+`)`)
	}
	if n := ask[int](t, conn, `SELECT count(*) FROM outcrier.event`); n != 4 {
		t.Errorf("%d events are stored", n)
	}
}

func TestView_ShowsTheTransactionItsOwnRowsAlone(t *testing.T) {
	t.Parallel()
	g := guard(t)
	writer, admin := connect(t, g.writer), g.admin
	exec(t, admin, `INSERT INTO outbox (topic, type, payload) SELECT 'secret', 't', '{"of": "others"}' FROM generate_series(1, 100)`)
	if got := list[int64](t, writer, `SELECT id FROM outbox`); len(got) != 0 {
		t.Errorf("a writer sees %v", got)
	}
	tx, err := writer.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context()) //nolint:errcheck // as Begin's documentation has it
	exec(t, writer, `INSERT INTO outbox (topic, type, deliver_at) VALUES ('a/1', 't', NULL), ('a/2', 't', now() + interval '1 hour')`)
	exec(t, writer, `SAVEPOINT s`)
	exec(t, writer, `INSERT INTO outbox (topic, type) VALUES ('a/3', 't')`)
	exec(t, writer, `ROLLBACK TO s`)
	exec(t, writer, `SAVEPOINT s`)
	exec(t, writer, `INSERT INTO outbox (topic, type) VALUES ('a/4', 't')`)
	if got := list[string](t, writer, `SELECT topic FROM outbox`); !slices.Equal(got, []string{"a/1", "a/2", "a/4"}) {
		t.Errorf("the transaction sees %v", got)
	}
	// A condition is evaluated on what the function returned, so that nothing can be
	// learned from errors, costs or the rows that a filter removed.
	for _, plan := range list[string](t, writer, `EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM outbox WHERE topic = 'secret' AND id < 1000`) {
		if strings.Contains(plan, "Removed") && !strings.HasSuffix(plan, ": 3") {
			t.Errorf("the plan tells: %s", plan)
		}
	}
	for _, statement := range []string{`SELECT * FROM outcrier.event`, `SELECT * FROM outcrier.history`, `SELECT * FROM outcrier.dedup`, `SELECT outcrier.erase(1, 'r')`, `SELECT outcrier.reset()`} {
		exec(t, writer, `SAVEPOINT p`)
		if _, err := writer.Exec(t.Context(), statement); code(err) != "42501" {
			t.Errorf("%s as writer: %v", statement, err)
		}
		exec(t, writer, `ROLLBACK TO p`)
	}
}

func TestView_DoesNotChange(t *testing.T) {
	t.Parallel()
	conn := connect(t, outboxtest.URL(t))
	exec(t, conn, `INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
	for _, statement := range []string{`UPDATE outbox SET topic = 'b'`, `UPDATE outbox SET topic = 'b' WHERE id = 1`, `DELETE FROM outbox`, `DELETE FROM outbox WHERE id = 999`} {
		_, err := conn.Exec(t.Context(), statement)
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != "0A000" || !strings.Contains(refused.Hint, "outcrier.erase") {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

// Without a trigger nothing would be stored, and Postgres would answer INSERT 0 1.
func TestView_RefusesWhereNoTriggerRuns(t *testing.T) {
	t.Parallel()
	conn := connect(t, outboxtest.URL(t))
	exec(t, conn, `SET session_replication_role = replica`)
	for _, statement := range []string{
		`INSERT INTO outbox (topic, type) VALUES ('a', 't')`,
		`INSERT INTO outbox (id, topic, type) VALUES (1, 'a', 't')`,
		`INSERT INTO outbox (topic, type, created_at) VALUES ('a', 't', now())`,
	} {
		if _, err := conn.Exec(t.Context(), statement); code(err) != "55000" {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

// What the session has set reaches the view's trigger, which has no SET clause.
func TestView_CallerSettingsChangeNothing(t *testing.T) {
	t.Parallel()
	g := guard(t)
	exec(t, g.admin, `CREATE SCHEMA trap`)
	exec(t, g.admin, `GRANT ALL ON SCHEMA trap TO PUBLIC`)
	// Operators and functions that match better than Postgres's own, if they are found.
	for _, statement := range []string{
		`CREATE FUNCTION trap.sprung() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the trap is sprung as %', current_user; END $$`,
		`CREATE FUNCTION trap.gt(bigint, integer) RETURNS boolean LANGUAGE sql AS 'SELECT trap.sprung()'`,
		`CREATE FUNCTION trap.text_eq(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT trap.sprung()'`,
		`CREATE FUNCTION trap.big(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT trap.sprung()'`,
		`CREATE OPERATOR trap.> (LEFTARG = bigint, RIGHTARG = integer, FUNCTION = trap.gt)`,
		`CREATE OPERATOR trap.> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = trap.big)`,
		`CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.text_eq)`,
		`CREATE OPERATOR trap.~ (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.text_eq)`,
		`CREATE FUNCTION trap.nextval(regclass) RETURNS bigint LANGUAGE sql AS 'SELECT trap.sprung()::int::bigint'`,
		`CREATE FUNCTION trap.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT CASE WHEN trap.sprung() THEN now() END $$`,
		`CREATE FUNCTION trap.octet_length(text) RETURNS int LANGUAGE sql AS 'SELECT trap.sprung()::int'`,
		`CREATE FUNCTION trap.pg_current_xact_id() RETURNS xid8 LANGUAGE sql AS $$ SELECT CASE WHEN trap.sprung() THEN '3'::xid8 END $$`,
		`CREATE DOMAIN trap.text AS pg_catalog.text CHECK (trap.sprung())`,
		`CREATE DOMAIN trap.int8 AS pg_catalog.int8 CHECK (trap.sprung())`,
		`GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA trap TO PUBLIC`,
	} {
		exec(t, g.admin, statement)
	}
	writer := connect(t, g.writer)
	for _, setting := range []string{
		`search_path = trap, pg_catalog, public, outcrier`, `search_path = trap, outcrier, public, pg_catalog`, `standard_conforming_strings = off`, `backslash_quote = on`,
		`default_transaction_isolation = 'serializable'`, `transform_null_equals = on`, `array_nulls = off`, `DateStyle = 'SQL, DMY'`, `TimeZone = 'Asia/Kathmandu'`,
		`IntervalStyle = sql_standard`, `bytea_output = escape`, `extra_float_digits = 0`, `plan_cache_mode = force_generic_plan`, `client_encoding = 'LATIN1'`,
		`row_security = off`, `jit = on; SET jit_above_cost = 0`, `check_function_bodies = off`, `xmloption = document`, `quote_all_identifiers = on`, `escape_string_warning = off`,
	} {
		exec(t, writer, `RESET ALL`)
		exec(t, writer, `SET `+setting)
		exec(t, writer, `INSERT INTO public.outbox (topic, type, payload) VALUES ('a', 't', '{"a": "\\u00e9"}')`)
		exec(t, writer, `INSERT INTO public.outbox (topic, type, payload, source, headers, deliver_at) VALUES ('a', 't', '[["]"]]', '/s', '{"a": "b"}', pg_catalog.now() + interval '1 hour')`)
		exec(t, writer, `INSERT INTO public.outbox (topic, type, dedup_key) VALUES ('a', 't', 'k'), ('a', 't', 'k')`)
		exec(t, writer, `SELECT outcrier.append('a', 't', '{}'::pg_catalog.json), outcrier.position()`)
		exec(t, writer, `SELECT outcrier.append_all(ARRAY['a', 'b'], ARRAY['t', 't'], ARRAY['1', '2']::pg_catalog.json[], dedup_keys => ARRAY['k', 'l'])`)
		exec(t, writer, `SELECT pg_catalog.count(*) FROM public.outbox`)
		if _, err := writer.Exec(t.Context(), `INSERT INTO public.outbox (topic, type) VALUES ('a*', 't')`); code(err) != "23514" {
			t.Errorf("with %s: %v", setting, err)
		}
	}
}
