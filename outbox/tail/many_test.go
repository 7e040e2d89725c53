package tail_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
)

// logged calls a function whenever something is logged.
type logged struct {
	slog.Handler
	call func(slog.Record)
}

func (l logged) Handle(_ context.Context, r slog.Record) error { l.call(r); return nil }

// Postgres may never get so far as to give the first of very many events: there is
// no time, memory or disk to sort them. Streams can read them by pages.
func TestTail_LeavesToReplaysWhatItCannotRead(t *testing.T) {
	for _, test := range []struct {
		name   string
		starts int
	}{{"for once", 1}, {"ever", 2}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url := outboxtest.URL(t)
			pool, control := outboxtest.Pool(t, url), sqltest.Connection(t, url)
			// A sort of more than 64 kB fails, but on the connection that is there already.
			sqltest.Exec(t, control, `DO $$ BEGIN
				EXECUTE format('ALTER DATABASE %I SET work_mem = ''64kB''', current_database());
				EXECUTE format('ALTER DATABASE %I SET temp_file_limit = 1', current_database());
			END $$`)
			failures := 0
			follower := &tail.Tail{URL: url}
			follower.Log = slog.New(logged{slog.NewTextHandler(t.Output(), nil), func(r slog.Record) {
				if r.Level < slog.LevelWarn {
					return
				}
				if failures++; test.starts == 1 {
					sqltest.Exec(t, pool, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET temp_file_limit', current_database()); END $$`)
				}
			}})
			c := follow(t, follower)
			ids := sqltest.Ask[int64](t, control, `INSERT INTO outbox (topic, type) SELECT 'a', n::text FROM generate_series(1, 3000) AS n RETURNING id`)
			if test.starts == 1 {
				c.wantIDs(t, follower, ids)
				if c.started() != 1 || failures != 1 {
					t.Errorf("%d starts after %d failures", c.started(), failures)
				}
				return
			}
			eventually(t, func() bool { return c.started() == 2 && follower.Status().Following })
			c.wantIDs(t, follower, sqltest.AddNow(t, pool, "a", 1))
			if rest := sqltest.Replay(t, replay.Reader{Pool: pool}, c.starts[0], c.starts[1], sqltest.All("**"), 500); !slices.Equal(rest, ids) {
				t.Errorf("replayed are %d events, want %d", len(rest), len(ids))
			}
			if failures != 2 {
				t.Errorf("it failed %d times", failures)
			}
		})
	}
}
