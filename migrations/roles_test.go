package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

var logins atomic.Int64

// login makes a role that can log in, gone when the test ends, and returns its
// name and the address as which it connects.
func login(t *testing.T, admin *pgx.Conn, address, attributes string) (name, as string) {
	t.Helper()
	name = fmt.Sprintf("outboxtest_%d_%d", os.Getpid(), logins.Add(1))
	exec(t, admin, `CREATE ROLE `+name+` LOGIN PASSWORD 'secret' `+attributes)
	t.Cleanup(func() {
		if _, err := admin.Exec(context.Background(), `DROP OWNED BY `+name+`; DROP ROLE `+name); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(name, "secret")
	return name, u.String()
}

// guarded is an outbox with roles: its owner is an ordinary one, and so are those
// who use it.
type guarded struct {
	admin                                            *pgx.Conn
	address, owner, writer, reader, server, stranger string
}

func guard(t *testing.T) guarded {
	t.Helper()
	var g guarded
	g.address, g.admin = empty(t)
	var owner string
	owner, g.owner = login(t, g.admin, g.address, "CREATEROLE")
	exec(t, g.admin, `ALTER SCHEMA public OWNER TO `+owner)
	exec(t, g.admin, `GRANT USAGE ON SCHEMA public TO PUBLIC`)
	m := migrations.Migrations{URL: g.owner}
	up(t, m)
	for range 2 { // the second changes nothing
		if err := m.Roles(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for role, as := range map[string]*string{"outbox_writer": &g.writer, "outbox_reader": &g.reader, "outbox_server": &g.server} {
		var name string
		name, *as = login(t, g.admin, g.address, "IN ROLE "+role)
		exec(t, g.admin, `CREATE SCHEMA `+name+` AUTHORIZATION `+name) // to attack from
	}
	_, g.stranger = login(t, g.admin, g.address, "")
	return g
}

// state is all that an attack might have changed.
const state = `SELECT md5(concat_ws('|',
	(SELECT json_agg(o ORDER BY id) FROM (SELECT tableoid::regclass, * FROM outbox) AS o),
	(SELECT json_agg(d ORDER BY dedup_key) FROM outbox_dedup AS d),
	(SELECT json_agg(s ORDER BY id) FROM outbox_scheduled AS s),
	(SELECT json_agg(h) FROM outbox_histories AS h),
	(SELECT json_agg(t) FROM outbox_trim AS t),
	(SELECT json_agg(w) FROM outbox_turn AS w),
	(SELECT json_agg(s ORDER BY run, stream) FROM outbox_stream AS s),
	(SELECT json_agg(n ORDER BY run) FROM outbox_node AS n),
	(SELECT row(a.last_value, a.is_called, b.last_value, b.is_called) FROM outbox_bell_asked AS a, outbox_bell_answered AS b),
	(SELECT json_agg(row(relname, relacl, relowner, relrowsecurity) ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace),
	(SELECT json_agg(row(attrelid, attname, attacl) ORDER BY attrelid, attnum) FROM pg_attribute WHERE attacl IS NOT NULL),
	(SELECT json_agg(row(proname, proacl, prosrc, proowner) ORDER BY oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace),
	(SELECT json_agg(row(tgname, tgrelid, tgenabled) ORDER BY oid) FROM pg_trigger WHERE tgrelid::regclass::text LIKE 'outbox%'),
	(SELECT json_agg(row(rulename, ev_class) ORDER BY oid) FROM pg_rewrite),
	(SELECT json_agg(polname) FROM pg_policy),
	(SELECT json_agg(row(inhrelid, inhparent) ORDER BY inhrelid) FROM pg_inherits),
	(SELECT json_agg(row(roleid, member) ORDER BY roleid, member) FROM pg_auth_members)))`

const (
	denied  = "42501" // insufficient_privilege
	refused = "23514" // check_violation
)

// attacks are what each may not do, and how Postgres says so.
var attacks = []struct{ who, what, sql, code string }{
	{"writer", "an xid of its own", `INSERT INTO outbox (xid, topic, type) VALUES ('3', 'a', 't')`, denied},
	{"writer", "an xid by DEFAULT", `INSERT INTO outbox (xid, topic, type) VALUES (DEFAULT, 'a', 't')`, denied},
	{"writer", "an id of its own", `INSERT INTO outbox (id, topic, type) VALUES (1, 'a', 't')`, denied},
	{"writer", "an id, overriding", `INSERT INTO outbox (id, topic, type) OVERRIDING SYSTEM VALUE VALUES (1, 'a', 't')`, denied},
	{"writer", "a time in the past", `INSERT INTO outbox (topic, type, created_at) VALUES ('a', 't', '2001-01-01')`, denied},
	{"writer", "all columns by position", `INSERT INTO outbox VALUES ('3', 1, 'a', 't')`, denied},
	{"writer", "COPY with xids", `COPY outbox (xid, topic, type) FROM STDIN`, denied},
	{"writer", "COPY with ids", `COPY outbox (id, topic, type) FROM STDIN`, denied},
	{"writer", "COPY of all columns", `COPY outbox FROM STDIN`, denied},
	{"writer", "COPY out", `COPY outbox TO STDOUT`, denied},
	{"writer", "COPY out of a column of its own", `COPY outbox (topic) TO STDOUT`, denied},
	{"writer", "COPY by a program", `COPY outbox (topic) FROM PROGRAM 'id'`, denied},
	{"writer", "a server's event", `INSERT INTO outbox (topic, type) VALUES ('a', 'outcrier.goodbye')`, refused},
	{"writer", "a server's event by function", `SELECT outbox_append('a', 'outcrier.hello')`, refused},
	{"writer", "a forged line of a stream", `INSERT INTO outbox (topic, type) VALUES ('a', E't\ndata: forged')`, refused},
	{"writer", "a carriage return in a topic", `INSERT INTO outbox (topic, type) VALUES (E'a\rid: 1', 't')`, refused},
	{"writer", "a pattern for a topic", `INSERT INTO outbox (topic, type) VALUES ('**', 't')`, refused},
	{"writer", "a payload too large", `INSERT INTO outbox (topic, type, payload) VALUES ('a', 't', to_json(repeat('x', 1048576)))`, refused},
	{"writer", "headers too large", `INSERT INTO outbox (topic, type, headers) VALUES ('a', 't', jsonb_build_object('h', repeat('x', 16384)))`, refused},
	{"writer", "a delivery at infinity", `SELECT outbox_append('a', 't', deliver_at => 'infinity')`, refused},
	{"writer", "a delivery beyond all durations", `SELECT outbox_append('a', 't', deliver_at => '9999-12-31')`, refused},
	{"writer", "reading", `SELECT topic FROM outbox`, denied},
	{"writer", "counting", `SELECT count(*) FROM outbox`, denied},
	{"writer", "reading what it returns", `INSERT INTO outbox (topic, type) VALUES ('a', 't') RETURNING id`, denied},
	{"writer", "reading a partition", `SELECT FROM outbox_default`, denied},
	{"writer", "reading by a view of its own", `CREATE TEMP VIEW mine AS SELECT topic FROM outbox; SELECT topic FROM mine`, denied},
	{"writer", "reading what is scheduled", `SELECT FROM outbox_scheduled`, denied},
	{"writer", "reading the keys", `SELECT dedup_key FROM outbox_dedup`, denied},
	{"writer", "reading the columns' statistics", `SELECT max(stavalues1::text) FROM pg_statistic`, denied},
	{"writer", "an update", `UPDATE outbox SET payload = '{}'`, denied},
	{"writer", "an update by MERGE", `MERGE INTO outbox AS o USING (SELECT 1) AS s ON true WHEN MATCHED THEN UPDATE SET topic = 'b'`, denied},
	{"writer", "an update on conflict", `INSERT INTO outbox (topic, type) VALUES ('a', 't') ON CONFLICT (id, created_at) DO UPDATE SET topic = 'b'`, denied},
	{"writer", "a delete", `DELETE FROM outbox`, denied},
	{"writer", "a delete of the scheduled", `DELETE FROM outbox_scheduled`, denied},
	{"writer", "a truncate", `TRUNCATE outbox`, denied},
	{"writer", "a partition, directly", `INSERT INTO outbox_default (topic, type) VALUES ('a', 't')`, denied},
	{"writer", "a daily partition, directly", `DO $$BEGIN EXECUTE format('INSERT INTO %I (topic, type) VALUES (''a'', ''t'')', to_char(now() AT TIME ZONE 'UTC', '"outbox_"YYYY_MM_DD')); END$$`, denied},
	{"writer", "a partition of its own", `CREATE TABLE mine PARTITION OF outbox FOR VALUES FROM ('2001-01-01') TO ('2001-01-02')`, denied},
	{"writer", "to attach one", `CREATE TEMP TABLE mine (LIKE outbox); ALTER TABLE outbox ATTACH PARTITION mine FOR VALUES FROM ('2001-01-01') TO ('2001-01-02')`, denied},
	{"writer", "to detach one", `ALTER TABLE outbox DETACH PARTITION outbox_default`, denied},
	{"writer", "to schedule directly", `INSERT INTO outbox_scheduled (topic, type, deliver_at) VALUES ('a', 'outcrier.x', now())`, denied},
	{"writer", "another's key taken without an event", `INSERT INTO outbox_dedup (dedup_key, id, created_at) VALUES ('k2', 1, now())`, denied},
	{"writer", "keys taken by our trigger on its table", `CREATE TEMP TABLE mine (dedup_key text, id bigint, created_at timestamptz);
		CREATE TRIGGER mine BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION outbox_dedup(); INSERT INTO mine VALUES ('k2', 1, now())`, denied},
	{"writer", "the bell by our trigger on its table", `CREATE TEMP TABLE mine (); CREATE TRIGGER mine AFTER INSERT ON mine EXECUTE FUNCTION outbox_ring()`, denied},
	{"writer", "ids set back", `SELECT setval('outbox_id_seq', 1)`, denied},
	{"writer", "ids restarted", `ALTER SEQUENCE outbox_id_seq RESTART`, denied},
	{"writer", "ids cached", `ALTER SEQUENCE outbox_id_seq CACHE 1000`, denied},
	{"writer", "ids read", `SELECT last_value FROM outbox_id_seq`, denied},
	{"writer", "tickets drawn, so that all must ring", `SELECT nextval('outbox_bell_asked')`, denied},
	{"writer", "tickets set", `SELECT setval('outbox_bell_answered', 9223372036854775807)`, denied},
	{"writer", "the bell silenced", `SELECT outbox_bell_answer(1)`, denied},
	{"writer", "the history dropped", `SELECT outbox_retain('0')`, denied},
	{"writer", "partitions without end", `SELECT outbox_partitions_ahead(100000)`, denied},
	{"writer", "deliveries", `SELECT outbox_deliver_due()`, denied},
	{"writer", "a new history", `SELECT outbox_settle()`, denied},
	{"writer", "a forged history", `INSERT INTO outbox_histories (history, system_identifier) VALUES (1, 1)`, denied},
	{"writer", "the turn of a worker, for ever", `SELECT FROM outbox_turn FOR UPDATE`, denied},
	{"writer", "a lock on all", `DO $$BEGIN LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE; END$$`, denied},
	{"writer", "a lock on readers of the bell", `DO $$BEGIN LOCK TABLE outbox_turn IN ACCESS SHARE MODE; END$$`, denied},
	{"writer", "the lock of retention", `DO $$BEGIN LOCK TABLE outbox IN SHARE MODE; END$$`, denied},
	{"writer", "a trigger on outbox", `CREATE TRIGGER mine BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`, denied},
	{"writer", "triggers disabled", `ALTER TABLE outbox DISABLE TRIGGER ALL`, denied},
	{"writer", "a rule", `CREATE RULE mine AS ON INSERT TO outbox DO INSTEAD NOTHING`, denied},
	{"writer", "a policy", `CREATE POLICY mine ON outbox`, denied},
	{"writer", "row security", `ALTER TABLE outbox ENABLE ROW LEVEL SECURITY`, denied},
	{"writer", "a foreign key", `CREATE TABLE mine (id bigint, at timestamptz, FOREIGN KEY (id, at) REFERENCES outbox (id, created_at))`, denied},
	{"writer", "an index", `CREATE INDEX ON outbox (payload)`, denied},
	{"writer", "the owner's role", `DO $$BEGIN EXECUTE format('SET ROLE %s', (SELECT relowner::regrole FROM pg_class WHERE oid = 'outbox'::regclass)); END$$`, denied},
	{"writer", "the server's role", `SET ROLE outbox_server`, denied},
	{"writer", "the server's role granted", `GRANT outbox_server TO outbox_writer`, denied},
	{"writer", "its own rights passed on", `GRANT INSERT (topic) ON outbox TO PUBLIC`, ""}, // no more than a warning, and nothing granted
	{"writer", "a replica's session", `SET session_replication_role = replica`, denied},
	{"writer", "functions made ours", `CREATE FUNCTION public.nextval(text) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'`, denied},
	{"writer", "a table made ours", `CREATE TABLE public.outbox_2001_01_01 ()`, denied},
	{"writer", "our function replaced", `CREATE OR REPLACE FUNCTION public.outbox_refuse(constraint_name text, message text) RETURNS boolean LANGUAGE sql AS 'SELECT true'`, denied},
	{"writer", "our function unguarded", `ALTER FUNCTION outbox_append(text, text, json, text, jsonb, text, timestamptz) RESET ALL`, denied},
	{"writer", "the server's connections cut", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> current_user AND datname = current_database()`, denied},

	{"writer", "who was sent what", `SELECT FROM outbox_receipts`, denied},
	{"writer", "a stream forged", `INSERT INTO outbox_stream (run, stream) VALUES (1, 1)`, denied},
	{"writer", "a stream recorded", `SELECT outbox_record(1, 'n', now(), '[]')`, denied},
	{"writer", "a node that is there", `SELECT outbox_beat(1, 'n', 1, NULL, NULL)`, denied},

	{"reader", "the audit's own table", `SELECT FROM outbox_stream`, denied},
	{"reader", "the audit changed", `UPDATE outbox_receipts SET subject = 'x'`, "55000"}, // object_not_in_prerequisite_state: a join
	{"reader", "an append", `INSERT INTO outbox (topic, type) VALUES ('a', 't')`, denied},
	{"reader", "an append by function", `SELECT outbox_append('a', 't')`, denied},
	{"reader", "many by function", `SELECT outbox_append_all('{a}', '{t}', '{1}', '{/}', '{NULL}', '{NULL}', '{NULL}')`, denied},
	{"reader", "an update", `UPDATE outbox SET topic = 'b'`, denied},
	{"reader", "a delete", `DELETE FROM outbox`, denied},
	{"reader", "a row locked", `SELECT FROM outbox FOR UPDATE`, denied},
	{"reader", "a row locked a little", `SELECT FROM outbox FOR KEY SHARE`, denied},
	{"reader", "the writers locked out", `DO $$BEGIN LOCK TABLE outbox IN SHARE MODE; END$$`, denied},
	{"reader", "what is scheduled", `SELECT FROM outbox_scheduled`, denied},
	{"reader", "the keys", `SELECT FROM outbox_dedup`, denied},
	{"reader", "the history dropped", `SELECT outbox_retain('0')`, denied},
	{"reader", "a ticket", `SELECT nextval('outbox_bell_asked')`, denied},
	{"reader", "an id", `SELECT nextval('outbox_id_seq')`, denied},
	{"reader", "a partition", `SELECT FROM outbox_default`, denied},

	{"server", "an append with an xid", `INSERT INTO outbox (xid, topic, type) VALUES ('3', 'a', 't')`, denied},
	{"server", "an append past the checks", `INSERT INTO outbox (topic, type) VALUES ('a', 't')`, denied},
	{"server", "an update", `UPDATE outbox SET xid = '3'`, denied},
	{"server", "a delete", `DELETE FROM outbox`, denied},
	{"server", "a partition dropped by hand", `DROP TABLE outbox_default`, denied},
	{"server", "another history", `UPDATE outbox_histories SET history = 1`, denied},
	{"server", "what retention says it removed", `DELETE FROM outbox_trim`, denied},
	{"server", "events dropped by a clock of its own", `SELECT outbox_drop('7 days', now() + interval '1 year')`, denied},
	{"server", "events removed by it", `SELECT outbox_sweep('a', '7 days', 5000, now() + interval '1 year')`, denied},
	{"server", "partitions by it", `SELECT outbox_ahead(3, now() + interval '1 year')`, denied},
	{"server", "removals forgotten by it", `SELECT outbox_forget('7 days', now() + interval '1 year')`, denied},
	{"server", "payloads before their time", `SELECT payload FROM outbox_scheduled`, denied},
	{"server", "the scheduled changed", `UPDATE outbox_scheduled SET deliver_at = now()`, denied},
	{"server", "the keys", `SELECT FROM outbox_dedup`, denied},
	{"server", "an answer to what was not asked", `SELECT setval('outbox_bell_answered', 9223372036854775807)`, denied},
	{"server", "tickets set", `SELECT setval('outbox_bell_asked', 1)`, denied},
	{"server", "the audit changed", `UPDATE outbox_stream SET subject = 'x'`, denied},
	{"server", "the audit erased", `DELETE FROM outbox_stream`, denied},
	{"server", "a node taken off", `DELETE FROM outbox_node`, denied},
	{"server", "an id", `SELECT nextval('outbox_id_seq')`, denied},
	{"server", "the schema", `CREATE TABLE public.outbox_2001_01_01 ()`, denied},

	{"stranger", "an append", `INSERT INTO outbox (topic, type) VALUES ('a', 't')`, denied},
	{"stranger", "an append by function", `SELECT outbox_append('a', 't')`, denied},
	{"stranger", "reading", `SELECT FROM outbox`, denied},
	{"stranger", "who was sent what", `SELECT FROM outbox_receipts`, denied},
	{"stranger", "a stream recorded", `SELECT outbox_record(1, 'n', now(), '[]')`, denied},
	{"stranger", "a position", `SELECT outbox_position()`, denied},
	{"stranger", "the history dropped", `SELECT outbox_retain('0')`, denied},
	{"stranger", "the bell silenced", `SELECT outbox_bell_answer(1)`, denied},
}

func TestRoles_Attacks(t *testing.T) {
	g := guard(t)
	conns := map[string]*pgx.Conn{
		"writer": connect(t, g.writer), "reader": connect(t, g.reader),
		"server": connect(t, g.server), "stranger": connect(t, g.stranger),
	}
	exec(t, conns["writer"], `INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', 't', 'k1')`)
	exec(t, conns["writer"], `SELECT outbox_append('a', 't', deliver_at => now() + interval '1 hour')`)
	exec(t, conns["server"], `SELECT nextval('outbox_bell_asked')`)
	exec(t, conns["server"], `SELECT outbox_beat(1, 'n', 0, NULL, NULL)`)
	before := ask[string](t, g.admin, state)
	for _, attack := range attacks {
		t.Run(attack.who+"/"+attack.what, func(t *testing.T) {
			_, err := conns[attack.who].Exec(t.Context(), attack.sql, pgx.QueryExecModeSimpleProtocol)
			pg := new(pgconn.PgError)
			if errors.As(err, &pg); pg.Code != attack.code {
				t.Errorf("%v, want SQLSTATE %s", err, attack.code)
			}
			if after := ask[string](t, g.admin, state); after != before {
				t.Error("something has changed")
				before = after
			}
		})
	}
}

// A writer's own settings and temporary objects change nothing in what our
// functions do for it.
func TestRoles_CallerShadowsNothing(t *testing.T) {
	g := guard(t)
	writer := connect(t, g.writer)
	for _, hostile := range []string{
		`CREATE TEMP TABLE outbox (topic text, type text, payload json, source text, headers jsonb, dedup_key text, id bigint)`,
		`CREATE TEMP TABLE outbox_dedup (dedup_key text, id bigint, created_at timestamptz)`,
		`CREATE TEMP TABLE outbox_scheduled (id bigint, topic text, type text, payload json, source text, headers jsonb, dedup_key text, deliver_at timestamptz)`,
		`CREATE TEMP SEQUENCE outbox_bell_asked`,
		`CREATE FUNCTION pg_temp.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT 'infinity'::timestamptz $$`,
		`SET search_path = pg_temp, public`,
		`SET TimeZone = 'Pacific/Kiritimati'`,
		`SET outbox.payload_limit = '1'`,
		`SET session_authorization = DEFAULT`,
	} {
		exec(t, writer, hostile)
	}
	exec(t, writer, `SELECT public.outbox_append('a', 't', dedup_key => 'k')`)
	exec(t, writer, `SELECT public.outbox_append('a', 't', dedup_key => 'k')`)
	exec(t, writer, `SELECT public.outbox_append('a', 'later', deliver_at => now() + interval '1 hour')`)
	exec(t, writer, `INSERT INTO public.outbox (topic, type, dedup_key) VALUES ('a', 't', 'k')`)
	if n := ask[int](t, g.admin, `SELECT count(*) FROM outbox`); n != 1 {
		t.Errorf("%d events, want the one that the key lets in", n)
	}
	if n := ask[int](t, g.admin, `SELECT count(*) FROM outbox_scheduled`); n != 1 {
		t.Errorf("%d are scheduled", n)
	}
}

// Anyone may take any advisory lock; nothing that the database does for itself
// may wait for one.
func TestRoles_HeldAdvisoryLocksStopNothing(t *testing.T) {
	g := guard(t)
	hostile, server := connect(t, g.stranger), connect(t, g.server)
	exec(t, hostile, `SELECT pg_advisory_lock(relname::regclass::oid::int, 0) FROM unnest('{outbox_trim,outbox_scheduled,outbox_histories,outbox}'::text[]) AS relname`)
	exec(t, connect(t, g.writer), `SELECT outbox_append('a', 't', deliver_at => clock_timestamp() + interval '100 milliseconds')`)
	past(t, connect(t, g.owner))
	for deadline := time.Now().Add(10 * time.Second); ask[int](t, server, `SELECT outbox_deliver_due()`) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("nothing is delivered")
		}
	}
	if got := ask[string](t, server, `SELECT coalesce(outbox_retain('1 day'), 'nothing')`); got != "outbox_2020_01_01" {
		t.Errorf("dropped is %s", got)
	}
	exec(t, g.admin, `UPDATE outbox_histories SET system_identifier = 1`)
	exec(t, server, `SET statement_timeout = '5s'`)
	exec(t, server, `SELECT outbox_settle()`)
}

// past makes a partition for retention to drop.
func past(t *testing.T, owner *pgx.Conn) {
	t.Helper()
	exec(t, owner, `CREATE TABLE outbox_2020_01_01 PARTITION OF outbox FOR VALUES FROM ('2020-01-01+00') TO ('2020-01-02+00')`)
	exec(t, owner, `INSERT INTO outbox (topic, type, created_at) VALUES ('past', 't', '2020-01-01 12:00+00')`)
	exec(t, owner, `INSERT INTO outbox (topic, type) VALUES ('present', 't')`)
}

func TestRoles_WriterAppends(t *testing.T) {
	g := guard(t)
	writer := connect(t, g.writer)
	exec(t, writer, `INSERT INTO outbox (topic, type) VALUES ('plain', 't')`)
	exec(t, writer, `INSERT INTO outbox (topic, type, payload, source, headers, dedup_key) VALUES ('all', 't', '1', '/s', '{"h": "v"}', 'k')`)
	if id := ask[int64](t, writer, `SELECT outbox_append('function', 't')`); id != 3 {
		t.Errorf("it got id %d", id)
	}
	if _, err := writer.PgConn().CopyFrom(t.Context(), strings.NewReader("copied\tt\ncopied\tt\n"), `COPY outbox (topic, type) FROM STDIN`); err != nil {
		t.Error(err)
	}
	tx, err := writer.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := outbox.Append(t.Context(), tx, outbox.Draft{Topic: "go", Type: "t"},
		outbox.Draft{Topic: "go", Type: "t", DedupKey: "k"}, outbox.Draft{Topic: "go", Type: "t", DeliverAt: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := ask[string](t, g.admin, `SELECT string_agg(topic, ' ' ORDER BY id) FROM outbox`); got != "plain all function copied copied go" {
		t.Errorf("appended is %s", got)
	}
	if p := ask[string](t, writer, `SELECT outbox_position()`); p == "" {
		t.Error("no position")
	}
	// What is refused is told in words.
	_, err = writer.Exec(t.Context(), `INSERT INTO outbox (topic, type) VALUES ('/', 't')`)
	if err == nil || !strings.Contains(err.Error(), `segments separated by "/"`) {
		t.Errorf("%v", err)
	}
}

func TestRoles_ReaderReadsTheHistory(t *testing.T) {
	g := guard(t)
	exec(t, connect(t, g.writer), `INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
	reader := connect(t, g.reader)
	if n := ask[int](t, reader, `SELECT count(*) FROM outbox WHERE xid IS NOT NULL AND created_at <= now()`); n != 1 {
		t.Errorf("it sees %d events", n)
	}
	if p := ask[string](t, reader, `SELECT outbox_position()`); !strings.HasPrefix(p, "1.") {
		t.Errorf("position %s", p)
	}
}

// All that outcrier serve does with its database, as one that owns none of it.
func TestRoles_ServerServes(t *testing.T) {
	g := guard(t)
	owner, writer := connect(t, g.owner), connect(t, g.writer)
	past(t, owner)
	// The day after tomorrow's, which is there already, is to be made again, and
	// with a host's default privileges.
	exec(t, owner, `ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO outbox_writer, PUBLIC`)
	exec(t, owner, `DO $$BEGIN EXECUTE format('DROP TABLE %I', to_char(now() AT TIME ZONE 'UTC' + interval '2 days', '"outbox_"YYYY_MM_DD')); END$$`)

	pool := outboxtest.Pool(t, g.server)
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	t.Cleanup(func() { cancel(); group.Wait() })
	started, topics := make(chan outbox.Position, 10), make(chan string, 100)
	tail := &outbox.Tail{
		URL: g.server, Log: log, IdleTurn: 30 * time.Second,
		Start: func(p outbox.Position) { started <- p },
		Deliver: func(r outbox.Read) {
			for _, e := range r.Events {
				topics <- e.Topic
			}
		},
	}
	group.Go(func() { _ = tail.Run(ctx) })
	group.Go(func() { _ = outbox.Schedule{Pool: pool, Log: log}.Run(ctx) })
	audit := &outbox.Audit{Pool: pool, Node: "n", Log: log}
	group.Go(func() { _ = audit.Run(ctx) })
	start := within(t, started)
	awaitBell := func() {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !tail.Status().Listening; {
			if time.Now().After(deadline) {
				t.Fatalf("%+v", tail.Status())
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	awaitBell()
	exec(t, writer, `INSERT INTO outbox (topic, type) VALUES ('written', 't')`)
	exec(t, writer, `SELECT outbox_append('due', 't', deliver_at => now() + interval '50 milliseconds')`)
	for _, want := range []string{"written", "due"} {
		if got := within(t, topics); got != want {
			t.Errorf("the tail got %s, want %s", got, want)
		}
	}
	// Strangers may ring, with whatever they like.
	stranger, channel := connect(t, g.stranger), ask[string](t, g.admin, `SELECT outbox_bell_channel()`)
	for _, ticket := range []string{"", "0", "-1", "1", "2", "9223372036854775807", "99999999999999999999", "proof x", strings.Repeat("x", 7000)} {
		exec(t, stranger, `SELECT pg_notify('`+channel+`', '`+ticket+`')`)
	}
	time.Sleep(100 * time.Millisecond) // let the tail fall asleep on them
	exec(t, writer, `INSERT INTO outbox (topic, type) VALUES ('rung', 't')`)
	if got := within(t, topics); got != "rung" {
		t.Errorf("the tail got %s", got)
	}

	retention := outbox.Retention{Pool: pool, Keep: 24 * time.Hour, Log: log}
	for deadline := time.Now().Add(10 * time.Second); ask[int](t, g.admin, `SELECT count(*) FROM outbox_trim`) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("retention drops nothing")
		}
		if err := retention.Turn(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	made := ask[string](t, g.admin, `SELECT to_regclass(to_char(now() AT TIME ZONE 'UTC' + interval '2 days', '"outbox_"YYYY_MM_DD'))::text`)
	for _, role := range []string{"outbox_writer", "outbox_reader", "outbox_server", "public"} {
		if ask[bool](t, g.admin, `SELECT has_table_privilege('`+role+`', '`+made+`', 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')`) {
			t.Errorf("the new partition %s is open to %s", made, role)
		}
	}

	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := outbox.Append(t.Context(), tx, outbox.Draft{Topic: "posted", Type: "t", DedupKey: "k"}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := within(t, topics); got != "posted" {
		t.Errorf("the tail got %s", got)
	}

	reader := outbox.Reader{Pool: pool}
	earliest, err := reader.Earliest(t.Context(), outbox.Position{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Before(t.Context(), time.Now().Add(-time.Hour), outbox.Position{}); err != nil {
		t.Error(err)
	}
	if _, gap, err := reader.Verify(t.Context(), start, outbox.Filter{}, outbox.Position{}); gap != nil || err != nil {
		t.Errorf("%+v, %v", gap, err)
	}
	now, err := outbox.ParsePosition(ask[string](t, connect(t, g.server), `SELECT outbox_position()`))
	if err != nil {
		t.Fatal(err)
	}
	var replayed []string
	for _, leg := range earliest.Legs(now) {
		page, err := reader.Replay(t.Context(), leg, outbox.Filter{Topics: []outbox.Pattern{"**"}}, 100, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			replayed = append(replayed, e.Topic)
		}
	}
	if got := strings.Join(replayed, " "); got != "present written due rung posted" {
		t.Errorf("replayed are %s", got)
	}
	record := audit.Opened(outbox.StreamOpened{Subject: "ann", Filter: outbox.Filter{Topics: []outbox.Pattern{"*"}}, From: earliest})
	record.Progress(now, len(replayed), now.EventID)
	record.Closed("left")
	auditor := connect(t, g.reader)
	for deadline := time.Now().Add(10 * time.Second); ask[int](t, auditor, `SELECT count(*) FROM outbox_receipts WHERE subject = 'ann'`) != len(replayed); {
		if time.Now().After(deadline) {
			t.Fatal("the receipts are not those of what was replayed")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func within[T any](t *testing.T, values <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-values:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
	}
	return value
}

func TestRoles_SeveralOutboxesShareThem(t *testing.T) {
	g := guard(t)
	_, owner := login(t, g.admin, g.address, "CREATEROLE")
	name := ask[string](t, connect(t, owner), `SELECT current_user::text`)
	exec(t, g.admin, `CREATE SCHEMA "Another One" AUTHORIZATION `+name)
	m := migrations.Migrations{URL: with(t, owner, "search_path", `"Another One"`)}
	up(t, m)
	writer := connect(t, g.writer)
	if _, err := writer.Exec(t.Context(), `INSERT INTO "Another One".outbox (topic, type) VALUES ('a', 't')`); err == nil {
		t.Error("a writer of one is a writer of the other, before that has roles")
	}
	if err := m.Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec(t, writer, `INSERT INTO "Another One".outbox (topic, type) VALUES ('a', 't')`)
	exec(t, writer, `INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
	if err := m.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ask[bool](t, g.admin, `SELECT has_schema_privilege('outbox_writer', 'Another One', 'USAGE')`) {
		t.Error("down leaves rights on the schema")
	}
	exec(t, writer, `INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
}

func TestRoles_SayWhatIsMissing(t *testing.T) {
	address, admin := empty(t)
	name, owner := login(t, admin, address, "")
	exec(t, admin, `ALTER SCHEMA public OWNER TO `+name)
	m := migrations.Migrations{URL: owner}
	fails := func(what string, parts ...string) {
		t.Helper()
		err := m.Roles(t.Context())
		for _, part := range parts {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, want %q", what, err, part)
			}
		}
	}
	drop := `DROP ROLE IF EXISTS outbox_writer, outbox_reader, outbox_server`
	_, err := admin.Exec(t.Context(), drop)
	if err == nil {
		fails("without CREATEROLE", "role outbox_writer does not exist, and "+name+" may not create it", "CREATE ROLE outbox_server NOLOGIN;")
	} // otherwise other outboxes of the cluster use them
	exec(t, admin, `ALTER ROLE `+name+` CREATEROLE`)
	fails("without an outbox", "outcrier migrate up")
	up(t, m)
	exec(t, admin, `GRANT CREATE ON SCHEMA public TO PUBLIC`)
	fails("in an open schema", "may create in schema public", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	exec(t, admin, `REVOKE CREATE ON SCHEMA public FROM PUBLIC`)
	exec(t, admin, `ALTER SCHEMA public OWNER TO CURRENT_USER`)
	exec(t, admin, `GRANT CREATE, USAGE ON SCHEMA public TO `+name)
	fails("in another's schema", name+" may not grant the use of schema public", "GRANT USAGE ON SCHEMA public TO outbox_writer")
	m.URL = with(t, owner, "search_path", "nowhere")
	fails("without a schema", "search_path")
}

// What --print gives is what Roles does, for psql.
func TestRolesSQL_IsForSomebodyElse(t *testing.T) {
	address, admin := empty(t)
	exec(t, admin, `CREATE SCHEMA "An Outbox"`)
	m := migrations.Migrations{URL: with(t, address, "search_path", `"An Outbox"`)}
	up(t, m)
	text, err := m.RolesSQL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	exec(t, admin, text)
	for range 2 {
		exec(t, admin, text)
	}
	if !ask[bool](t, admin, `SELECT has_column_privilege('outbox_writer', '"An Outbox".outbox', 'topic', 'INSERT')`) {
		t.Error("it grants nothing")
	}
}

func TestUp_RenewsRoles(t *testing.T) {
	address, conn := empty(t)
	m := migrations.Migrations{URL: address}
	up(t, m)
	if ask[bool](t, conn, `SELECT has_schema_privilege(coalesce((SELECT oid FROM pg_roles WHERE rolname = 'outbox_writer'), 0), 'public', 'USAGE')`) {
		t.Error("roles were granted that nobody asked for")
	}
	if err := m.Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	// As if the last migration had not been there yet.
	exec(t, conn, `REVOKE SELECT ON outbox FROM outbox_reader`)
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, os.DirFS("."), goose.WithTableName("outbox_goose_version"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	up(t, m)
	if !ask[bool](t, conn, `SELECT has_table_privilege('outbox_reader', 'outbox', 'SELECT')`) {
		t.Error("the roles lack what the migrations brought")
	}
}

func TestRoles_ManyAtOnce(t *testing.T) {
	address, _ := empty(t)
	m := migrations.Migrations{URL: address}
	up(t, m)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := m.Roles(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestRoles_WarnOfRightsBesideThem(t *testing.T) {
	g := guard(t)
	name, _ := login(t, g.admin, g.address, "")
	exec(t, connect(t, g.owner), `GRANT DELETE ON outbox TO `+name)
	var log strings.Builder
	if err := (migrations.Migrations{URL: g.owner, Log: slog.New(slog.NewTextHandler(&log, nil))}).Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := name + " has rights besides these roles: DELETE on outbox"; !strings.Contains(log.String(), want) {
		t.Errorf("log %q, want %q", log.String(), want)
	}
}

// Whoever adds a function that acts as the owner closes it to PUBLIC. outbox_ring
// needs no path: TestRing_CallsNothingOfTheWriters.
func TestUp_FunctionsThatActAsTheOwnerAreNotForEverybody(t *testing.T) {
	conn := connect(t, outboxtest.URL(t))
	open := ask[string](t, conn, `SELECT coalesce(string_agg(oid::regprocedure::text, ', '), '') FROM pg_proc
		WHERE pronamespace = 'public'::regnamespace AND (prosecdef OR prorettype = 'trigger'::regtype)
			AND (has_function_privilege('public', oid, 'EXECUTE')
				OR proname <> 'outbox_ring' AND NOT coalesce(array_to_string(proconfig, ',') ~ '(^|,)search_path=[^=]*pg_temp$', false))`)
	if open != "" {
		t.Errorf("open to everybody, or without pg_temp last in their search_path: %s", open)
	}
}
