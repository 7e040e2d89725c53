package migrations_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// server is a pool on a database of the tests' server, to make and drop others.
var server = sync.OnceValues(func() (*pgxpool.Pool, error) {
	address, _, err := outboxtest.Open()
	if err != nil {
		return nil, err
	}
	return pgxpool.New(context.Background(), address)
})

var databases atomic.Int64

// database is a copy of another database, gone when the test ends.
func database(t *testing.T, template string) (address string) {
	t.Helper()
	name, address := makeDatabase(t, template)
	t.Cleanup(func() { onServer(t, `DROP DATABASE `+name+` WITH (FORCE)`) })
	return address
}

func makeDatabase(t *testing.T, template string) (name, address string) {
	t.Helper()
	name = fmt.Sprintf("outboxtest_%d_copy_%d", os.Getpid(), databases.Add(1))
	pool := onServer(t, `CREATE DATABASE `+name+` ENCODING 'UTF8' TEMPLATE `+template+` STRATEGY FILE_COPY`)
	return name, at(t, pool.Config().ConnString(), name)
}

func onServer(t *testing.T, sql string) *pgxpool.Pool {
	t.Helper()
	pool, err := server()
	if err == nil {
		_, err = pool.Exec(context.Background(), sql)
	}
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return pool
}

// at is the address of another database of the same server.
func at(t *testing.T, address, database string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + database
	return u.String()
}
