//go:build unix

package tail_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/tail"
)

// Any login of the cluster can fill the notification queue, by listening and staying in a
// transaction. Appends commit all the same, their events arrive, the tail says why none is
// announced, and all is as before when the queue has room again. From Postgres 17 on the queue
// of this test is really full.
func TestQueue_ThatIsFullDelaysEventsAndFailsNone(t *testing.T) {
	t.Parallel()
	for name, share := range map[string]float64{"more than half full": 0.55, "full": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testkit.SmallQueue(t)
			url := server.URL("")
			if err := (migrations.Migrations{URL: url}).Up(t.Context()); err != nil {
				t.Fatal(err)
			}
			pool := outboxtest.Pool(t, url)
			var log testkit.Log
			follower := &tail.Tail{URL: url, Log: slog.New(slog.NewTextHandler(&log, nil))}
			c := follow(t, follower)
			want := sqltest.AddNow(t, pool, "a", 1)
			eventually(t, func() bool { return len(c.ids()) == len(want) })

			free := testkit.FillQueue(t, url, share)
			used := sqltest.Ask1[float64](t, pool, `SELECT pg_notification_queue_usage()`)
			asleep(t, pool, 1)
			for range 3 {
				want = append(want, sqltest.AddNow(t, pool, "a", 1)...)
			}
			if now := sqltest.Ask1[float64](t, pool, `SELECT pg_notification_queue_usage()`); used < 0.5 || now > used {
				t.Errorf("writers notify while %g of the queue is used: then %g is", used, now)
			}
			eventually(t, func() bool { return len(c.ids()) == len(want) && follower.Status().Listen == tail.ListenQueueFull })
			if !follower.Status().Following {
				t.Error("the tail does not follow")
			}
			if said := log.String(); strings.Count(said, "writers don't notify") != 1 || strings.Contains(said, "pooler") {
				t.Errorf("the log has\n%s", said)
			}

			free()
			eventually(t, func() bool { return follower.Status().Listen == tail.ListenWorks })
			heard := follower.Status().WakeUps.Notifications
			eventually(t, func() bool {
				asleep(t, pool, 1)
				want = append(want, sqltest.AddNow(t, pool, "a", 1)...)
				eventually(t, func() bool { return len(c.ids()) == len(want) })
				return follower.Status().WakeUps.Notifications > heard
			})
			c.wantIDs(t, follower, want)
			if said := log.String(); strings.Count(said, "writers notify") != 1 || strings.Count(said, "writers don't notify") != 1 {
				t.Errorf("the log has\n%s", said)
			}
		})
	}
}
