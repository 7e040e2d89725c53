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

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/outbox/upkeep"
)

var logins atomic.Int64

// login makes a role that can log in, gone when the test ends, and returns its
// name and the address as which it connects.
func login(t *testing.T, admin *pgx.Conn, address, attributes string) (name, as string) {
	t.Helper()
	name, as = makeLogin(t, admin, address, attributes)
	t.Cleanup(func() {
		if _, err := admin.Exec(context.Background(), `DROP OWNED BY `+name+` CASCADE; DROP ROLE `+name); err != nil {
			t.Error(err)
		}
	})
	return name, as
}

// makeLogin is login without the cleanup: the role lives as long as the server.
func makeLogin(t *testing.T, admin *pgx.Conn, address, attributes string) (name, as string) {
	t.Helper()
	name = fmt.Sprintf("outboxtest_%d_%d", os.Getpid(), logins.Add(1))
	exec(t, admin, `CREATE ROLE `+name+` LOGIN PASSWORD 'secret' `+attributes)
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
	admin                                                      *pgx.Conn
	address, owner, writer, reader, server, operator, stranger string
}

// sharedGuard is the outbox that guard copies. Its roles belong to the cluster, and so to each copy.
var sharedGuard struct {
	sync.Once
	guarded
	database string
}

// guard copies the outbox with roles: it takes much longer to make one. A test that changes
// the roles themselves needs logins of its own.
func guard(t *testing.T) guarded {
	t.Helper()
	sharedGuard.Do(func() {
		name, address := makeDatabase(t, "template0")
		admin := connect(t, address)
		sharedGuard.guarded, sharedGuard.database = makeGuard(t, address, admin, makeLogin), name
		admin.Close(t.Context())
	})
	g := sharedGuard.guarded
	g.address = database(t, sharedGuard.database)
	g.admin = connect(t, g.address)
	for _, as := range []*string{&g.owner, &g.writer, &g.reader, &g.server, &g.operator, &g.stranger} {
		*as = at(t, *as, g.admin.Config().Database)
	}
	return g
}

// makeGuard makes the outbox with roles at address, with logins made by login.
func makeGuard(t *testing.T, address string, admin *pgx.Conn, login func(t *testing.T, admin *pgx.Conn, address, attributes string) (name, as string)) guarded {
	t.Helper()
	g := guarded{address: address, admin: admin}
	var owner string
	owner, g.owner = login(t, g.admin, g.address, "CREATEROLE")
	exec(t, g.admin, `GRANT CREATE ON DATABASE `+g.admin.Config().Database+` TO `+owner)
	exec(t, g.admin, `ALTER SCHEMA public OWNER TO `+owner)
	m := migrations.Migrations{URL: g.owner}
	up(t, m)
	for range 2 { // the second changes nothing
		if err := m.Roles(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for role, as := range map[string]*string{"outcrier_writer": &g.writer, "outcrier_reader": &g.reader, "outcrier_server": &g.server, "outcrier_operator": &g.operator} {
		var name string
		name, *as = login(t, g.admin, g.address, "IN ROLE "+role)
		exec(t, g.admin, `CREATE SCHEMA `+name+` AUTHORIZATION `+name) // to attack from
	}
	_, g.stranger = login(t, g.admin, g.address, "")
	return g
}

// state is all that an attack might have changed.
const state = `SELECT md5(concat_ws('|',
	(SELECT json_agg(o ORDER BY id) FROM (SELECT tableoid::regclass, * FROM outcrier.event) AS o),
	(SELECT json_agg(d ORDER BY key) FROM outcrier.dedup AS d),
	(SELECT json_agg(s ORDER BY id) FROM outcrier.scheduled AS s),
	(SELECT json_agg(h) FROM outcrier.history_id AS h),
	(SELECT json_agg(t) FROM outcrier.removal AS t),
	(SELECT json_agg(t) FROM outcrier.erasure AS t),
	(SELECT json_agg(w ORDER BY work) FROM outcrier.maintenance AS w),
	(SELECT json_agg(e ORDER BY type) FROM outcrier.event_type AS e),
	(SELECT json_agg(v ORDER BY id) FROM outcrier.schema_migration AS v),
	(SELECT json_agg(s ORDER BY run, stream) FROM outcrier.stream AS s),
	(SELECT json_agg(n ORDER BY run) FROM outcrier.node AS n),
	(SELECT row(a.last_value, a.is_called, b.last_value, b.is_called) FROM outcrier.wake_request AS a, outcrier.wake_answer AS b),
	(SELECT json_agg(row(relname, relacl, relowner, relrowsecurity) ORDER BY oid) FROM pg_class WHERE relnamespace = 'outcrier'::regnamespace OR oid = 'outbox'::regclass),
	(SELECT json_agg(row(relname) ORDER BY oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace),
	(SELECT json_agg(row(attrelid, attname, attacl) ORDER BY attrelid, attnum) FROM pg_attribute WHERE attacl IS NOT NULL),
	(SELECT json_agg(row(proname, proacl, prosrc, proowner) ORDER BY oid) FROM pg_proc WHERE pronamespace IN ('outcrier'::regnamespace, 'public'::regnamespace)),
	(SELECT json_agg(row(tgname, tgrelid, tgenabled) ORDER BY oid) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text !~ 'pg_temp'),
	(SELECT json_agg(row(rulename, ev_class) ORDER BY oid) FROM pg_rewrite),
	(SELECT json_agg(polname) FROM pg_policy),
	(SELECT json_agg(row(inhrelid, inhparent) ORDER BY inhrelid) FROM pg_inherits),
	(SELECT json_agg(row(roleid, member) ORDER BY roleid, member) FROM pg_auth_members)))`

const (
	denied      = "42501" // insufficient_privilege
	refused     = "23514" // check_violation
	noColumn    = "42703" // undefined_column
	wrongObject = "42809" // wrong_object_type
	unsupported = "0A000" // feature_not_supported
	notTable    = "55000" // object_not_in_prerequisite_state: of a view that can't be changed
)

// attacks are what each may not do, and how Postgres says so.
var attacks = []struct{ who, what, sql, code string }{
	{"writer", "an xid of its own", `INSERT INTO outbox (xid, topic, type) VALUES ('3', 'a', 't')`, noColumn},
	{"writer", "an xid of its own, in the table", `INSERT INTO outcrier.event (xid, topic, type) VALUES ('3', 'a', 't')`, denied},
	{"writer", "an append past the checks", `INSERT INTO outcrier.event (topic, type) VALUES ('a', 't')`, denied},
	{"writer", "COPY into the table", `COPY outcrier.event (topic, type) FROM STDIN`, denied},
	{"writer", "COPY out of the table", `COPY outcrier.event TO STDOUT`, denied},
	{"writer", "COPY out of the view", `COPY outbox TO STDOUT`, wrongObject},
	{"writer", "COPY by a program", `COPY outbox (topic) FROM PROGRAM 'id'`, denied},
	{"writer", "a server's event", `INSERT INTO outbox (topic, type) VALUES ('a', 'outcrier.goodbye')`, refused},
	{"writer", "a server's event by function", `SELECT outcrier.append('a', 'outcrier.hello')`, refused},
	{"writer", "a server's event by arrays", `SELECT outcrier.append_all('{a}', '{outcrier.hello}', '{1}'::json[])`, refused},
	{"writer", "a row that only the tail sees", `INSERT INTO outbox (topic, type) VALUES ('', 't')`, refused},
	{"writer", "such a row by function", `SELECT outcrier.append('', 'outcrier.reset')`, refused},
	{"writer", "a forged line of a stream", `INSERT INTO outbox (topic, type) VALUES ('a', E't\ndata: forged')`, refused},
	{"writer", "a carriage return in a topic", `INSERT INTO outbox (topic, type) VALUES (E'a\rid: 1', 't')`, refused},
	{"writer", "a line separator of C1", `INSERT INTO outbox (topic, type) VALUES ('a', U&'t\0085')`, refused},
	{"writer", "a pattern for a topic", `INSERT INTO outbox (topic, type) VALUES ('**', 't')`, refused},
	{"writer", "a payload too large", `INSERT INTO outbox (topic, type, payload) VALUES ('a', 't', to_json(repeat('x', 1048576)))`, refused},
	{"writer", "a payload too deep", `INSERT INTO outbox (topic, type, payload) VALUES ('a', 't', (repeat('[', 65) || repeat(']', 65))::json)`, refused},
	{"writer", "headers too large", `INSERT INTO outbox (topic, type, headers) VALUES ('a', 't', jsonb_build_object('h', repeat('x', 16384)))`, refused},
	{"writer", "a delivery at infinity", `SELECT outcrier.append('a', 't', deliver_at => 'infinity')`, refused},
	{"writer", "a delivery beyond all durations", `INSERT INTO outbox (topic, type, deliver_at) VALUES ('a', 't', '9999-12-31')`, refused},
	{"writer", "reading the table", `SELECT topic FROM outcrier.event`, denied},
	{"writer", "reading the history", `SELECT topic FROM outcrier.history`, denied},
	{"writer", "reading topics", `SELECT topic FROM outcrier.topics`, denied},
	{"writer", "reading a partition", `SELECT FROM outcrier.event_default`, denied},
	{"writer", "reading what is scheduled", `SELECT FROM outcrier.scheduled`, denied},
	{"writer", "reading the keys", `SELECT key FROM outcrier.dedup`, denied},
	{"writer", "reading the columns' statistics", `SELECT max(stavalues1::text) FROM pg_statistic`, denied},
	{"writer", "an update", `UPDATE outbox SET payload = '{}'`, denied},
	{"writer", "an update of the table", `UPDATE outcrier.event SET payload = '{}'`, denied},
	{"writer", "an update by MERGE", `MERGE INTO outcrier.event AS o USING (SELECT 1) AS s ON true WHEN MATCHED THEN UPDATE SET topic = 'b'`, denied},
	{"writer", "a delete", `DELETE FROM outbox`, denied},
	{"writer", "a delete of the scheduled", `DELETE FROM outcrier.scheduled`, denied},
	{"writer", "a truncate", `TRUNCATE outcrier.event`, denied},
	{"writer", "a truncate of the view", `TRUNCATE outbox`, wrongObject},
	{"writer", "erasing", `SELECT outcrier.erase(1, 'because')`, denied},
	{"writer", "erasing by pattern", `SELECT outcrier.erase('**'::text, 'because')`, denied},
	{"writer", "redacting", `SELECT outcrier.redact(1, '{}', 'because')`, denied},
	{"writer", "an empty outbox", `SELECT outcrier.reset()`, denied},
	{"writer", "cancelling", `SELECT outcrier.cancel(1)`, denied},
	{"writer", "a partition, directly", `INSERT INTO outcrier.event_default (topic, type) VALUES ('a', 't')`, denied},
	{"writer", "a daily partition, directly", `DO $$BEGIN EXECUTE format('INSERT INTO outcrier.%I (topic, type) VALUES (''a'', ''t'')', to_char(now() AT TIME ZONE 'UTC', '"event_"YYYY_MM_DD')); END$$`, denied},
	{"writer", "a partition of its own", `CREATE TABLE mine PARTITION OF outcrier.event FOR VALUES FROM ('2001-01-01') TO ('2001-01-02')`, denied},
	{"writer", "to attach one", `ALTER TABLE outcrier.event ATTACH PARTITION outcrier.dedup FOR VALUES FROM ('2001-01-01') TO ('2001-01-02')`, denied},
	{"writer", "to detach one", `ALTER TABLE outcrier.event DETACH PARTITION outcrier.event_default`, denied},
	{"writer", "to schedule directly", `INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at) VALUES ('a', 'outcrier.x', '1', '/', now())`, denied},
	{"writer", "another's key taken without an event", `INSERT INTO outcrier.dedup (key, id, topic, type, created_at, scheduled) VALUES ('k2', 1, 'a', 't', now(), false)`, denied},
	{"writer", "appends by our trigger on its table", `CREATE TEMP VIEW mine AS SELECT 1 AS id; CREATE TRIGGER mine INSTEAD OF INSERT ON mine FOR EACH ROW EXECUTE FUNCTION outcrier.append_row()`, denied},
	{"writer", "markers by our trigger on its table", `CREATE TEMP TABLE mine (); CREATE TRIGGER mine AFTER UPDATE ON mine EXECUTE FUNCTION outcrier.mark_change()`, denied},
	{"writer", "a notification by our function", `SELECT outcrier.notify(1)`, denied},
	{"writer", "an event stored past the checks", `SELECT outcrier.store(ROW(1, '', 'outcrier.reset', '{}', '/', NULL, NULL, NULL, now())::outcrier.new_event)`, denied},
	{"writer", "an event appended past the trigger", `SELECT outcrier.append_event(ROW(1, 'a', 't', '{}', '/', NULL, NULL, NULL, now())::outcrier.new_event)`, denied},
	{"writer", "ids set back", `SELECT setval('outcrier.event_id', 1)`, denied},
	{"writer", "ids drawn", `SELECT nextval('outcrier.event_id')`, denied},
	{"writer", "ids restarted", `ALTER SEQUENCE outcrier.event_id RESTART`, denied},
	{"writer", "requests drawn, so that all must notify", `SELECT nextval('outcrier.wake_request')`, denied},
	{"writer", "requests set", `SELECT setval('outcrier.wake_answer', 9223372036854775807)`, denied},
	{"writer", "the wake-up silenced", `SELECT outcrier.answer_wake_up(1)`, denied},
	{"writer", "the history dropped", `SELECT outcrier.drop_partition('1 minute')`, denied},
	{"writer", "a partition dropped by another clock", `SELECT outcrier.drop_partition('7 days', now() + interval '1 year')`, denied},
	{"writer", "events of a topic removed", `SELECT outcrier.delete_expired('a', '1 minute')`, denied},
	{"writer", "partitions without end", `SELECT outcrier.add_partition()`, denied},
	{"writer", "all maintenance", `CALL outcrier.maintain()`, denied},
	{"writer", "deliveries", `SELECT outcrier.deliver_scheduled()`, denied},
	{"writer", "a new history", `SELECT outcrier.settle()`, denied},
	{"writer", "a history begun", `SELECT outcrier.begin_history()`, denied},
	{"writer", "a forged history", `INSERT INTO outcrier.history_id (history, nth, system_identifier) VALUES (1, 1, 1)`, denied},
	{"writer", "the work of a node, for ever", `SELECT FROM outcrier.maintenance FOR UPDATE`, denied},
	{"writer", "that by our function", `SELECT outcrier.claim('deliver')`, denied},
	{"writer", "a lock on all", `DO $$BEGIN LOCK TABLE outcrier.event IN ACCESS EXCLUSIVE MODE; END$$`, denied},
	{"writer", "a lock on the nodes", `DO $$BEGIN LOCK TABLE outcrier.node IN ACCESS SHARE MODE; END$$`, denied},
	{"writer", "the lock of retention", `DO $$BEGIN LOCK TABLE outcrier.event IN SHARE MODE; END$$`, denied},
	{"writer", "a trigger on the view", `CREATE TRIGGER mine INSTEAD OF INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`, denied},
	{"writer", "a trigger on the table", `CREATE TRIGGER mine BEFORE INSERT ON outcrier.event FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`, denied},
	{"writer", "triggers disabled", `ALTER TABLE outcrier.event DISABLE TRIGGER ALL`, denied},
	{"writer", "a rule", `CREATE RULE mine AS ON INSERT TO outbox DO INSTEAD NOTHING`, denied},
	{"writer", "the view replaced", `CREATE OR REPLACE VIEW public.outbox AS SELECT 1 AS id`, denied},
	{"writer", "a policy", `CREATE POLICY mine ON outcrier.event`, denied},
	{"writer", "row security", `ALTER TABLE outcrier.event ENABLE ROW LEVEL SECURITY`, denied},
	{"writer", "a foreign key", `CREATE TABLE mine (id bigint, at timestamptz, FOREIGN KEY (id, at) REFERENCES outcrier.event (id, created_at))`, denied},
	{"writer", "an index", `CREATE INDEX ON outcrier.event (payload)`, denied},
	{"writer", "the owner's role", `DO $$BEGIN EXECUTE format('SET ROLE %s', (SELECT relowner::regrole FROM pg_class WHERE oid = 'outbox'::regclass)); END$$`, denied},
	{"writer", "the server's role", `SET ROLE outcrier_server`, denied},
	{"writer", "the server's role granted", `GRANT outcrier_server TO outcrier_writer`, denied},
	{"writer", "its own rights passed on", `GRANT INSERT ON outbox TO PUBLIC`, ""}, // no more than a warning, and nothing granted
	{"writer", "a replica's session", `SET session_replication_role = replica`, denied},
	{"writer", "functions made ours", `CREATE FUNCTION outcrier.nextval(text) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'`, denied},
	{"writer", "functions in public", `CREATE FUNCTION public.nextval(text) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'`, denied},
	{"writer", "a table made ours", `CREATE TABLE outcrier.event_2001_01_01 ()`, denied},
	{"writer", "our function replaced", `CREATE OR REPLACE FUNCTION outcrier.valid(e outcrier.new_event) RETURNS outcrier.new_event LANGUAGE sql AS 'SELECT e'`, denied},
	{"writer", "our function unguarded", `ALTER FUNCTION outcrier.append(text, text, json, text, jsonb, text, timestamptz) RESET ALL`, denied},
	{"writer", "the rights of others", `SELECT outcrier.revoke_rights()`, denied},
	{"writer", "the server's connections cut", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> current_user AND datname = current_database()`, denied},
	{"writer", "the catalogue", `UPDATE outcrier.event_type SET title = 'x'`, denied},
	{"writer", "who was sent what", `SELECT FROM outcrier.receipts`, denied},
	{"writer", "what a person was sent", `SELECT FROM outcrier.people`, denied},
	{"writer", "a stream forged", `INSERT INTO outcrier.stream (run, stream) VALUES (1, 1)`, denied},
	{"writer", "a stream recorded", `SELECT outcrier.record_streams(1, 'n', now(), '[]')`, denied},
	{"writer", "a node that is there", `SELECT outcrier.heartbeat(1, 'n', 1, NULL, NULL)`, denied},

	{"reader", "the table itself", `SELECT FROM outcrier.event`, denied},
	{"reader", "the audit's own table", `SELECT FROM outcrier.stream`, denied},
	{"reader", "the audit changed", `UPDATE outcrier.receipts SET subject = 'x'`, notTable}, // a join
	{"reader", "an append", `INSERT INTO outbox (topic, type) VALUES ('a', 't')`, denied},
	{"reader", "an append by function", `SELECT outcrier.append('a', 't')`, denied},
	{"reader", "many by function", `SELECT outcrier.append_all('{a}', '{t}', '{1}'::json[])`, denied},
	{"reader", "a delete", `DELETE FROM outcrier.history`, notTable},
	{"reader", "a row locked", `SELECT FROM outcrier.history FOR UPDATE`, denied},
	{"reader", "what is scheduled", `SELECT FROM outcrier.scheduled`, denied},
	{"reader", "the keys", `SELECT FROM outcrier.dedup`, denied},
	{"reader", "the history dropped", `SELECT outcrier.drop_partition('1 minute')`, denied},
	{"reader", "erasing", `SELECT outcrier.erase(1, 'because')`, denied},
	{"reader", "a request", `SELECT nextval('outcrier.wake_request')`, denied},
	{"reader", "an id", `SELECT nextval('outcrier.event_id')`, denied},
	{"reader", "a partition", `SELECT FROM outcrier.event_default`, denied},
	{"reader", "writers locked out", `DO $$BEGIN LOCK TABLE outcrier.event IN SHARE MODE; END$$`, denied},

	{"operator", "an append", `INSERT INTO outbox (topic, type) VALUES ('a', 't')`, denied},
	{"operator", "the audit erased", `DELETE FROM outcrier.stream`, denied},
	{"operator", "a stream ended", `SELECT outcrier.end_stream(1, 1, 'me')`, denied},
	{"operator", "erasing", `SELECT outcrier.erase(1, 'because')`, denied},
	{"operator", "the scheduled changed", `UPDATE outcrier.scheduled SET deliver_at = now()`, denied},
	{"operator", "a revocation taken back", `DELETE FROM outcrier.revoked`, denied},
	{"operator", "a revocation by another name", `SELECT outcrier.revoke_as('root', 'a', NULL, 'x', NULL)`, denied},
	{"operator", "a revocation past the function", `INSERT INTO outcrier.revoked (sub, reason) VALUES ('a', 'x')`, denied},
	{"operator", "a revocation of nobody", `SELECT outcrier.revoke(reason => 'x')`, refused},
	{"operator", "a revocation without a reason", `SELECT outcrier.revoke('a')`, refused},
	{"server", "a revocation taken back", `DELETE FROM outcrier.revoked`, denied},
	{"server", "a revocation changed", `UPDATE outcrier.revoked SET revoked_at = '-infinity'`, denied},
	{"writer", "a revocation", `SELECT outcrier.revoke('a', reason => 'x')`, denied},
	{"writer", "what is revoked", `SELECT FROM outcrier.revoked`, denied},
	{"reader", "what is revoked", `SELECT FROM outcrier.revoked`, denied},
	{"stranger", "a revocation", `SELECT outcrier.revoke('a', reason => 'x')`, denied},
	{"operator", "the erasures forgotten", `DELETE FROM outcrier.erasure`, denied},

	{"server", "an append with an xid", `INSERT INTO outcrier.event (xid, topic, type) VALUES ('3', 'a', 't')`, denied},
	{"server", "an append past the checks", `INSERT INTO outcrier.event (topic, type) VALUES ('a', 't')`, denied},
	{"server", "an update", `UPDATE outcrier.event SET xid = '3'`, denied},
	{"server", "a delete", `DELETE FROM outcrier.event`, denied},
	{"server", "erasing", `SELECT outcrier.erase(1, 'because')`, denied},
	{"server", "redacting", `SELECT outcrier.redact(1, '{}', 'because')`, denied},
	{"server", "an empty outbox", `SELECT outcrier.reset()`, denied},
	{"server", "a partition dropped by hand", `DROP TABLE outcrier.event_default`, denied},
	{"server", "another history", `UPDATE outcrier.history_id SET history = 1`, denied},
	{"server", "what retention says it removed", `DELETE FROM outcrier.removal`, denied},
	{"server", "events dropped by a clock of its own", `SELECT outcrier.drop_partition('7 days', now() + interval '1 year')`, denied},
	{"server", "events removed by it", `SELECT outcrier.delete_expired('a', '7 days', 5000, now() + interval '1 year')`, denied},
	{"server", "partitions by it", `SELECT outcrier.add_partition('7 days', now() + interval '1 year')`, denied},
	{"server", "removals forgotten by it", `SELECT outcrier.purge_records('7 days', now() + interval '1 year')`, denied},
	{"server", "a stream that is on record removed", `DELETE FROM outcrier.stream`, denied},
	{"server", "a stream that is on record altered", `UPDATE outcrier.stream SET subject = 'nobody'`, denied},
	{"server", "requests of admins removed", `DELETE FROM outcrier.admin_request`, denied},
	{"server", "what came of requests", `UPDATE outcrier.admin_request SET outcome = NULL`, denied},
	{"server", "another publisher", `UPDATE outcrier.publication SET publisher = 'another'`, denied},
	{"server", "a link of the audit", `INSERT INTO outcrier.audit_day (day, records, digest, link) VALUES ('2026-01-01', 0, '', '')`, denied},
	{"server", "a link removed", `DELETE FROM outcrier.audit_day`, denied},
	{"server", "an audit of no retention", `CREATE OR REPLACE FUNCTION outcrier.minimum_audit_retention() RETURNS interval LANGUAGE sql STABLE RETURN interval '0'`, denied},
	{"server", "the keys of positions", `SELECT FROM outcrier.position_key`, denied},
	{"server", "another key of positions", `SELECT outcrier.rotate_position_key()`, denied},
	{"server", "a position of its own making", `SELECT outcrier.seal(1, '')`, denied},
	{"writer", "the keys of positions, by their function", `SELECT outcrier.position_keys()`, denied},
	{"writer", "a publisher", `SELECT outcrier.record_publisher('{1}', 'ann', '')`, denied},
	{"reader", "what admins ask", `SELECT FROM outcrier.admin_request`, denied},
	{"server", "payloads before their time", `SELECT payload FROM outcrier.scheduled`, denied},
	{"server", "the scheduled changed", `UPDATE outcrier.scheduled SET deliver_at = now()`, denied},
	{"server", "the keys", `SELECT FROM outcrier.dedup`, denied},
	{"server", "an answer to what was not requested", `SELECT setval('outcrier.wake_answer', 9223372036854775807)`, denied},
	{"server", "requests set", `SELECT setval('outcrier.wake_request', 1)`, denied},
	{"server", "the audit changed", `UPDATE outcrier.stream SET subject = 'x'`, denied},
	{"server", "the audit erased", `DELETE FROM outcrier.stream`, denied},
	{"server", "a node taken off", `DELETE FROM outcrier.node`, denied},
	{"server", "an id", `SELECT nextval('outcrier.event_id')`, denied},
	{"server", "the schema", `CREATE TABLE outcrier.event_2001_01_01 ()`, denied},
	{"server", "the versions", `INSERT INTO outcrier.schema_migration (version_id, is_applied) VALUES (11, true)`, denied},

	{"stranger", "an append", `INSERT INTO outbox (topic, type) VALUES ('a', 't')`, denied},
	{"stranger", "an append by function", `SELECT outcrier.append('a', 't')`, denied},
	{"stranger", "reading", `SELECT FROM outbox`, denied},
	{"stranger", "reading the history", `SELECT FROM outcrier.history`, denied},
	{"stranger", "who was sent what", `SELECT FROM outcrier.receipts`, denied},
	{"stranger", "a stream recorded", `SELECT outcrier.record_streams(1, 'n', now(), '[]')`, denied},
	{"stranger", "a position", `SELECT outcrier.position()`, denied},
	{"stranger", "the history dropped", `SELECT outcrier.drop_partition('1 minute')`, denied},
	{"stranger", "the wake-up silenced", `SELECT outcrier.answer_wake_up(1)`, denied},
}

// The minimum that the owner sets holds for a server, however its call is worded: it
// can't remove today's evidence.
func TestRoles_TheOwnersMinimumRetentionBindsTheServer(t *testing.T) {
	t.Parallel()
	g := guard(t)
	writer, server := connect(t, g.writer), connect(t, g.server)
	exec(t, g.admin, `CREATE OR REPLACE FUNCTION outcrier.minimum_retention() RETURNS interval LANGUAGE sql STABLE PARALLEL SAFE RETURN interval '7 days'`)
	exec(t, writer, `INSERT INTO outbox (topic, type) SELECT 'a', 't' FROM generate_series(1, 5)`)
	exec(t, server, `SELECT outcrier.heartbeat(1, 'n', 0, NULL, NULL)`)
	exec(t, g.admin, `UPDATE outcrier.event SET created_at = created_at - interval '6 days'`)
	held := func() int { return ask[int](t, g.admin, `SELECT count(*) FROM outcrier.event WHERE topic <> ''`) }
	if n := held(); n != 5 {
		t.Fatalf("%d events", n)
	}
	for _, retention := range []string{
		"6 days", "1 minute", "-1 day", "6 days 23:59:59.999999", "-infinity",
		// Seven days and more by Postgres's comparison, where a month has 30 days, and not in time.
		"-120 months 3607 days", "-12 months 367 days", "-1200 months 36007 days", "-1 month 37 days -20:00",
	} {
		for _, remove := range []string{
			`SELECT outcrier.drop_partition($1::interval)`, `SELECT outcrier.delete_expired('a', $1::interval)`,
			`SELECT outcrier.delete_expired('**', $1::interval)`, `SELECT outcrier.purge_records($1::interval)`,
		} {
			_, err := server.Exec(t.Context(), remove, pgx.QueryExecModeSimpleProtocol, retention)
			pg := new(pgconn.PgError)
			if errors.As(err, &pg); pg.Code != "22023" && (retention != "-infinity" || pg.Code == "") { // invalid_parameter_value
				t.Errorf("%s: %s: %v", retention, remove, err)
			}
			if n := held(); n != 5 {
				t.Fatalf("%s: %s leaves %d events", retention, remove, n)
			}
		}
	}
	// What a server can change of its session does not move the bound.
	exec(t, server, `SET TimeZone = 'Pacific/Kiritimati'; SET IntervalStyle = 'sql_standard'; SET DateStyle = 'German, DMY'; SET search_path = pg_temp, outcrier`)
	exec(t, server, `CREATE TEMP VIEW minimum AS SELECT interval '1 minute'`)
	if _, err := server.Exec(t.Context(), `CREATE OR REPLACE FUNCTION outcrier.minimum_retention() RETURNS interval LANGUAGE sql STABLE RETURN interval '0'`); err == nil {
		t.Error("the server replaces the minimum")
	}
	exec(t, server, `SELECT outcrier.drop_partition('7 days'), outcrier.delete_expired('a', '7 days'), outcrier.purge_records('0')`)
	if n := held(); n != 5 {
		t.Errorf("%d events are left", n)
	}
}

// It runs alone: members of roles belong to the cluster. And its roles are its own, or they would
// stay for TestRoles_SayWhatIsMissing.
func TestRoles_Attacks(t *testing.T) {
	address, admin := empty(t)
	g := makeGuard(t, address, admin, login)
	conns := map[string]*pgx.Conn{
		"writer": connect(t, g.writer), "reader": connect(t, g.reader), "operator": connect(t, g.operator),
		"server": connect(t, g.server), "stranger": connect(t, g.stranger),
	}
	exec(t, conns["writer"], `INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', 't', 'k1')`)
	exec(t, conns["writer"], `SELECT outcrier.append('a', 't', deliver_at => now() + interval '1 hour')`)
	exec(t, conns["server"], `SELECT outcrier.settle(), nextval('outcrier.wake_request')`)
	exec(t, conns["server"], `SELECT outcrier.heartbeat(1, 'n', 0, NULL, NULL)`)
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

// Anyone may take any advisory lock; nothing that the database does for itself
// may wait for one.
func TestRoles_HeldAdvisoryLocksStopNothing(t *testing.T) {
	t.Parallel()
	g := guard(t)
	hostile, server := connect(t, g.stranger), connect(t, g.server)
	exec(t, hostile, `SELECT pg_advisory_lock(oid::int, 0), pg_advisory_lock(oid::bigint) FROM pg_class WHERE relname IN ('removal', 'scheduled', 'history_id', 'event', 'maintenance')`)
	exec(t, connect(t, g.writer), `SELECT outcrier.append('a', 't', deliver_at => now() + interval '1 hour')`)
	due(t, g.admin, "a")
	past(t, connect(t, g.owner))
	testkit.Eventually(t, "the event is delivered", func() bool { return ask[int](t, server, `SELECT outcrier.deliver_scheduled()`) == 1 })
	if got := ask[string](t, server, `SELECT coalesce(outcrier.drop_partition('1 day'), 'nothing')`); got != "event_2020_01_01" {
		t.Errorf("dropped is %s", got)
	}
	exec(t, g.admin, `UPDATE outcrier.history_id SET system_identifier = 1`)
	exec(t, server, `SET statement_timeout = '5s'`)
	exec(t, server, `SELECT outcrier.settle()`)
}

// past makes a partition for retention to drop.
func past(t *testing.T, owner *pgx.Conn) {
	t.Helper()
	exec(t, owner, `CREATE TABLE outcrier.event_2020_01_01 PARTITION OF outcrier.event FOR VALUES FROM ('2020-01-01+00') TO ('2020-01-02+00')`)
	exec(t, owner, `INSERT INTO outcrier.event (topic, type, created_at) VALUES ('past', 't', '2020-01-01 12:00+00')`)
	exec(t, owner, `INSERT INTO outbox (topic, type) VALUES ('present', 't')`)
}

func TestRoles_WriterAppends(t *testing.T) {
	t.Parallel()
	g := guard(t)
	writer := connect(t, g.writer)
	exec(t, writer, `INSERT INTO outbox (topic, type) VALUES ('plain', 't')`)
	exec(t, writer, `INSERT INTO outbox (topic, type, payload, source, headers, dedup_key) VALUES ('all', 't', '1', '/s', '{"h": "v"}', 'k')`)
	if id := ask[int64](t, writer, `INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)
		VALUES (1, 'orm', 't', DEFAULT, '', 'null', '', NULL, DEFAULT) RETURNING id`); id != 3 {
		t.Errorf("a row of all columns got id %d", id)
	}
	if id := ask[int64](t, writer, `SELECT lastval()`); id != 3 {
		t.Errorf("lastval() is %d", id)
	}
	if id := ask[int64](t, writer, `SELECT outcrier.append('function', 't')`); id != 4 {
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
		outbox.Draft{Topic: "all", Type: "t", DedupKey: "k"}, outbox.Draft{Topic: "go", Type: "t", DeliverAt: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	var own int
	if err := tx.QueryRow(t.Context(), `SELECT count(*) FROM outbox`).Scan(&own); err != nil || own != 2 {
		t.Errorf("the transaction sees %d of its own, %v", own, err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := ask[string](t, g.admin, `SELECT string_agg(topic, ' ' ORDER BY id) FROM outcrier.history`); got != "plain all orm function copied copied go" {
		t.Errorf("appended is %s", got)
	}
	if n := ask[int](t, writer, `SELECT count(*) FROM outbox`); n != 0 {
		t.Errorf("it sees %d events of others", n)
	}
	if p := ask[string](t, connect(t, g.server), `SELECT outcrier.settle()::text`) + ask[string](t, writer, `SELECT outcrier.position()`); p == "" {
		t.Error("no position")
	}
	// A refusal is explained in words.
	_, err = writer.Exec(t.Context(), `INSERT INTO outbox (topic, type) VALUES ('/', 't')`)
	if err == nil || !strings.Contains(err.Error(), `segments separated by "/"`) {
		t.Errorf("%v", err)
	}
}

func TestRoles_ReaderReadsTheHistory(t *testing.T) {
	t.Parallel()
	g := guard(t)
	exec(t, connect(t, g.writer), `INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
	exec(t, connect(t, g.server), `SELECT outcrier.settle()`)
	reader := connect(t, g.reader)
	if n := ask[int](t, reader, `SELECT count(*) FROM outcrier.history WHERE xid IS NOT NULL AND created_at <= now()`); n != 1 {
		t.Errorf("it sees %d events", n)
	}
	for _, view := range []string{"receipts", "people", "topics", "event_type"} {
		exec(t, reader, `SELECT count(*) FROM outcrier.`+view)
	}
	if p := ask[string](t, reader, `SELECT outcrier.position()`); !strings.HasPrefix(p, "1.") {
		t.Errorf("position %s", p)
	}
}

// People on call read what goes on, and change nothing.
func TestRoles_OperatorLooks(t *testing.T) {
	t.Parallel()
	g := guard(t)
	operator := connect(t, g.operator)
	for _, what := range []string{"history", "receipts", "people", "topics", "lag", "stream", "node", "scheduled", "removal", "erasure"} {
		exec(t, operator, `SELECT count(*) FROM outcrier.`+what)
	}
}

// All that outcrier serve does with its database, as one that owns none of it.
func TestRoles_ServerServes(t *testing.T) {
	t.Parallel()
	g := guard(t)
	owner, writer := connect(t, g.owner), connect(t, g.writer)
	past(t, owner)
	// The day after tomorrow's, which is there already, is to be made again, and
	// with a host's default privileges.
	exec(t, owner, `ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO outcrier_writer, PUBLIC`)
	exec(t, owner, `DO $$BEGIN EXECUTE format('DROP TABLE outcrier.%I', to_char(now() AT TIME ZONE 'UTC' + interval '2 days', '"event_"YYYY_MM_DD')); END$$`)

	pool := outboxtest.Pool(t, g.server)
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	t.Cleanup(func() { cancel(); group.Wait() })
	started, topics := make(chan position.Position, 10), make(chan string, 100)
	follower := &tail.Tail{
		URL: g.server, Log: log, IdleTurn: 30 * time.Second, Keys: new(position.Keys),
		Start: func(p position.Position) { started <- p },
		Deliver: func(r tail.Read) {
			for _, e := range r.Events {
				topics <- e.Topic
			}
		},
	}
	group.Go(func() { _ = follower.Run(ctx) })
	group.Go(func() { _ = upkeep.Schedule{Pool: pool, Log: log}.Run(ctx) })
	recorder := &audit.Recorder{Pool: pool, Keys: follower.Keys, Node: "n", Log: log}
	group.Go(func() { _ = recorder.Run(ctx) })
	start := within(t, started)
	awaitListen := func() {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !follower.Status().Listening; {
			if time.Now().After(deadline) {
				t.Fatalf("%+v", follower.Status())
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	awaitListen()
	exec(t, writer, `INSERT INTO outbox (topic, type) VALUES ('written', 't')`)
	exec(t, writer, `SELECT outcrier.append('due', 't', deliver_at => now() + interval '1 hour')`)
	due(t, g.admin, "due")
	for _, want := range []string{"written", "due"} {
		if got := within(t, topics); got != want {
			t.Errorf("the tail got %s, want %s", got, want)
		}
	}
	// Strangers may notify, with whatever they like.
	stranger, channel := connect(t, g.stranger), "outcrier"
	for _, request := range []string{"", "0", "-1", "1", "2", "9223372036854775807", "99999999999999999999", "proof x", strings.Repeat("x", 7000)} {
		exec(t, stranger, `SELECT pg_notify('`+channel+`', '`+request+`')`)
	}
	time.Sleep(100 * time.Millisecond) // let the tail fall asleep on them
	exec(t, writer, `INSERT INTO outbox (topic, type) VALUES ('woken', 't')`)
	if got := within(t, topics); got != "woken" {
		t.Errorf("the tail got %s", got)
	}

	retention := upkeep.Retention{Pool: pool, Keep: 24 * time.Hour, Log: log}
	for deadline := time.Now().Add(time.Minute); ask[int](t, g.admin, `SELECT count(*) FROM outcrier.removal`) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("retention drops nothing")
		}
		if err := retention.Turn(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	made := ask[string](t, g.admin, `SELECT to_regclass('outcrier.' || to_char(now() AT TIME ZONE 'UTC' + interval '2 days', '"event_"YYYY_MM_DD'))::text`)
	for _, role := range []string{"outcrier_writer", "outcrier_reader", "outcrier_server", "outcrier_operator", "public"} {
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

	reader := replay.Reader{Pool: pool}
	earliest, err := reader.Earliest(t.Context(), position.Position{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Before(t.Context(), time.Now().Add(-time.Hour), position.Position{}); err != nil {
		t.Error(err)
	}
	if _, gap, err := reader.Verify(t.Context(), start, outbox.Filter{}, position.Position{}); gap != nil || err != nil {
		t.Errorf("%+v, %v", gap, err)
	}
	now, err := follower.Keys.Open(ask[string](t, connect(t, g.server), `SELECT outcrier.position()`))
	if err != nil {
		t.Fatal(err)
	}
	var replayed []string
	for _, rng := range replay.Ranges(earliest, now) {
		page, err := reader.Replay(t.Context(), rng, outbox.Filter{Topics: []outbox.Pattern{"**"}}, 100, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			replayed = append(replayed, e.Topic)
		}
	}
	if got := strings.Join(replayed, " "); got != "present written due woken posted" {
		t.Errorf("replayed are %s", got)
	}
	record := recorder.Opened(audit.Stream{Subject: "ann", Filter: outbox.Filter{Topics: []outbox.Pattern{"*"}}, From: earliest})
	record.Progress(now, len(replayed), now.EventID)
	record.Closed("left")
	auditor := connect(t, g.reader)
	for deadline := time.Now().Add(time.Minute); ask[int](t, auditor, `SELECT count(*) FROM outcrier.receipts WHERE subject = 'ann'`) != len(replayed); {
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
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
	}
	return value
}

func TestRoles_SeveralOutboxesShareThem(t *testing.T) {
	t.Parallel()
	g := guard(t)
	name, owner := login(t, g.admin, g.address, "CREATEROLE")
	exec(t, g.admin, `CREATE SCHEMA "Another One" AUTHORIZATION `+name+`; CREATE SCHEMA app AUTHORIZATION `+name)
	m := migrations.Migrations{URL: owner, Schema: "Another One", Outbox: "app.outbox"}
	up(t, m)
	writer := connect(t, g.writer)
	if _, err := writer.Exec(t.Context(), `INSERT INTO app.outbox (topic, type) VALUES ('a', 't')`); err == nil {
		t.Error("a writer of one is a writer of the other, before that has roles")
	}
	if err := m.Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec(t, writer, `INSERT INTO app.outbox (topic, type) VALUES ('a', 't')`)
	exec(t, writer, `INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
	if err := m.Drop(t.Context(), g.admin.Config().Database); err != nil {
		t.Fatal(err)
	}
	exec(t, writer, `INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
}

// It runs alone: it drops roles, which belong to the cluster.
func TestRoles_SayWhatIsMissing(t *testing.T) {
	address, admin := empty(t)
	name, owner := login(t, admin, address, "")
	exec(t, admin, `GRANT CREATE ON DATABASE `+admin.Config().Database+` TO `+name+`; GRANT CREATE ON SCHEMA public TO `+name)
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
	fails("without an outbox", "outcrier migrate up")
	up(t, m)
	_, err := admin.Exec(t.Context(), `DROP ROLE IF EXISTS outcrier_writer, outcrier_reader, outcrier_server, outcrier_operator, outcrier_eraser, outcrier_two_phase`)
	if err == nil {
		fails("without CREATEROLE", "role outcrier_writer does not exist, and "+name+" may not create it", "CREATE ROLE outcrier_server NOLOGIN;")
	} // otherwise other outboxes of the cluster use them
	exec(t, admin, `ALTER ROLE `+name+` CREATEROLE`)
	exec(t, admin, `GRANT CREATE ON SCHEMA outcrier TO PUBLIC`)
	fails("in an open schema", "PUBLIC may create objects in schema", `REVOKE CREATE ON SCHEMA "outcrier" FROM PUBLIC`)
	exec(t, admin, `REVOKE CREATE ON SCHEMA outcrier FROM PUBLIC; REVOKE USAGE ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO `+name)
	fails("with the view in another's schema", name+" may not grant the use of schema public", "GRANT USAGE ON SCHEMA public TO outcrier_writer")
	exec(t, admin, `GRANT USAGE ON SCHEMA public TO PUBLIC`)
	if err := m.Roles(t.Context()); err != nil {
		t.Error(err)
	}
	exec(t, admin, `DROP VIEW outbox`)
	fails("without the view", "outcrier migrate up")
}

// What --print gives is what Roles does, for psql.
func TestRolesSQL_IsForSomebodyElse(t *testing.T) {
	t.Parallel()
	address, admin := migrated(t)
	exec(t, admin, `CREATE SCHEMA app; ALTER VIEW outbox SET SCHEMA app`)
	m := migrations.Migrations{URL: address}
	text, err := m.RolesSQL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		mustRun(t, text, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", address)
	}
	if !ask[bool](t, admin, `SELECT has_table_privilege('outcrier_writer', 'app.outbox', 'INSERT') AND has_schema_privilege('outcrier_writer', 'app', 'USAGE')`) {
		t.Error("it grants nothing")
	}
}

// The rights of roles outlive what Up restores.
func TestUp_RenewsRoles(t *testing.T) {
	t.Parallel()
	address, conn := migrated(t)
	m := migrations.Migrations{URL: address}
	if ask[bool](t, conn, `SELECT has_schema_privilege(coalesce((SELECT oid FROM pg_roles WHERE rolname = 'outcrier_writer'), 0), 'outcrier', 'USAGE')`) {
		t.Error("roles were granted that nobody asked for")
	}
	if err := m.Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, `DROP VIEW outbox; GRANT EXECUTE ON FUNCTION outcrier.revoke_rights TO PUBLIC`)
	up(t, m)
	if !ask[bool](t, conn, `SELECT has_table_privilege('outcrier_writer', 'outbox', 'INSERT') AND has_table_privilege('outcrier_reader', 'outcrier.history', 'SELECT')`) {
		t.Error("the roles lack what was restored")
	}
}

func TestRoles_ManyAtOnce(t *testing.T) {
	t.Parallel()
	address, _ := migrated(t)
	m := migrations.Migrations{URL: address}
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
	t.Parallel()
	g := guard(t)
	name, _ := login(t, g.admin, g.address, "")
	exec(t, connect(t, g.owner), `GRANT DELETE ON outcrier.event TO `+name)
	var log strings.Builder
	if err := (migrations.Migrations{URL: g.owner, Log: slog.New(slog.NewTextHandler(&log, nil))}).Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := name + " has rights besides these roles: DELETE on outcrier.event"; !strings.Contains(log.String(), want) {
		t.Errorf("log %q, want %q", log.String(), want)
	}
}

// Who may erase may do nothing else, and can't take back that it did.
func TestRoles_EraserErasesAndNoMore(t *testing.T) {
	t.Parallel()
	g := guard(t)
	exec(t, connect(t, g.writer), `INSERT INTO outbox (topic, type) VALUES ('a', 't'), ('a', 't'), ('user/1', 't')`)
	_, as := login(t, g.admin, g.address, "IN ROLE outcrier_eraser")
	eraser := connect(t, as)
	exec(t, eraser, `SET outcrier.admin = 'root'`)
	exec(t, eraser, `SELECT outcrier.erase(1, 'a mistake'), outcrier.redact(2, '{}', 'request 7'), outcrier.erase('user/**', 'closed')`)
	for _, statement := range []string{
		`SELECT FROM outcrier.history`, `SELECT FROM outcrier.event`, `SELECT FROM outcrier.erasure`, `DELETE FROM outcrier.erasure`, `UPDATE outcrier.erasure SET reason = 'x'`,
		`INSERT INTO outbox (topic, type) VALUES ('a', 't')`, `DELETE FROM outcrier.event`, `SELECT outcrier.reset()`, `SELECT outcrier.cancel(1)`, `SELECT outcrier.erase_found(2, NULL, 'x')`,
	} {
		var pg *pgconn.PgError
		if _, err := eraser.Exec(t.Context(), statement); !errors.As(err, &pg) || pg.Code != "42501" {
			t.Errorf("%s: %v", statement, err)
		}
	}
	var record string
	if err := connect(t, g.owner).QueryRow(t.Context(), `SELECT string_agg(kind || ' ' || events || ' ' || reason || ' for ' || split_part(erased_by, ' for ', 2), ', ' ORDER BY erasure) FROM outcrier.erasure`).Scan(&record); err != nil {
		t.Fatal(err)
	}
	if want := "erase 1 a mistake for root, redact 1 request 7 for root, erase 1 closed for root"; record != want {
		t.Errorf("on record is %q, want %q", record, want)
	}
}
