// Package outboxtest gives tests real outboxes: an empty migrated database for
// each test, on a private Postgres that the test binary starts when the first
// test asks for one and that dies with it.
//
// With OUTCRIER_TEST_DATABASE_URL set, databases are made on that server
// instead; its user needs CREATEDB.
package outboxtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"

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

// Pool returns a pool on the database at url, closed when the test ends.
func Pool(t testing.TB, url string) *pgxpool.Pool {
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

// URL is New for those who connect by themselves.
func URL(t testing.TB) string {
	t.Helper()
	s, err := started()
	if err != nil {
		t.Fatalf("outboxtest: %v", err)
	}
	name := fmt.Sprintf("outboxtest_%d_%d", os.Getpid(), s.databases.Add(1))
	s.exec(t, `CREATE DATABASE `+name+` TEMPLATE `+s.template)
	t.Cleanup(func() { s.exec(t, `DROP DATABASE IF EXISTS `+name+` WITH (FORCE)`) })
	return s.url(name)
}

// server is where the databases of this test binary are.
type server struct {
	url       func(database string) string
	template  string
	databases atomic.Int64
}

// started starts the server once. It is not stopped: it dies with this process.
var started = sync.OnceValues(func() (*server, error) {
	ctx := context.Background()
	s := &server{template: fmt.Sprintf("outboxtest_template_%d", os.Getpid())}
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
		private, err := pgserver.Start(ctx, pgserver.Config{Settings: Settings})
		if err != nil {
			return nil, err
		}
		s.url = private.URL
	}
	conn, err := pgx.Connect(ctx, s.url(""))
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `CREATE DATABASE `+s.template+` ENCODING 'UTF8' TEMPLATE template0`); err != nil {
		return nil, err
	}
	return s, migrations.Migrations{URL: s.url(s.template)}.Up(ctx)
})

// Settings are those of the private Postgres: nothing outlives it, so it need
// not reach the disk.
var Settings = map[string]string{
	"fsync":                     "off",
	"full_page_writes":          "off",
	"max_connections":           "300",
	"max_prepared_transactions": "64",
}

func (s *server) exec(t testing.TB, statement string) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.url(""))
	if err != nil {
		t.Errorf("outboxtest: %v", err)
		return
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Errorf("outboxtest: %v", err)
	}
}
