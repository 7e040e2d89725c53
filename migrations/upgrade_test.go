package migrations_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/outcrier/outcrier/migrations"
)

// upTo applies the migrations up to a version, as an earlier program did.
func upTo(t *testing.T, address string, version int64) {
	t.Helper()
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["search_path"] = "public, pg_temp"
	db := stdlib.OpenDB(*config)
	defer db.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, os.DirFS("."), goose.WithTableName("outbox_goose_version"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
}

func versions(t *testing.T) (versions []int64) {
	t.Helper()
	address, _ := empty(t)
	status, err := migrations.Migrations{URL: address}.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range status.Migrations {
		versions = append(versions, m.Version)
	}
	return versions
}

// longestStall is for how long a writer may wait for a migration's locks. It is 40 ms
// by the migrations' own lock_timeout, and what they do under it; the rest is for a
// machine that is busy with something else.
const longestStall = "1s"

// From each version there was, up to the newest and down again, while eight write.
// Postgres itself judges: each waits for no lock longer than is allowed. How long the
// longest INSERT took by the clock is logged, beside what it took the same writers with
// no migration, which is the machine's own.
func TestUp_WritersGoOn(t *testing.T) {
	all := versions(t)
	for _, from := range all[:len(all)-1] {
		var stalled []string
		for range 3 {
			if stalled = migrateUnderLoad(t, from); stalled == nil {
				break
			}
		}
		for _, what := range stalled {
			t.Errorf("from version %d: %s", from, what)
		}
	}
}

// insertsAlone is after how many INSERTs the migrations begin.
const insertsAlone = 1000

// migrateUnderLoad tells what kept writers waiting.
func migrateUnderLoad(t *testing.T, from int64) (stalled []string) {
	t.Helper()
	address, conn := empty(t)
	upTo(t, address, from)
	m := migrations.Migrations{URL: address}
	var mu sync.Mutex
	var stored int
	phase := "alone"
	longest, tried := map[string]time.Duration{}, map[string]int{}
	alone := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var writers, begun sync.WaitGroup
	for i := range 8 {
		begun.Add(1)
		writer := connect(t, with(t, address, "lock_timeout", longestStall))
		writers.Go(func() {
			first := true
			for n := 0; ctx.Err() == nil; n++ {
				insert := `INSERT INTO outbox (topic, type) VALUES ('a', 't')`
				if i == 0 {
					insert = fmt.Sprintf(`INSERT INTO outbox (topic, type, dedup_key) VALUES ('a', 't', '%d')`, n)
				}
				began := time.Now()
				_, err := writer.Exec(context.Background(), insert)
				took := time.Since(began)
				mu.Lock()
				if err == nil {
					stored++
				}
				longest[phase] = max(longest[phase], took)
				if tried[phase]++; phase == "alone" && tried[phase] == insertsAlone {
					close(alone)
				}
				var pg *pgconn.PgError
				switch {
				case errors.As(err, &pg) && pg.Code == "55P03":
					stalled = append(stalled, fmt.Sprintf("an INSERT waited %s for a lock on the way %s", longestStall, phase))
				case err != nil && phase != "down":
					t.Errorf("from version %d: %v", from, err)
				}
				mu.Unlock()
				if first {
					begun.Done()
					first = false
				}
				time.Sleep(2 * time.Millisecond) // eight who never rest would have the machine to themselves
			}
		})
	}
	begun.Wait()
	<-alone
	mu.Lock()
	phase = "up"
	mu.Unlock()
	if err := m.Up(t.Context()); err != nil {
		t.Fatalf("from version %d: %v", from, err)
	}
	mu.Lock()
	rows := ask[int](t, conn, `SELECT count(*) FROM outbox`)
	if rows != stored {
		// One may be committed, and not be counted yet, for each writer that is at it.
		if rows < stored || rows > stored+8 {
			t.Errorf("from version %d: %d rows, and %d were stored", from, rows, stored)
		}
	}
	phase = "down"
	mu.Unlock()
	if err := m.Down(t.Context()); err != nil {
		t.Fatalf("from version %d, down: %v", from, err)
	}
	cancel()
	writers.Wait()
	t.Logf("from version %2d: the longest INSERT of %d took %v without a migration, of %d %v on the way up, of %d %v on the way down",
		from, tried["alone"], longest["alone"].Round(time.Millisecond), tried["up"], longest["up"].Round(time.Millisecond),
		tried["down"], longest["down"].Round(time.Millisecond))
	if left := ask[int](t, conn, `SELECT count(*) FROM pg_class WHERE relname LIKE 'outbox%'`); left > 0 {
		t.Errorf("from version %d: down leaves %d objects", from, left)
	}
	return stalled
}

// What would take its time on a filled outbox, under a lock that writers wait for: to
// build an index, or to write the table anew. An index is built CONCURRENTLY, beside
// the writers, one partition after the other.
func TestUp_BuildsNothingOnAFilledOutbox(t *testing.T) {
	address, conn := empty(t)
	upTo(t, address, 1)
	exec(t, conn, `INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
	const stored = `SELECT string_agg(concat_ws(' ', relname, relfilenode), ', ' ORDER BY relname) FROM pg_class
		WHERE oid = 'outbox_default'::regclass OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'outbox_default'::regclass)`
	before := ask[string](t, conn, stored)
	up(t, migrations.Migrations{URL: address})
	if after := ask[string](t, conn, stored); after != before {
		t.Errorf("there were %s\nand are %s", before, after)
	}
}

// A lock that is not to be had is waited for, and writers don't wait behind.
func TestUp_WaitsForAnOpenTransactionWithoutStoppingOthers(t *testing.T) {
	address, conn := empty(t)
	upTo(t, address, 1)
	open := connect(t, address)
	exec(t, open, `BEGIN`)
	exec(t, open, `INSERT INTO outbox (topic, type) VALUES ('a', 't')`)
	done := make(chan error, 1)
	go func() { done <- migrations.Migrations{URL: address}.Up(context.Background()) }()
	exec(t, conn, `SET lock_timeout = '5s'`) // who stood in a queue behind it would wait for ever
	for tried := false; !tried; {
		exec(t, conn, `INSERT INTO outbox (topic, type) VALUES ('b', 't')`)
		tried = ask[bool](t, conn, `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'outbox'::regclass)`)
	}
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

func TestStatus_IsReadable(t *testing.T) {
	address, conn := empty(t)
	m := migrations.Migrations{URL: address}
	says := func(want ...string) {
		t.Helper()
		s, err := m.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range want {
			if !strings.Contains(s.String(), text) {
				t.Errorf("%s\nlacks %q", s, text)
			}
		}
	}
	says("pending              00001_outbox.sql\n", "nothing is applied: run outcrier migrate up\n")
	if n := ask[int](t, conn, `SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace`); n != 0 {
		t.Errorf("to ask has made %d objects", n)
	}
	upTo(t, address, 7)
	says("  00007_audit.sql\n", "pending              00011_retention.sql\n", "are to be applied: run outcrier migrate up\n")
	up(t, m)
	says(fmt.Sprintf("up to date, at version %d\n", migrations.Newest()))
	exec(t, conn, `INSERT INTO outbox_goose_version (version_id, is_applied) VALUES (4711, true)`)
	says("the schema is at version 4711, newer than this program's")
	s, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(s)
	if err != nil || !strings.Contains(string(text), `"version":4711,"newest":`) || !strings.Contains(string(text), `{"version":1,"file":"00001_outbox.sql","applied_at":"`) {
		t.Errorf("%s, %v", text, err)
	}
}

// The schema goes first, and says which programs it still works with.
func TestCheck_TellsWhatWorksTogether(t *testing.T) {
	address, conn := empty(t)
	m := migrations.Migrations{URL: address}
	if err := m.Check(t.Context()); err != nil {
		t.Errorf("without a schema: %v", err)
	}
	fails := func(what string, want ...string) {
		t.Helper()
		err := m.Check(t.Context())
		if !errors.Is(err, migrations.ErrIncompatible) {
			t.Errorf("%s: %v", what, err)
		}
		for _, text := range want {
			if err != nil && !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v, want %q", what, err, text)
			}
		}
	}
	upTo(t, address, 7)
	fails("an old schema", "too old", fmt.Sprintf("needs version %d: run outcrier migrate up", migrations.Newest()))
	up(t, m)
	if err := m.Check(t.Context()); err != nil {
		t.Errorf("of the same time: %v", err)
	}
	exec(t, conn, `DELETE FROM outbox_goose_version WHERE version_id = (SELECT max(version_id) FROM outbox_goose_version)`)
	fails("the one before", "and this one needs", "run outcrier migrate up")
	exec(t, conn, `INSERT INTO outbox_goose_version (version_id, is_applied) VALUES (4711, true)`)
	if err := m.Check(t.Context()); err != nil {
		t.Errorf("newer, and content with older programs: %v", err)
	}
	exec(t, conn, `CREATE OR REPLACE FUNCTION outbox_schema(OUT version bigint, OUT nodes_from bigint) LANGUAGE sql AS 'SELECT 4711::bigint, 4700::bigint'`)
	fails("newer, and not content", "at version 4711, for programs with migrations up to 4700 at least", "run a newer outcrier")
	if err := (migrations.Migrations{URL: "postgres://127.0.0.1:1/none?connect_timeout=2"}).Check(t.Context()); err == nil || errors.Is(err, migrations.ErrIncompatible) {
		t.Errorf("without a server: %v", err)
	}
}
