package migrations_test

import (
	"context"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

func TestDrop_LeavesNothingAndUpWorksAgain(t *testing.T) {
	t.Parallel()
	address, conn := empty(t)
	m := migrations.Migrations{URL: address}
	before := ask[string](t, conn, `SELECT string_agg(nspname, ' ' ORDER BY 1) FROM pg_namespace WHERE nspname !~ '^pg_'`)
	for range 2 {
		up(t, m)
		if err := m.Roles(t.Context()); err != nil {
			t.Fatal(err)
		}
		exec(t, conn, `INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', 't', 'k')`)
		exec(t, conn, `SELECT outcrier.append('a', 't', deliver_at => now() + interval '1 hour')`)
		if err := m.Drop(t.Context(), conn.Config().Database); err != nil {
			t.Fatal(err)
		}
		left := ask[string](t, conn, `SELECT coalesce(string_agg(name, ' '), '') FROM (
			SELECT relname::text AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace
			UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace) AS o`)
		if left != "" {
			t.Errorf("it leaves %s", left)
		}
		if after := ask[string](t, conn, `SELECT string_agg(nspname, ' ' ORDER BY 1) FROM pg_namespace WHERE nspname !~ '^pg_'`); after != before {
			t.Errorf("the schemas were %s and are %s", before, after)
		}
	}
}

func TestDrop_AsksForTheDatabaseAndWaitsForItsNodes(t *testing.T) {
	t.Parallel()
	address, conn := migrated(t)
	m := migrations.Migrations{URL: address}
	name := conn.Config().Database
	fails := func(database string, want ...string) {
		t.Helper()
		err := m.Drop(t.Context(), database)
		for _, part := range want {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%v, want %q", err, part)
			}
		}
		if !ask[bool](t, conn, `SELECT to_regclass('outcrier.event') IS NOT NULL AND to_regclass('outbox') IS NOT NULL`) {
			t.Fatal("it is gone")
		}
	}
	fails("", name, "nothing is dropped")
	fails("production", name, `"production"`)
	exec(t, conn, `SELECT outcrier.heartbeat(1, 'web-1', 3, NULL, NULL), outcrier.heartbeat(2, 'web-2', 0, NULL, NULL)`)
	fails(name, "nodes run on this outbox: web-1 (")
	fails(name, " s ago), web-2 (")
	exec(t, conn, `UPDATE outcrier.node SET seen_at = now() - interval '31 seconds' WHERE run = 1`)
	fails(name, "web-2")
	exec(t, conn, `SELECT outcrier.stop_node(2)`)
	if err := m.Drop(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := m.Drop(t.Context(), name); err == nil || !strings.Contains(err.Error(), "has no schema") {
		t.Errorf("a second time: %v", err)
	}
	exec(t, conn, `CREATE SCHEMA outcrier; CREATE TABLE outcrier.invoice ()`)
	if err := m.Drop(t.Context(), name); err == nil || !strings.Contains(err.Error(), "is not Outcrier's") {
		t.Errorf("of another schema: %v", err)
	}
}

// Another outbox of the database stays.
func TestDrop_IsOfOneOutbox(t *testing.T) {
	t.Parallel()
	address, conn := migrated(t)
	second := migrations.Migrations{URL: address, Schema: outboxtest.Schema(t, address)}
	exec(t, conn, `INSERT INTO second_outbox (topic, type) VALUES ('a', 't'); INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
	if err := second.Drop(t.Context(), conn.Config().Database); err != nil {
		t.Fatal(err)
	}
	if n := ask[int](t, conn, `SELECT count(*) FROM outcrier.history WHERE to_regclass('second_outbox') IS NULL`); n != 1 {
		t.Errorf("%d events", n)
	}
	works(t, conn)
}

// A node that records no streams is not in the table of nodes; its sessions have its name.
func TestDrop_SeesSessionsOfNodes(t *testing.T) {
	t.Parallel()
	address, conn := migrated(t)
	m := migrations.Migrations{URL: address}
	node, err := outbox.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close(context.Background())
	err = m.Drop(t.Context(), conn.Config().Database)
	if err == nil || !strings.Contains(err.Error(), "sessions of nodes are connected: pid ") {
		t.Errorf("%v", err)
	}
	// With two outboxes in the database, the sessions can't be assigned to either.
	second := migrations.Migrations{URL: address, Schema: outboxtest.Schema(t, address)}
	if err := second.Drop(t.Context(), conn.Config().Database); err != nil {
		t.Error(err)
	}
	node.Close(t.Context())
	testkit.Eventually(t, "it is dropped", func() bool { return m.Drop(t.Context(), conn.Config().Database) == nil })
}

// A lock that is not to be had is waited for, and writers don't wait behind.
func TestDrop_WaitsForAnOpenTransactionWithoutStoppingOthers(t *testing.T) {
	t.Parallel()
	address, conn := migrated(t)
	open := connect(t, address)
	exec(t, open, `BEGIN`)
	exec(t, open, `INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
	done := make(chan error, 1)
	go func() { done <- migrations.Migrations{URL: address}.Drop(context.Background(), conn.Config().Database) }()
	exec(t, conn, `SET lock_timeout = '5s'`) // a writer that queues after it would wait for ever
	testkit.Eventually(t, "it waits for a lock", func() bool {
		return ask[bool](t, conn, `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation IN ('outcrier.event'::regclass, 'outbox'::regclass))`)
	})
	for range 100 {
		exec(t, conn, `INSERT INTO outbox (topic, type) VALUES ('b', 't')`)
	}
	select {
	case err := <-done:
		t.Fatalf("it is done while the table is in use: %v", err)
	default:
	}
	exec(t, open, `COMMIT`)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
