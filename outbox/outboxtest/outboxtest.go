// Package outboxtest gives tests real outboxes: an empty migrated database for
// each test, on a private Postgres that the test binary starts when the first
// test asks for one and that dies with it. Where /dev/shm has 4 GiB to spare it
// is in memory: that halves the time of tests that use many databases.
//
// With OUTCRIER_TEST_DATABASE_URL set, databases are made on that server
// instead; its user needs CREATEDB.
package outboxtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/internal/pgserver"
	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox"
)

// New returns a pool, made with outbox.PoolConfig, on an empty migrated database
// of the test's own. Both are gone when the test ends.
func New(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Pool(t, URL(t))
}

// Pool returns a pool on the database at url, closed when the test ends. Its search_path
// also has public, with the view outbox and tables of tests.
func Pool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	config, err := outbox.PoolConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	adopt := config.AfterConnect
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if err := adopt(ctx, conn); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, `SET search_path = public`)
		return err
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// URL is like New, but returns the database's URL.
func URL(t testing.TB) string {
	t.Helper()
	s, err := started()
	if err != nil {
		t.Fatalf("outboxtest: %v", err)
	}
	url, drop, err := s.create()
	if err != nil {
		t.Fatalf("outboxtest: %v", err)
	}
	t.Cleanup(func() {
		if err := drop(); err != nil {
			t.Errorf("outboxtest: %v", err)
		}
	})
	return url
}

// Open is like URL, for an Example, which has no testing.TB: drop must be called.
func Open() (url string, drop func(), err error) {
	s, err := started()
	if err != nil {
		return "", nil, fmt.Errorf("outboxtest: %w", err)
	}
	url, dropped, err := s.create()
	return url, func() { _ = dropped() }, err
}

// create makes a database.
func (s *server) create() (url string, drop func() error, err error) {
	name := fmt.Sprintf("outboxtest_%d_%d", os.Getpid(), s.databases.Add(1))
	err = s.beside(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `CREATE DATABASE `+name+` TEMPLATE `+s.template+s.strategy)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	return s.url(name), func() error { return s.drop(name) }, nil
}

// drop drops a database.
func (s *server) drop(name string) error {
	return s.beside(func(ctx context.Context, conn *pgx.Conn) error {
		// Sessions that were closed just now take a moment to end, and DROP DATABASE looks for
		// them ten times a second only.
		for began := time.Now(); time.Since(began) < 100*time.Millisecond; time.Sleep(2 * time.Millisecond) {
			var used bool
			const usedSQL = `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1)`
			if err := conn.QueryRow(ctx, usedSQL, pgx.QueryExecModeExec, name).Scan(&used); err != nil || !used {
				break
			}
		}
		_, err := conn.Exec(ctx, `DROP DATABASE IF EXISTS `+name+` WITH (FORCE)`)
		return err
	})
}

// beside calls do with a connection to the database that the server came with. It
// is kept for the next caller: to connect costs as much CPU as to drop a database.
func (s *server) beside(do func(ctx context.Context, conn *pgx.Conn) error) error {
	ctx := context.Background()
	for {
		var conn *pgx.Conn
		kept := true
		select {
		case conn = <-s.idle:
		default:
			kept = false
			var err error
			if conn, err = pgx.Connect(ctx, s.url("")); err != nil {
				return err
			}
		}
		err := do(ctx, conn)
		if err == nil {
			select {
			case s.idle <- conn:
				return nil
			default:
				return conn.Close(ctx)
			}
		}
		broken := conn.IsClosed()
		_ = conn.Close(ctx)
		if !kept || !broken { // a kept one may have been ended by the server meanwhile
			return err
		}
	}
}

// Schema makes a second outbox in the database at url, in a schema of its own whose name
// has to be quoted, and returns the schema. The outbox's view is public.second_outbox.
func Schema(t testing.TB, url string) outbox.Schema {
	t.Helper()
	const schema outbox.Schema = `The "second"`
	if err := (migrations.Migrations{URL: url, Schema: schema, Outbox: "public.second_outbox"}).Up(context.Background()); err != nil {
		t.Fatalf("outboxtest: %v", err)
	}
	return schema
}

// Program returns the path of one of Postgres's programs, like psql or pg_dump, that
// works with the server of the tests. Without one the test is skipped, but in CI only
// where the program at hand is older than the server.
func Program(t testing.TB, name string) string {
	t.Helper()
	s, err := started()
	if err != nil {
		t.Fatalf("outboxtest: %v", err)
	}
	found := filepath.Join(s.bin, name)
	if s.bin == "" || exec.CommandContext(t.Context(), found, "--version").Run() != nil { //nolint:gosec // of the test's choice
		if found, err = exec.LookPath(name); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("CI is set, but %s is not installed", name)
			}
			t.Skipf("%s is not installed", name)
		}
	}
	text, err := exec.CommandContext(t.Context(), found, "--version").Output() //nolint:gosec // of the test's choice
	if err != nil {
		t.Fatalf("outboxtest: %v", err)
	}
	version := regexp.MustCompile(`\(PostgreSQL\) (\d+)`).FindSubmatch(text)
	if version == nil {
		return found // not a part of Postgres's own
	}
	if major, _ := strconv.Atoi(string(version[1])); major < s.major {
		t.Skipf("%s is of Postgres %d, and the server is %d", found, major, s.major)
	}
	return found
}

// server is where the databases of this test binary are.
type server struct {
	url       func(database string) string
	template  string
	strategy  string // of CREATE DATABASE
	databases atomic.Int64
	idle      chan *pgx.Conn
	bin       string // "" for a server that was there
	major     int
}

// started starts the server once. It is not stopped: it dies with this process.
var started = sync.OnceValues(func() (*server, error) {
	ctx := context.Background()
	s := &server{template: fmt.Sprintf("outboxtest_template_%d", os.Getpid()), idle: make(chan *pgx.Conn, 16)}
	if given := os.Getenv("OUTCRIER_TEST_DATABASE_URL"); given != "" {
		parsed, err := url.Parse(given)
		if err != nil {
			return nil, fmt.Errorf("OUTCRIER_TEST_DATABASE_URL: %w", err)
		}
		s.url = func(database string) string {
			u := *parsed
			if database != "" {
				u.Path = "/" + database
			}
			return u.String()
		}
	} else {
		private, err := pgserver.Start(ctx, pgserver.Config{Settings: Settings, Memory: true})
		if err != nil {
			return nil, err
		}
		s.url, s.bin = private.URL, private.Bin()
		// It takes half of the CPU of the other way, which writes all pages to the WAL. On a server with
		// other work and a real disk it could take long: it makes two checkpoints.
		s.strategy = ` STRATEGY FILE_COPY`
	}
	conn, err := pgx.Connect(ctx, s.url(""))
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int / 10000`).Scan(&s.major); err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, `CREATE DATABASE `+s.template+` ENCODING 'UTF8' TEMPLATE template0`); err != nil {
		return nil, err
	}
	// Postgres does not copy a template that is in use: Up leaves no connection.
	return s, (migrations.Migrations{URL: s.url(s.template)}).Up(ctx)
})

// Settings are those of the private Postgres: nothing outlives it, so it need
// not reach the disk.
var Settings = map[string]string{
	"fsync":                     "off",
	"full_page_writes":          "off",
	"max_connections":           "300",
	"max_prepared_transactions": "200",
	"jit":                       "off", // LLVM is loaded by each session whose plan seems dear
}
