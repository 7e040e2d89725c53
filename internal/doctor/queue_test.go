//go:build unix

package doctor

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/migrations"
)

// While the queue is full it is NOTIFY that fails, which no direct URL mends.
func TestDatabase_SaysThatAFullQueueRefusesNotifications(t *testing.T) {
	server := testkit.SmallQueue(t)
	url := server.URL("")
	if err := (migrations.Migrations{URL: url}).Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	free := testkit.FillQueue(t, url, 1)
	full := examine(t, Config{DatabaseURL: url})
	full.want(t, Error, "notifications", "% full", "writers don't notify any more", "pg_stat_activity")
	var really bool // as from 17 on
	if err := conn.QueryRow(t.Context(), `SELECT current_setting('server_version_num')::int >= 170000`).Scan(&really); err != nil {
		t.Fatal(err)
	}
	if really {
		full.want(t, Error, "listen", "NOTIFY is refused", "the queue of notifications is full", "pg_stat_activity")
	}
	free()
	examine(t, Config{DatabaseURL: url}).want(t, OK, "listen", "LISTEN is heard")
}
