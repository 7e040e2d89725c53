package tail_test

import (
	"slices"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
)

// An event may be appended and removed while the tail does not look: by a process that
// was paused, or by a transaction that stays open for longer than its topic is kept.
// The next event on that topic would carry streams past it.
func TestTail_DeliversNothingPastAnEventRemovedUnread(t *testing.T) {
	for _, test := range []struct {
		name   string
		unread bool
	}{{"read before", false}, {"removed unread", true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url := outboxtest.URL(t)
			pool := outboxtest.Pool(t, url)
			c := follow(t, &tail.Tail{URL: url, IdleTurn: time.Minute})
			conn := sqltest.Connection(t, url)
			sqltest.Exec(t, conn, `SET outcrier.notify = 'off'`)
			asleep(t, pool, 1)
			ids := sqltest.Ask[int64](t, conn, `INSERT INTO outcrier.event (topic, type, created_at) VALUES ('presence/a', 't', now() - interval '2 hours') RETURNING id`)
			if !test.unread {
				ids = append(ids, sqltest.AddNow(t, pool, "order/1", 1)...)
				eventually(t, func() bool { return slices.Equal(c.ids(), ids) })
				asleep(t, pool, 1)
			}
			// There is a newer transaction: the newest one's events are not removed.
			ids = append(ids, sqltest.Ask[int64](t, conn, `INSERT INTO outbox (topic, type) VALUES ('order/1', 't') RETURNING id`)...)
			if n := sqltest.Ask1[int](t, conn, `SELECT outcrier.delete_expired('presence/**', '1 hour')`); n != 1 {
				t.Fatalf("%d events are removed", n)
			}
			ids = append(ids, sqltest.AddNow(t, pool, "presence/a", 1)...)

			if !test.unread {
				eventually(t, func() bool { return len(c.ids()) == len(ids) })
				if got := c.ids(); !slices.Equal(got, ids) || c.started() != 1 {
					t.Errorf("delivered are %v in %d starts, want %v in one", got, c.started(), ids)
				}
				return
			}
			eventually(t, func() bool { return c.started() == 2 })
			if got := c.ids(); len(got) > 0 {
				t.Errorf("%v came after what is missing", got)
			}
			// Streams that follow the topic get a gap, and no others.
			for topic, want := range map[outbox.Pattern]bool{"presence/*": true, "order/1": false} {
				_, gap, err := replay.Reader{Pool: pool}.Verify(t.Context(), c.starts[0], sqltest.All(topic), position.Position{})
				if err != nil || (gap != nil) != want {
					t.Errorf("%s: %+v, %v", topic, gap, err)
				}
			}
		})
	}
}
