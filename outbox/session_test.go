package outbox_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/catalogue"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/outbox/upkeep"
)

// plainPool is what a node has.
func plainPool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	config, err := outbox.PoolConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// deliveries are what a tail delivered, from where it started to the position of the last event.
type deliveries struct {
	mu              sync.Mutex
	start, position position.Position
	events          []outbox.Event
}

func (d *deliveries) take(r tail.Read) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, r.Events...)
	if n := len(r.Events); n > 0 {
		d.position = r.At(n - 1)
	}
}

func (d *deliveries) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.events)
}

// work runs a tail, a reader and all the other parts, and compares the results.
func work(t *testing.T, url string, schema outbox.Schema) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	pool := plainPool(t, url)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	c := &deliveries{}
	follower := &tail.Tail{URL: url, Schema: schema, Log: log, IdleTurn: 100 * time.Millisecond, Deliver: c.take,
		Start: func(p position.Position) { c.mu.Lock(); defer c.mu.Unlock(); c.start = p }}
	running, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { _ = follower.Run(running) })
	defer group.Wait()
	defer stop()
	for !follower.Status().Following {
		if ctx.Err() != nil {
			t.Fatalf("the tail does not follow: %v", follower.Status().Err)
		}
		time.Sleep(time.Millisecond)
	}

	const payload = `{"größe":  "漢字 🎈 \\ ' \" \u0000"}`
	at := time.Now().Add(400 * time.Millisecond)
	draft := outbox.Draft{Topic: "é/漢字", Type: "größe.geändert", Payload: []byte(payload), Source: "/ü", Headers: map[string]string{"k": "ß"}, DedupKey: "ключ"}
	later := outbox.Draft{Topic: "später", Type: "t", DeliverAt: at}
	var ids []int64
	for range 3 { // the second and third are retries
		must("append", outbox.InTransaction(ctx, pool, func(tx pgx.Tx) (err error) {
			ids, err = schema.Append(ctx, tx, draft)
			return err
		}))
	}
	must("append for later", outbox.InTransaction(ctx, pool, func(tx pgx.Tx) error {
		_, err := schema.Append(ctx, tx, later)
		return err
	}))
	for time.Now().Before(at) {
		time.Sleep(time.Millisecond)
	}
	scheduling, done := context.WithCancel(ctx)
	group.Go(func() { _ = upkeep.Schedule{Pool: pool, Schema: schema, Log: log}.Run(scheduling) })
	for c.count() < 2 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	done()
	check := func(who string, e outbox.Event) {
		t.Helper()
		if e.ID != ids[0] || e.Topic != draft.Topic || e.Type != draft.Type || string(e.Payload) != payload || e.Source != draft.Source ||
			e.Headers["k"] != "ß" || time.Since(e.CreatedAt).Abs() > time.Minute {
			t.Errorf("%s has %+v with %s", who, e, e.Payload)
		}
	}
	c.mu.Lock()
	events, start, w := c.events, c.start, c.position
	c.mu.Unlock()
	if len(events) != 2 || events[1].Topic != "später" {
		t.Fatalf("delivered are %+v", events)
	}
	check("the tail", events[0])

	reader := replay.Reader{Pool: pool, Schema: schema}
	_, gap, err := reader.Verify(ctx, start, sqltest.All("**"), w)
	must("verify", err)
	if gap != nil {
		t.Errorf("%+v", gap)
	}
	from, err := reader.Earliest(ctx, w)
	must("earliest", err)
	page, err := reader.Replay(ctx, replay.Ranges(from, w)[0], sqltest.All("é/*"), 10, 0)
	must("replay", err)
	if len(page.Events) != 1 {
		t.Fatalf("replayed are %+v", page.Events)
	}
	check("a replay", page.Events[0])
	_, err = reader.Before(ctx, time.Now().Add(-time.Hour), w)
	must("before", err)
	survey, err := upkeep.TakeSurvey(ctx, pool, schema)
	must("survey", err)
	if survey.DaysAhead < 3 {
		t.Errorf("%+v", survey)
	}

	recorder := &audit.Recorder{Pool: pool, Schema: schema, Node: "nœud", Log: log}
	record := recorder.Opened(audit.Stream{Subject: "änn", ClientAddress: "192.0.2.1", Filter: sqltest.All("é/**"), From: start})
	record.Progress(w, 1, ids[0])
	record.Closed("left")
	must("audit", recorder.Turn(ctx))
	a := admin.New(pool)
	a.Schema = schema
	receipts, err := a.Receipts(ctx, ids[0], 0, 0)
	must("receipts", err)
	if len(receipts) != 1 || receipts[0].Subject != "änn" {
		t.Errorf("%+v", receipts)
	}
	found, err := a.Search(ctx, admin.Search{Text: "漢字 🎈", Topic: "é/*", From: time.Now().Add(-time.Hour), Limit: 10})
	must("search", err)
	detail, is, err := a.Event(ctx, ids[0])
	must("event", err)
	if len(found.Events) != 1 || !is || detail.Payload != payload || !strings.Contains(detail.SQL, schema.SQL("FROM outcrier.history")) {
		t.Errorf("%+v, %+v", found, detail)
	}
	overview, err := a.Overview(ctx)
	must("overview", err)
	if len(overview.Topics) != 2 || len(overview.Nodes) != 1 {
		t.Errorf("%+v", overview)
	}
	must("retention", upkeep.Retention{Pool: pool, Schema: schema, Keep: time.Hour, Rules: []upkeep.Rule{{Pattern: "x/**", Keep: time.Hour}}, Log: log}.Turn(ctx))
	entries := catalogue.Catalogue{Pool: pool, Schema: schema}
	_, err = entries.Edit(ctx, false, func(types []catalogue.EventType) ([]catalogue.EventType, error) {
		return append(types, catalogue.EventType{Type: "größe", Title: "Größe", PayloadSchema: []byte(`{"required": ["漢字"]}`)}), nil
	})
	must("edit the catalogue", err)
	types, err := entries.List(ctx)
	must("list the catalogue", err)
	if !slices.ContainsFunc(types, func(e catalogue.EventType) bool { return e.Title == "Größe" }) {
		t.Errorf("%+v", types)
	}
	err = outbox.InTransaction(ctx, pool, func(tx pgx.Tx) error {
		_, err := schema.Append(ctx, tx, outbox.Draft{Topic: "a", Type: "größe"})
		return err
	})
	if reason, refused := outbox.Refused(err); !refused || !strings.Contains(reason, "漢字") {
		t.Errorf("a payload that does not match its schema: %v", err)
	}
}

// hostileSettings are what a role or a database may have set.
var hostileSettings = map[string]string{
	"client_encoding": "LATIN1", "standard_conforming_strings": "off", "DateStyle": "German, DMY", "IntervalStyle": "iso_8601", "TimeZone": "Asia/Kathmandu",
	"bytea_output": "escape", "extra_float_digits": "-15", "array_nulls": "off", "transform_null_equals": "on", "quote_all_identifiers": "on",
	"search_path": "evil, pg_catalog", "row_security": "off", "session_replication_role": "replica",
	"default_transaction_isolation": "serializable", "default_transaction_read_only": "on", "default_transaction_deferrable": "on",
	"statement_timeout": "1ms", "lock_timeout": "1ms", "idle_in_transaction_session_timeout": "1ms", "idle_session_timeout": "1ms", "transaction_timeout": "100ms",
	"plan_cache_mode": "force_custom_plan", "enable_indexscan": "off", "enable_nestloop": "off", "enable_partition_pruning": "off", "jit": "on", "jit_above_cost": "0",
	"restrict_nonsystem_relation_kind": "view", "default_tablespace": "pg_default", "lc_messages": "C", "synchronous_commit": "off", "work_mem": "64kB",
}

// evilSQL makes what a path that begins with the schema finds before Postgres's own, or
// better: functions and operators that fail.
const evilSQL = `
CREATE SCHEMA evil;
CREATE FUNCTION evil.fail() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RAISE ''called by the path''; END';
CREATE FUNCTION evil.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT evil.fail()';
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL::timestamptz WHERE evil.fail()';
CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL::timestamptz WHERE evil.fail()';
CREATE FUNCTION evil.pg_current_snapshot() RETURNS pg_snapshot LANGUAGE sql AS 'SELECT NULL::pg_snapshot WHERE evil.fail()';
CREATE FUNCTION evil.pg_current_xact_id() RETURNS xid8 LANGUAGE sql AS 'SELECT NULL::xid8 WHERE evil.fail()';
CREATE FUNCTION evil.nextval(text) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint WHERE evil.fail()';
CREATE FUNCTION evil.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT $1 WHERE evil.fail()';
CREATE FUNCTION evil.current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT $1 WHERE evil.fail()';
CREATE FUNCTION evil.current_setting(text, boolean) RETURNS text LANGUAGE sql AS 'SELECT $1 WHERE evil.fail()';
CREATE FUNCTION evil.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'SELECT evil.fail()';
CREATE FUNCTION evil.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE sql AS 'SELECT $1[1] WHERE evil.fail()';
CREATE FUNCTION evil.equal(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT evil.fail()';
CREATE FUNCTION evil.equal(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT evil.fail()';
CREATE FUNCTION evil.equal(xid8, xid8) RETURNS boolean LANGUAGE sql AS 'SELECT evil.fail()';
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.equal);
CREATE OPERATOR evil.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.equal);
CREATE OPERATOR evil.= (LEFTARG = xid8, RIGHTARG = xid8, FUNCTION = evil.equal);
CREATE OPERATOR evil.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.equal);
CREATE OPERATOR evil.< (LEFTARG = xid8, RIGHTARG = xid8, FUNCTION = evil.equal);
CREATE OPERATOR evil.> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.equal);
CREATE TABLE evil.pg_settings (name text);
CREATE TABLE evil.pg_class (oid oid);
CREATE DOMAIN evil.xid8 AS text;
CREATE DOMAIN evil.text AS bigint;
`

// set has every session of the database begin with a setting, if the server has it.
func set(t *testing.T, url, name, value string) {
	t.Helper()
	conn, err := outbox.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if sqltest.Ask1[*string](t, conn, `SELECT current_setting($1, true)`, name) == nil {
		t.Skipf("the server has no %s", name)
	}
	sqltest.Exec(t, conn, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET `+name+` = `+quoted(name, value)+`', current_database()); END $$`)
}

func quoted(name, value string) string {
	if name == "search_path" || name == "DateStyle" {
		return value
	}
	return "''" + value + "''"
}

// Whatever a role or the database has set, for reasons of their own or of somebody
// else's, changes nothing of what a node does.
func TestSession_DependsOnNobodysSettings(t *testing.T) {
	t.Parallel()
	for name, value := range hostileSettings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := outboxtest.URL(t)
			conn := sqltest.Connection(t, url)
			if _, err := conn.PgConn().Exec(t.Context(), evilSQL).ReadAll(); err != nil {
				t.Fatal(err)
			}
			set(t, url, name, value)
			work(t, url, "")
		})
	}
	t.Run("all of them", func(t *testing.T) {
		t.Parallel()
		url := outboxtest.URL(t)
		if _, err := sqltest.Connection(t, url).PgConn().Exec(t.Context(), evilSQL).ReadAll(); err != nil {
			t.Fatal(err)
		}
		conn := sqltest.Connection(t, url)
		for name, value := range hostileSettings {
			if sqltest.Ask1[*string](t, conn, `SELECT current_setting($1, true)`, name) != nil {
				set(t, url, name, value)
			}
		}
		work(t, url, "")
	})
}

// An outbox may be in any schema, and several in one database.
func TestSchema_WorksUnderAnyName(t *testing.T) {
	t.Parallel()
	url := outboxtest.URL(t)
	work(t, url, outboxtest.Schema(t, url))
	work(t, url, "")
}

// A pooler that refuses or swallows the settings that a session begins with must not
// be the cause of anything; nor may its sessions, which are others' too, be changed.
func TestSession_WorksThroughATransactionPooler(t *testing.T) {
	t.Parallel()
	for name, refuses := range map[string]bool{"that refuses settings": true, "that swallows them": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := outboxtest.URL(t)
			if _, err := sqltest.Connection(t, url).PgConn().Exec(t.Context(), evilSQL).ReadAll(); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"client_encoding", "DateStyle", "search_path", "default_transaction_isolation", "default_transaction_read_only", "array_nulls", "enable_nestloop"} {
				set(t, url, name, hostileSettings[name])
			}
			through, p := pooled(t, url, refuses)
			const asked = `SELECT pg_catalog.concat_ws(' ', pg_catalog.current_setting('client_encoding'), pg_catalog.current_setting('search_path'),
				pg_catalog.current_setting('enable_seqscan'), pg_catalog.current_setting('default_transaction_read_only'), pg_catalog.current_setting('statement_timeout'),
				(SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_statements))`
			before := p.sessions(asked)
			work(t, through, "")
			if after := p.sessions(asked); !slices.Equal(after, before) {
				t.Errorf("its sessions are left as\n%v, and were\n%v", after, before)
			}
		})
	}
}

// Where a setting can't be had without which events would be missed, nothing is read or
// written, and the error names it.
func TestSession_NamesWhatItCanNotDoWithout(t *testing.T) {
	t.Parallel()
	url := outboxtest.URL(t)
	if err := (migrations.Migrations{URL: url}).Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	set(t, url, "session_replication_role", "replica")
	asServer := url + "&options=-c%20role%3Doutcrier_server" // who may not set it
	if _, err := outbox.Connect(t.Context(), asServer); err == nil || !strings.Contains(err.Error(), `session_replication_role = "replica"`) {
		t.Errorf("%v", err)
	}
	if err := plainPool(t, asServer).Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "session_replication_role") {
		t.Errorf("%v", err)
	}
}

// Policies on a table hide its rows from all but the owner. That is not the same as an
// outbox without events: every reader reports it.
func TestSession_RowLevelSecurityIsNoEmptyOutbox(t *testing.T) {
	t.Parallel()
	url := outboxtest.URL(t)
	if err := (migrations.Migrations{URL: url}).Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	owner := outboxtest.Pool(t, url)
	ids := sqltest.AddNow(t, owner, "a", 2)
	sqltest.Exec(t, owner, `ALTER TABLE outcrier.event ENABLE ROW LEVEL SECURITY; ALTER TABLE outcrier.stream ENABLE ROW LEVEL SECURITY`)
	asServer := url + "&options=-c%20role%3Doutcrier_server"
	swallowed, _ := pooled(t, asServer, false)
	for name, url := range map[string]string{"direct": asServer, "through a pooler": swallowed} {
		follower := &tail.Tail{URL: url, Log: slog.New(slog.DiscardHandler), Start: func(position.Position) { t.Error("it starts") }, Deliver: func(tail.Read) {}}
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { _ = follower.Run(ctx) })
		testkit.Eventually(t, "the tail says what is wrong", func() bool { return follower.Status().Err != nil })
		if err := follower.Status().Err; !strings.Contains(fmt.Sprint(err), "row level security is on for table outcrier.event, outcrier.stream") || follower.Status().Following {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		group.Wait()
		reader := replay.Reader{Pool: plainPool(t, url)}
		if p, err := reader.Earliest(t.Context(), position.Position{}); err == nil || !strings.Contains(err.Error(), "row-level security") {
			t.Errorf("%s: the earliest position is %v, %v", name, p, err)
		}
	}
	// For the owner nothing has changed, unless it is forced.
	if got := sqltest.Replay(t, replay.Reader{Pool: owner}, sqltest.Earliest(t, replay.Reader{Pool: owner}), sqltest.Here(t, owner), sqltest.All("**"), 10); !slices.Equal(got, ids) {
		t.Errorf("the owner has %v, want %v", got, ids)
	}
}
