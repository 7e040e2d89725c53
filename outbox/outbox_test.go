package outbox_test

import (
	"bytes"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
)

// lose takes events away as a failover does that lost their commits: nothing says so.
func lose(t testing.TB, pool *pgxpool.Pool, where string, args ...any) {
	t.Helper()
	tx := sqltest.Begin(t, pool)
	sqltest.Exec(t, tx, `ALTER TABLE outcrier.event DISABLE TRIGGER mark_change`)
	sqltest.Exec(t, tx, `DELETE FROM outcrier.event WHERE `+where, args...)
	sqltest.Exec(t, tx, `ALTER TABLE outcrier.event ENABLE ALWAYS TRIGGER mark_change`)
	sqltest.Commit(t, tx)
}

// forge inserts events with xids of the test's choice, as were there before.
func forge(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	tx := sqltest.Begin(t, pool)
	sqltest.Exec(t, tx, `ALTER TABLE outcrier.event DISABLE TRIGGER settle_foreign`)
	sqltest.Exec(t, tx, sql, args...)
	sqltest.Exec(t, tx, `ALTER TABLE outcrier.event ENABLE ALWAYS TRIGGER settle_foreign`)
	sqltest.Commit(t, tx)
}

// databaseOf is the name of the database of a URL.
func databaseOf(t testing.TB, url string) string {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return config.Database
}

// lines is a log that several goroutines may write to while a test reads it.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
