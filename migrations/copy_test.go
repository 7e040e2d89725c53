package migrations_test

import (
	"fmt"
	"io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/pgserver"
	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// cluster is a Postgres of the test's own, with a system identifier of its own. A program
// of Postgres's is there for the tests' server, and so for this one.
func cluster(t *testing.T, dir string, settings map[string]string) *pgserver.Server {
	t.Helper()
	outboxtest.Program(t, "psql") // or the test is skipped
	all := map[string]string{"fsync": "off", "full_page_writes": "off"}
	for name, value := range settings {
		all[name] = value
	}
	server, err := pgserver.Start(t.Context(), pgserver.Config{Data: dir, Settings: all})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// libpq is a URL as libpq takes it.
func libpq(t *testing.T, url string) string {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s", config.Host, config.Port, config.User, config.Password, config.Database)
}

// A publication of all tables takes ours along, partitions and records too. Each has a
// key, so all that changes rows goes on; and on the other side a logical copy is an outbox
// that works.
func TestCopy_ByAPublicationOfAllTables(t *testing.T) {
	t.Parallel()
	// Room for both copies to bring all tables at once: a worker that finds none waits five seconds.
	logical := map[string]string{
		"wal_level": "logical", "max_replication_slots": "40", "max_wal_senders": "40", "max_worker_processes": "40",
		"max_sync_workers_per_subscription": "8", "max_logical_replication_workers": "30", "wal_retrieve_retry_interval": "100ms",
	}
	publisher, subscriber := cluster(t, filepath.Join(testkit.Folder(t), "publisher"), logical), cluster(t, filepath.Join(testkit.Folder(t), "subscriber"), logical)
	exec(t, connect(t, publisher.URL("")), `CREATE DATABASE migrated`)
	up(t, migrations.Migrations{URL: publisher.URL("migrated")})
	for database, with := range map[string]string{"partitions": "", "root": "WITH (publish_via_partition_root = true)"} {
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			exec(t, connect(t, publisher.URL("")), `CREATE DATABASE `+database+` TEMPLATE migrated`)
			exec(t, connect(t, subscriber.URL("")), `CREATE DATABASE `+database)
			from, to := publisher.URL(database), subscriber.URL(database)
			source := connect(t, from)
			exec(t, source, `CREATE PUBLICATION everything FOR ALL TABLES `+with)
			exec(t, source, `SELECT outcrier.append('kept', 't', dedup_key => 'kept'), outcrier.append('due', 'later', deliver_at => now() + interval '1 hour', dedup_key => 'due')`)
			works(t, source)
			past(t, source)
			// All that changes rows: a restored outbox settles, retention and erasure work, records are purged.
			exec(t, source, `UPDATE outcrier.history_id SET system_identifier = 1`)
			testkit.Eventually(t, "it settles", func() bool { return ask[bool](t, source, `SELECT outcrier.settle() IS NOT NULL`) })
			exec(t, source, `SELECT outcrier.drop_partition('1 day'), outcrier.delete_expired('present', '1 minute', clock => now() + interval '1 day')`)
			exec(t, source, `CALL outcrier.maintain('1 day', '{"works": "1 minute"}')`)
			exec(t, source, `SELECT outcrier.erase('none/**'::text, 'a test'), outcrier.redact(1, '{"redacted": true}', 'a test'), outcrier.purge_records('1 day')`)
			exec(t, source, `SELECT outcrier.heartbeat(7, 'n', 0, NULL, NULL), outcrier.stop_node(7)`)
			exec(t, source, `UPDATE outcrier.event_type SET title = 'Changed' WHERE type = 'data.synced'; DELETE FROM outcrier.event_type WHERE type = 'trade.executed'`)

			mustRun(t, mustRun(t, "", "pg_dump", "--schema-only", "--no-publications", "-d", from), "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to)
			target := connect(t, to)
			exec(t, target, `CREATE SUBSCRIPTION copy_`+database+` CONNECTION '`+libpq(t, from)+`' PUBLICATION everything`)
			exec(t, source, `SELECT outcrier.append('while copied', 't')`)
			const has = `SELECT coalesce(string_agg(concat_ws(' ', id, topic, payload, dedup_key), ', ' ORDER BY id), '') FROM outcrier.event`
			testkit.Eventually(t, "the rows are copied", func() bool { return ask[string](t, source, has) == ask[string](t, target, has) })
			testkit.Eventually(t, "all tables are", func() bool {
				return ask[bool](t, target, `SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel`)
			})
			exec(t, source, `SELECT outcrier.append('streamed', 't')`)
			testkit.Eventually(t, "what comes later is copied", func() bool { return ask[string](t, source, has) == ask[string](t, target, has) })

			// What arrives is history: no node of the copy takes it for new.
			if n := ask[int](t, target, `SELECT count(*) FROM outcrier.event WHERE xid <> '3'`); n != 0 {
				t.Errorf("%d copied events would be streamed as new", n)
			}
			history := ask[int64](t, source, `SELECT outcrier.settle()`)
			largest := ask[int64](t, source, `SELECT max(id) FROM outcrier.event`)
			exec(t, target, `DROP SUBSCRIPTION copy_`+database)
			if id := ask[int64](t, target, `INSERT INTO outbox (topic, type) VALUES ('new', 't') RETURNING id`); id <= largest {
				t.Errorf("the copy draws id %d, and has %d", id, largest)
			}
			testkit.Eventually(t, "the copy is settled", func() bool { return ask[bool](t, target, `SELECT outcrier.settle() IS NOT NULL`) })
			if now := ask[int64](t, target, `SELECT outcrier.settle()`); now == history {
				t.Error("the copy has the history of what it is copied from")
			}
			up(t, migrations.Migrations{URL: to})
			whole(t, migrations.Migrations{URL: to})
			if a, b := ask[int64](t, source, `SELECT outcrier.append('kept', 't', dedup_key => 'kept')`), ask[int64](t, target, `SELECT outcrier.append('kept', 't', dedup_key => 'kept')`); a != b {
				t.Errorf("a retry has id %d, and %d on the copy", a, b)
			}
			due(t, target, "due")
			testkit.Eventually(t, "what was scheduled is delivered by the copy", func() bool {
				exec(t, target, `SELECT outcrier.deliver_scheduled()`)
				return ask[int](t, target, `SELECT count(*) FROM outcrier.history WHERE topic = 'due'`) == 1
			})
			works(t, target)
		})
	}
}

// A restore into another cluster brings transactions that mean nothing there.
func TestRestore_IntoAnotherCluster(t *testing.T) {
	t.Parallel()
	from, source := migrated(t)
	to := cluster(t, filepath.Join(testkit.Folder(t), "to"), nil).URL("")
	works(t, source)
	exec(t, source, `SELECT outcrier.append('kept', 't', dedup_key => 'kept')`)
	history := ask[int64](t, source, `SELECT outcrier.settle()`)
	mustRun(t, mustRun(t, "", "pg_dump", "-d", from), "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to)
	target := connect(t, to)
	testkit.Eventually(t, "it is settled", func() bool { return ask[bool](t, target, `SELECT outcrier.settle() IS NOT NULL`) })
	if now := ask[int64](t, target, `SELECT outcrier.settle()`); now == history {
		t.Error("it goes on with the history of another cluster")
	}
	if n := ask[int](t, target, `SELECT count(*) FROM outcrier.event WHERE xid <> '3' AND topic <> ''`); n != 0 {
		t.Errorf("%d events would be streamed as new", n)
	}
	works(t, target)
	up(t, migrations.Migrations{URL: to})
	sameSchema(t, target)
}

// pg_upgrade moves a cluster into a newer Postgres, with its transactions and a system
// identifier that is new. OUTCRIER_PG_NEW_BIN names the folder of all binaries of that one.
func TestUpgrade_ToANewerPostgres(t *testing.T) {
	bin := os.Getenv("OUTCRIER_PG_NEW_BIN")
	if bin == "" {
		t.Skip("OUTCRIER_PG_NEW_BIN names no Postgres to upgrade to")
	}
	dir := testkit.Folder(t)
	before := cluster(t, filepath.Join(dir, "old"), nil)
	m := migrations.Migrations{URL: before.URL("")}
	up(t, m)
	conn := connect(t, before.URL(""))
	works(t, conn)
	if err := m.Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, `SELECT outcrier.append('kept', 't', dedup_key => 'kept'), outcrier.append('due', 'later', deliver_at => now() + interval '1 hour')`)
	kept := inventory(t, conn)
	history := ask[int64](t, conn, `SELECT outcrier.settle()`)
	events := ask[string](t, conn, `SELECT string_agg(concat_ws(' ', xid, id, topic, payload, created_at), ', ' ORDER BY id) FROM outcrier.event`)
	conn.Close(t.Context())
	oldBin, password := before.Bin(), must(os.ReadFile(filepath.Join(dir, "old/cluster/password")))
	if err := before.Stop(); err != nil {
		t.Fatal(err)
	}

	data := filepath.Join(dir, "old/cluster/data")
	owner := must(os.Stat(data)).Sys().(*syscall.Stat_t)
	after := filepath.Join(dir, "new/cluster")
	work := filepath.Join(dir, "work")
	for _, folder := range []string{filepath.Dir(after), after, work} {
		must(0, os.Mkdir(folder, 0o700))
		must(0, os.Chown(folder, int(owner.Uid), int(owner.Gid)))
	}
	must(0, os.WriteFile(filepath.Join(after, "password"), password, 0o600))
	must(0, os.Chown(filepath.Join(after, "password"), int(owner.Uid), int(owner.Gid)))
	as := func(name string, args ...string) {
		t.Helper()
		cmd := osexec.CommandContext(t.Context(), filepath.Join(bin, name), args...)
		cmd.Dir, cmd.Env = work, append(os.Environ(), "PGPASSWORD="+strings.TrimSpace(string(password)))
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		if os.Geteuid() == 0 {
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			logs := ""
			_ = filepath.WalkDir(after, func(path string, entry fs.DirEntry, err error) error {
				if err == nil && strings.HasSuffix(path, ".log") || strings.HasSuffix(path, ".txt") {
					text, _ := os.ReadFile(path)
					logs += path + "\n" + string(text)
				}
				return nil
			})
			t.Fatalf("%s: %v\n%s\n%s", name, err, out, logs)
		}
	}
	as("initdb", "--pgdata="+filepath.Join(after, "data"), "--pwfile="+filepath.Join(after, "password"), "--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-data-checksums")
	as("pg_upgrade", "-b", oldBin, "-B", bin, "-d", data, "-D", filepath.Join(after, "data"), "-U", "postgres", "-s", work)

	t.Setenv("OUTCRIER_PG_BIN", bin)
	server, err := pgserver.Start(t.Context(), pgserver.Config{Data: filepath.Dir(after)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop() //nolint:errcheck // it is thrown away
	conn = connect(t, server.URL(""))
	t.Logf("from %s to %s", oldBin, ask[string](t, conn, `SELECT version()`))
	if got := ask[string](t, conn, `SELECT string_agg(concat_ws(' ', xid, id, topic, payload, created_at), ', ' ORDER BY id) FROM outcrier.event`); got != events {
		t.Errorf("the events were %s\nand are %s", events, got)
	}
	m.URL = server.URL("")
	whole(t, m)
	testkit.Eventually(t, "it is settled", func() bool { return ask[bool](t, conn, `SELECT outcrier.settle() IS NOT NULL`) })
	if now := ask[int64](t, conn, `SELECT outcrier.settle()`); now == history {
		t.Log("the cluster has kept its system identifier, and the outbox its history")
	}
	due(t, conn, "due")
	testkit.Eventually(t, "what was scheduled is delivered", func() bool {
		exec(t, conn, `SELECT outcrier.deliver_scheduled()`)
		return ask[int](t, conn, `SELECT count(*) FROM outcrier.history WHERE topic = 'due'`) == 1
	})
	works(t, conn)
	up(t, m)
	if n := len(inventory(t, conn)); n < len(kept) {
		t.Errorf("there were %d facts of the schema, and are %d", len(kept), n)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
