package migrations_test

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/outcrier/outcrier/migrations"
)

// Hosts give rights on everything that will be made to roles of their own.
func TestUp_DefaultPrivilegesOpenNothing(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]string{
		"of the owner":   `ALTER DEFAULT PRIVILEGES FOR ROLE %owner GRANT ALL ON %kind TO %anon, PUBLIC`,
		"with an option": `ALTER DEFAULT PRIVILEGES FOR ROLE %owner GRANT ALL ON %kind TO %anon WITH GRANT OPTION`,
	} {
		t.Run(name, func(t *testing.T) {
			address, admin := empty(t)
			owner, as := login(t, admin, address, "")
			anon, anonymous := login(t, admin, address, "")
			exec(t, admin, `GRANT CREATE ON DATABASE `+admin.Config().Database+` TO `+owner+`; ALTER SCHEMA public OWNER TO `+owner)
			for _, kind := range []string{"TABLES", "SEQUENCES", "ROUTINES", "TYPES", "SCHEMAS"} {
				exec(t, admin, strings.NewReplacer("%owner", owner, "%kind", kind, "%anon", anon).Replace(open))
			}
			// Supabase has it for public.
			exec(t, admin, `ALTER DEFAULT PRIVILEGES FOR ROLE `+owner+` IN SCHEMA public GRANT ALL ON TABLES TO `+anon)
			up(t, migrations.Migrations{URL: as})
			exec(t, connect(t, as), `SELECT outcrier.settle(), outcrier.append('a', 't')`)
			for range 5 { // partitions that come later, too
				exec(t, connect(t, as), `SELECT outcrier.add_partition()`)
			}
			rights := ask[string](t, admin, `SELECT coalesce(string_agg(concat_ws(' ', o.object, a.grantee::regrole, a.privilege_type), ', '), 'none') FROM (
				SELECT oid::regclass::text, relowner, relacl FROM pg_class WHERE relnamespace = 'outcrier'::regnamespace AND relkind IN ('r', 'p', 'v', 'S') OR oid = 'public.outbox'::regclass
				UNION ALL SELECT attrelid::regclass || '.' || attname, relowner, attacl FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'outcrier'::regnamespace
				UNION ALL SELECT oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc WHERE pronamespace = 'outcrier'::regnamespace
				UNION ALL SELECT nspname, nspowner, nspacl FROM pg_namespace WHERE nspname = 'outcrier'
			) AS o (object, owner, acl), aclexplode(o.acl) AS a WHERE a.grantee <> o.owner`)
			if rights != "none" {
				t.Errorf("others have rights: %s", rights)
			}
			conn := connect(t, anonymous)
			for _, attack := range []string{
				`SELECT FROM outbox`, `INSERT INTO outbox (topic, type) VALUES ('a', 't')`, `SELECT FROM outcrier.event`, `DELETE FROM outcrier.event`, `TRUNCATE outcrier.event`,
				`INSERT INTO outcrier.event_default (topic, type) VALUES ('a', 't')`, `SELECT outcrier.drop_partition('1 minute')`, `SELECT outcrier.reset()`, `SELECT outcrier.append('a', 't')`,
				`SELECT nextval('outcrier.event_id')`, `CREATE TABLE outcrier.mine ()`, `UPDATE outcrier.event_type SET title = 'x'`, `SELECT outcrier.claim('deliver')`,
			} {
				_, err := conn.Exec(t.Context(), attack)
				if pg := new(pgconn.PgError); !errors.As(err, &pg) || pg.Code != denied {
					t.Errorf("%s: %v", attack, err)
				}
			}
		})
	}
}

// A role that may create in our schema could have the owner run its code.
func TestUp_RefusesASchemaThatOthersMayCreateIn(t *testing.T) {
	t.Parallel()
	address, admin := empty(t)
	name, _ := login(t, admin, address, "")
	m := migrations.Migrations{URL: address}
	exec(t, admin, `CREATE SCHEMA outcrier; GRANT CREATE ON SCHEMA outcrier TO PUBLIC, `+name)
	refuses := func() {
		t.Helper()
		err := m.Up(t.Context())
		if err == nil || !strings.Contains(err.Error(), "PUBLIC, "+name+" may create objects in schema") || !strings.Contains(err.Error(), `REVOKE CREATE ON SCHEMA "outcrier" FROM PUBLIC, `+name) {
			t.Errorf("%v", err)
		}
	}
	refuses()
	if n := ask[int](t, admin, objects); n != 0 {
		t.Errorf("it has made %d objects", n)
	}
	exec(t, admin, `REVOKE CREATE ON SCHEMA outcrier FROM PUBLIC, `+name)
	up(t, m)
	exec(t, admin, `GRANT CREATE ON SCHEMA outcrier TO PUBLIC, `+name)
	refuses() // also where there is nothing to do
	status, err := m.Status(t.Context())
	if err != nil || !strings.Contains(status.Problem, "may create objects") {
		t.Errorf("%+v, %v", status, err)
	}
	// The script says so by itself.
	text := script(t, m, 0)
	exec(t, admin, `DROP VIEW outbox; DROP SCHEMA outcrier CASCADE; CREATE SCHEMA outcrier; GRANT CREATE ON SCHEMA outcrier TO PUBLIC`)
	if _, err := admin.Exec(t.Context(), text); err == nil || !strings.Contains(err.Error(), "PUBLIC may create objects in schema") {
		t.Errorf("the script: %v", err)
	}
}

// A database that was born on 14 or earlier lets everybody create in public, where the
// view is. The view's schema is only on the application's path.
func TestUp_PublicMayBeOpenToAll(t *testing.T) {
	t.Parallel()
	address, admin := empty(t)
	exec(t, admin, `GRANT CREATE ON SCHEMA public TO PUBLIC`)
	up(t, migrations.Migrations{URL: address})
	works(t, admin)
}

// The path of every function is ours and ends with pg_temp, which would otherwise come
// first for tables and types. Three kinds have none: SQL that is bound when it is made, the
// view's trigger, where it would cost every append, and a procedure that commits, where
// Postgres forbids it.
func TestFunctions_HaveAPathOfTheirOwn(t *testing.T) {
	t.Parallel()
	_, conn := migrated(t)
	open := ask[string](t, conn, `SELECT coalesce(string_agg(oid::regprocedure::text, ', '), '') FROM pg_proc
		WHERE pronamespace = 'outcrier'::regnamespace AND NOT coalesce(array_to_string(proconfig, ',') ~ '(^|,)search_path="?pg_catalog, pg_temp"?(,|$)', false)
			AND prosqlbody IS NULL AND proname NOT IN ('append_row', 'maintain')`)
	if open != "" {
		t.Errorf("these functions resolve names by the caller's path, or a temporary table's: %s", open)
	}
	if open := ask[string](t, conn, `SELECT coalesce(string_agg(oid::regprocedure::text, ', '), '') FROM pg_proc WHERE pronamespace = 'outcrier'::regnamespace AND has_function_privilege('public', oid, 'EXECUTE')`); open != "" {
		t.Errorf("open to everybody: %s", open)
	}
}

// plantSQL plants a function for each that ours call, by the name and the arguments of each
// of Postgres's own, and for every pair of the types that ours use, so that one fits a call
// better than the one that is meant; operators likewise; and tables, views and types that
// have the names of those in pg_catalog and of ours. Each that is run draws from
// evil.ran, which no rollback takes back.
const plantSQL = `
CREATE SCHEMA evil;
CREATE SEQUENCE evil.ran;
CREATE FUNCTION evil.run() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
	PERFORM pg_catalog.nextval('evil.ran'::pg_catalog.regclass);
	RAISE LOG 'planted code ran as %', current_user;
	RETURN true;
END $$;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
GRANT ALL ON ALL SEQUENCES IN SCHEMA evil TO PUBLIC;
CREATE TEMP TABLE called (name text PRIMARY KEY);
CREATE TEMP TABLE used (type text PRIMARY KEY);
INSERT INTO used SELECT unnest('{text,int4,int8,numeric,date,timestamptz,interval,json,jsonb,xid8,regclass,text[]}'::text[]);
`

// plantCalledSQL is for each name that is called. $1 is the schema to plant in.
const plantCalledSQL = `
DO $do$
DECLARE
	one record;
	home text := '%s';
	planted int := 0;
BEGIN
	FOR one IN
		SELECT DISTINCT f.name, f.arguments, f.result FROM (
			SELECT p.proname::text, ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY AS a (t, n) ORDER BY n), format_type(p.prorettype, NULL)
			FROM pg_proc AS p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname IN (SELECT name FROM called)
				AND NOT EXISTS (SELECT FROM unnest(p.proargtypes || p.prorettype) AS a JOIN pg_type AS t ON t.oid = a WHERE t.typtype = 'p')
			UNION ALL
			SELECT c.name, ARRAY[u.type], 'boolean' FROM called AS c, used AS u
			UNION ALL
			SELECT c.name, ARRAY[u.type, v.type], 'boolean' FROM called AS c, used AS u, used AS v WHERE home = 'public'
			UNION ALL
			SELECT c.name, '{}', 'boolean' FROM called AS c
		) AS f (name, arguments, result)
	LOOP
		BEGIN
			EXECUTE format('CREATE FUNCTION %%s.%%I(%%s) RETURNS %%s LANGUAGE sql AS $f$ SELECT CASE WHEN evil.run() THEN NULL::%%s END $f$', home, one.name, array_to_string(one.arguments, ', '), one.result, one.result);
			planted := planted + 1;
		EXCEPTION WHEN duplicate_function OR invalid_function_definition OR undefined_object OR feature_not_supported OR undefined_function OR indeterminate_datatype THEN
			NULL;
		END;
	END LOOP;
	RAISE NOTICE 'planted %% functions', planted;
END
$do$`

// plantOperatorsSQL plants all operators of Postgres's own on the types that ours use.
const plantOperatorsSQL = `
DO $do$
DECLARE
	one record;
BEGIN
	FOR one IN
		SELECT DISTINCT o.name, o.l, o.r FROM (
			SELECT oprname::text, format_type(oprleft, NULL), format_type(oprright, NULL) FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprleft <> 0
				AND format_type(oprleft, NULL) !~ 'any' AND format_type(oprright, NULL) !~ 'any'
			UNION ALL SELECT n.name, u.type, v.type FROM unnest('{=,<>,<,<=,>,>=,||,~,!~,+,-,*,@>}'::text[]) AS n (name), used AS u, used AS v
		) AS o (name, l, r)
	LOOP
		BEGIN
			EXECUTE format('CREATE FUNCTION evil.operator_%s(%s, %s) RETURNS boolean LANGUAGE sql AS $f$ SELECT evil.run() $f$', md5(one.name), one.l, one.r);
			EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.operator_%s)', one.name, one.l, one.r, md5(one.name));
		EXCEPTION WHEN duplicate_function OR invalid_function_definition OR undefined_object OR feature_not_supported OR undefined_function OR indeterminate_datatype THEN
			NULL;
		END;
	END LOOP;
END
$do$`

// plantRelationsSQL is for one session: its temporary tables, views and types have the
// names of Postgres's own and of ours.
const plantRelationsSQL = `
DO $do$
DECLARE
	one text;
BEGIN
	FOR one IN SELECT unnest('{pg_class,pg_namespace,pg_proc,pg_roles,pg_inherits,pg_locks,pg_stat_activity,pg_database,pg_prepared_xacts,pg_type,pg_settings}'::text[])
	LOOP
		EXECUTE format('CREATE TEMP VIEW %I AS SELECT evil.run() AS ran, o.* FROM pg_catalog.%I AS o WHERE evil.run()', one, one);
	END LOOP;
	FOR one IN SELECT relname FROM pg_catalog.pg_class WHERE relnamespace = 'outcrier'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition
	LOOP
		EXECUTE format('CREATE TEMP TABLE %I (ran boolean DEFAULT evil.run(), topic text, type text, id bigint, key text, CHECK (evil.run()))', one);
	END LOOP;
	FOR one IN SELECT unnest('{event_id,wake_request,wake_answer}'::text[]) LOOP
		EXECUTE format('CREATE TEMP SEQUENCE %I', one);
	END LOOP;
	FOR one IN SELECT unnest('{text,int8,int4,timestamptz,interval,json,jsonb,xid8,name,regclass,bytea,bool,new_event,oid}'::text[]) LOOP
		EXECUTE format('CREATE DOMAIN pg_temp.%I AS pg_catalog.text CHECK (evil.run())', one);
	END LOOP;
END
$do$`

// call matches the calls in a function's body.
var call = regexp.MustCompile(`\b([a-z_][a-z0-9_]*)\s*\(`)

// Better-matching overloads of everything that our functions call are in public, and on
// the caller's path; temporary tables and types have the names of Postgres's. None of
// them is used, whatever is called by whichever role.
func TestFunctions_CallNothingThatOthersPlanted(t *testing.T) {
	t.Parallel()
	g := guard(t)
	exec(t, g.admin, plantSQL)
	var bodies string
	if err := g.admin.QueryRow(t.Context(), `SELECT string_agg(coalesce(pg_get_function_sqlbody(oid), prosrc), E'\n') FROM pg_proc WHERE pronamespace = 'outcrier'::regnamespace`).Scan(&bodies); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, found := range call.FindAllStringSubmatch(bodies, -1) {
		names = append(names, found[1])
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if _, err := g.admin.Exec(t.Context(), `INSERT INTO called SELECT DISTINCT proname::text FROM pg_proc WHERE proname = ANY ($1) AND pronamespace IN ('pg_catalog'::regnamespace, 'outcrier'::regnamespace)`, names); err != nil {
		t.Fatal(err)
	}
	if n := ask[int](t, g.admin, `SELECT count(*) FROM called`); n < 60 {
		t.Errorf("only %d functions are called, of %d names", n, len(names))
	}
	exec(t, g.admin, plantOperatorsSQL)
	for _, home := range []string{"evil", "public"} {
		exec(t, g.admin, strings.Replace(strings.ReplaceAll(plantCalledSQL, "%%", "%"), "home text := '%s'", "home text := '"+home+"'", 1))
	}
	exec(t, g.admin, `SET search_path = pg_catalog`) // or it would fall into it itself
	t.Logf("planted %d functions, %d operators", ask[int](t, g.admin, `SELECT count(*) FROM pg_proc WHERE pronamespace IN ('evil'::regnamespace, 'public'::regnamespace)`),
		ask[int](t, g.admin, `SELECT count(*) FROM pg_operator WHERE oprnamespace = 'evil'::regnamespace`))
	exec(t, g.admin, `GRANT TEMP ON DATABASE `+g.admin.Config().Database+` TO PUBLIC; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA evil, public TO PUBLIC`)
	exec(t, connect(t, g.owner), `SELECT outcrier.settle()`)
	past(t, connect(t, g.owner))

	// That it is a trap at all: a call that leaves a name open falls into it.
	trap := connect(t, g.writer)
	exec(t, trap, `SET search_path = evil, public, pg_catalog`)
	exec(t, trap, `SELECT coalesce(clock_timestamp()::text, 'x')`)
	if !ask[bool](t, g.admin, `SELECT pg_sequence_last_value('evil.ran'::regclass) IS NOT NULL`) {
		t.Fatal("the trap does not work")
	}
	exec(t, g.admin, `ALTER SEQUENCE evil.ran RESTART`)

	ran := func(what string) {
		t.Helper()
		if n := ask[int](t, g.admin, `SELECT coalesce(pg_sequence_last_value('evil.ran'::regclass), 0)`); n != 0 {
			t.Errorf("%s: planted code ran %d times", what, n)
			exec(t, g.admin, `ALTER SEQUENCE evil.ran RESTART`)
		}
	}
	for _, surface := range []struct {
		who, as string
		sql     []string
	}{
		{"writer", g.writer, writerSurface},
		{"server", g.server, serverSurface},
		{"reader", g.reader, []string{
			`SELECT FROM outcrier.history`, `SELECT FROM outcrier.receipts`, `SELECT FROM outcrier.people`, `SELECT FROM outcrier.topics`,
			`SELECT outcrier.id_at(pg_catalog.now())`, `SELECT outcrier.position()`, `SELECT outcrier.matches('a/b', 'a/*')`,
		}},
		{"operator", g.operator, []string{`SELECT FROM outcrier.lag`, `SELECT FROM outcrier.in_flight()`, `SELECT FROM outcrier.history`}},
		{"owner", g.owner, []string{
			`SELECT outcrier.erase(1, 'x')`, `SELECT outcrier.erase('b/**'::pg_catalog.text, 'x')`, `SELECT outcrier.redact(2, '{}', 'x')`, `CALL outcrier.maintain('1 day', '{"a": "1 hour"}')`,
			`UPDATE outcrier.event SET payload = '{}' WHERE false`, `INSERT INTO outcrier.event (xid, topic, type) VALUES ('3', 'loaded', 't')`,
			`INSERT INTO outcrier.event_type (type, title) VALUES ('mine', 'Mine')`, `UPDATE outcrier.event_type SET payload_schema = 'true' WHERE type OPERATOR(pg_catalog.=) 'mine'`,
			`DELETE FROM outcrier.event_type WHERE type OPERATOR(pg_catalog.=) 'mine'`, `SELECT outcrier.revoke_rights('{0}')`, `SELECT outcrier.reset()`, `INSERT INTO public.outbox (topic, type) VALUES ('a', 't')`,
		}},
	} {
		for _, path := range []string{"evil, public, pg_catalog", "pg_temp, evil, public", "public"} {
			conn := connect(t, surface.as)
			exec(t, conn, `SET search_path = pg_catalog, pg_temp`)
			exec(t, conn, plantRelationsSQL)
			exec(t, g.admin, `INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at) VALUES ('due', 't', '{}', '/', now())`)
			exec(t, g.admin, `ALTER SEQUENCE evil.ran RESTART`) // planting has run it
			for _, setting := range []string{`SET TimeZone = 'Pacific/Kiritimati'`, `SET DateStyle = German`, `SET standard_conforming_strings = off`, `SET transform_null_equals = on`, `SET search_path = ` + path} {
				exec(t, conn, setting)
			}
			for _, sql := range surface.sql {
				if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeExec); err != nil {
					t.Errorf("%s: %s: %v", surface.who, sql, err)
				}
				ran(surface.who + " with path " + path + ": " + sql)
			}
		}
	}
}

// writerSurface is all that a writer can do, with names of Postgres's own qualified where
// the caller has to.
var writerSurface = []string{
	`INSERT INTO public.outbox (topic, type) VALUES ('a', 't')`,
	`INSERT INTO public.outbox (topic, type, payload, source, headers, dedup_key) VALUES ('b/c', 't', '{"a": [1, "x"]}', '/s', '{"h": "v"}', 'k1') RETURNING id, created_at`,
	`INSERT INTO public.outbox (topic, type, payload, source, headers, dedup_key) VALUES ('b/c', 't', '{"a": [1, "x"]}', '/s', '{"h": "v"}', 'k1') RETURNING *`,
	`INSERT INTO public.outbox (id, topic, type, source, headers, dedup_key, created_at) VALUES (NULL, 'a', 't', '', 'null', '', DEFAULT)`,
	`INSERT INTO public.outbox (topic, type, deliver_at) VALUES ('a', 't', pg_catalog.now() OPERATOR(pg_catalog.+) '1 hour'::pg_catalog.interval)`,
	`INSERT INTO public.outbox (topic, type, deliver_at, dedup_key) VALUES ('a', 't', '2000-01-01', 'k2')`,
	`INSERT INTO public.outbox (topic, type, payload) VALUES ('a', 't', pg_catalog.to_json(pg_catalog.repeat('[', 100)))`,
	`INSERT INTO public.outbox (topic, type, payload) VALUES ('a', 't', pg_catalog.to_json(pg_catalog.repeat('x', 20000)))`,
	`INSERT INTO public.outbox (topic, type) SELECT 'a', 't' FROM pg_catalog.generate_series(1, 100)`,
	`SELECT * FROM public.outbox`,
	`BEGIN; INSERT INTO public.outbox (topic, type, dedup_key) VALUES ('own', 't', 'k3'); SELECT * FROM public.outbox; COMMIT`,
	`SELECT outcrier.append('a', 't')`,
	`SELECT outcrier.append('a', 't', '{}'::pg_catalog.json, '/s', '{"h": "v"}', 'k4', NULL)`,
	`SELECT outcrier.append('a', 't', '{}'::pg_catalog.jsonb)`,
	`SELECT outcrier.append('a', 't', '{}'::pg_catalog.text, dedup_key => 'k4')`,
	`SELECT outcrier.append('a', 't', dedup_key => '7c9e6679-7425-40de-944b-e07fc1f90ae7'::pg_catalog.uuid)`,
	`SELECT outcrier.append('a', 't', deliver_at => pg_catalog.now() OPERATOR(pg_catalog.+) '1 hour'::pg_catalog.interval, dedup_key => 'k5')`,
	`SELECT outcrier.append_all('{a,b}'::pg_catalog.text[], '{t,t}'::pg_catalog.text[], ARRAY['1','2']::pg_catalog.json[])`,
	`SELECT outcrier.append_all('{a,a}'::pg_catalog.text[], '{t,t}'::pg_catalog.text[], ARRAY['1','2']::pg_catalog.jsonb[], dedup_keys => '{k6,k6}')`,
	`SELECT outcrier.append_all('{a,b}'::pg_catalog.text[], '{t,t}'::pg_catalog.text[], ARRAY['1','2']::pg_catalog.text[], '{/,/s}', NULL, '{k7,NULL}', ARRAY[NULL, '2100-01-01']::pg_catalog.timestamptz[])`,
	`SELECT outcrier.append_checked('{0}', '{a}', '{t}', ARRAY['1']::pg_catalog.json[], '{/}', NULL, NULL, NULL)`,
	`SELECT * FROM outcrier.payload_schemas()`,
	`SELECT outcrier.position()`,
}

var serverSurface = []string{
	`SELECT outcrier.settle()`, `SELECT pg_catalog.nextval('outcrier.wake_request')`,
	`SELECT outcrier.append('a', 't')`, // which notifies
	`SELECT outcrier.answer_wake_up(1)`,
	`SELECT outcrier.append('due', 't', deliver_at => pg_catalog.now() OPERATOR(pg_catalog.+) '1 hour'::pg_catalog.interval)`,
	`SELECT outcrier.deliver_scheduled()`,
	`SELECT outcrier.heartbeat(1, 'n', 1, NULL, '1 second')`,
	`SELECT outcrier.record_streams(1, 'n', pg_catalog.now(), '[{"stream": 1, "subject": "ann", "client_address": "127.0.0.1", "topics": ["a"], "types": [], "history": 1, "from_position": "0.x",
		"from_set": {"max_xid": 3, "in_flight": [], "event_id": 0}, "position": "1.x", "position_set": {"max_xid": 9, "in_flight": [], "event_id": 0}, "events": 1, "last_event": 1,
		"position_age": 0, "opened_age": 1}]')`,
	`SELECT outcrier.record_admin_requests('n', '[{"age": 1, "subject": "ann", "client_address": "127.0.0.1", "request": "GET /", "question": {"id": "1"}}, {"n": 1, "outcome": {"status": 200}}]')`,
	`SELECT outcrier.record_publisher('{1}', 'ann', '127.0.0.1')`, `SELECT outcrier.position_keys()`,
	`SELECT outcrier.link_audit_days()`, `SELECT outcrier.purge_audit('1 second')`, `SELECT FROM outcrier.audit`, `SELECT FROM outcrier.audit_digest('2026-11-29')`,
	`SELECT outcrier.end_stream(1, 1, 'me')`, `SELECT outcrier.stop_node(1)`, `SELECT outcrier.cancel(1)`,
	`SELECT outcrier.add_partition('7 days')`, `SELECT outcrier.drop_partition('1 day')`, `SELECT outcrier.delete_expired('a', '1 hour')`, `SELECT outcrier.delete_expired('a/**', '1 hour')`,
	`SELECT outcrier.purge_records('7 days')`, `SELECT outcrier.partition_width('400 days')`, `SELECT FROM outcrier.partitions()`, `CALL outcrier.maintain('1 day', '{"a/*": "1 hour"}')`,
	`SELECT FROM outcrier.in_flight()`, `SELECT FROM outcrier.lag`, `SELECT FROM outcrier.history`, `SELECT FROM outcrier.receipts WHERE id OPERATOR(pg_catalog.=) 1`, `SELECT outcrier.id_at(pg_catalog.now())`,
	`SELECT version FROM outcrier.schema_version()`, `SELECT outcrier.position()`,
	`UPDATE outcrier.event_type SET title = 'Locked' WHERE type OPERATOR(pg_catalog.=) 'account.locked'`,
}
