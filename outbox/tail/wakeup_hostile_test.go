package tail_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/tail"
)

const answered = `SELECT coalesce(pg_sequence_last_value('outcrier.wake_answer'), 0)`

// Every role that may connect may notify, with any number. A number that is drawn only
// later ends no notifications, and one that is never drawn hides none that was.
func TestWakeUp_AnswersNoRequestThatWasNotifiedBeforeItWasDrawn(t *testing.T) {
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	var listeners [2]tail.Listener
	for i := range listeners {
		var err error
		if listeners[i], err = tail.ListenOn(t.Context(), sqltest.Connection(t, url)); err != nil {
			t.Fatal(err)
		}
	}
	awake, other := listeners[0], listeners[1]
	notify := func(request int64) {
		t.Helper()
		sqltest.Exec(t, pool, `SELECT pg_notify('outcrier', $1)`, fmt.Sprint(request))
	}
	draw := func(l tail.Listener) int64 {
		t.Helper()
		request, err := l.Request(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return request
	}
	answer := func() int64 {
		t.Helper()
		if err := awake.Answer(t.Context()); err != nil {
			t.Fatal(err)
		}
		return sqltest.Ask1[int64](t, pool, answered)
	}
	own := draw(awake)
	notify(own + 1) // of a request that no tail has
	notify(math.MaxInt64)
	notify(-7)
	theirs := draw(other) // and now somebody has it, and sleeps on it
	if theirs != own+1 {
		t.Fatalf("requests %d, %d", own, theirs)
	}
	for range 3 {
		if got := answer(); got >= theirs {
			t.Fatalf("request %d is answered with %d, and its tail was not woken", theirs, got)
		}
	}
	// A writer's notification is answered soon, whatever else is heard.
	eventually(t, func() bool {
		notify(theirs)
		notify(math.MaxInt64)
		return answer() == theirs
	})
}

// hostile notifies without end, by several connections: with garbage, with requests
// that were drawn, that are to be drawn next, and that never will be.
func hostile(t *testing.T, url string, connections int) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	pool := outboxtest.Pool(t, url)
	for range connections {
		group.Go(func() {
			for ctx.Err() == nil {
				// Errors are those of the end.
				_, _ = pool.Exec(ctx, `SELECT pg_notify('outcrier', payload) FROM unnest($1::text[]) AS payload
					UNION ALL SELECT pg_notify('outcrier', (pg_sequence_last_value('outcrier.wake_request') + n)::text) FROM generate_series(-1, 3) AS n`,
					[]string{"", "x", fmt.Sprint(int64(math.MaxInt64)), fmt.Sprint(rand.Int64()), "-1", "9223372036854775808", "test x", strings.Repeat("9", 7999)})
			}
		})
	}
	t.Cleanup(func() { stop(); group.Wait() })
}

func TestWakeUp_HostileNotifierLosesNone(t *testing.T) {
	t.Parallel()
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	tails := []*tail.Tail{{URL: url, IdleTurn: time.Minute}, {URL: url, IdleTurn: time.Minute}}
	var collectors []*collector
	for _, follower := range tails {
		collectors = append(collectors, follow(t, follower))
	}
	hostile(t, url, 2)
	began := time.Now()
	first := sqltest.Ask1[int64](t, pool, `SELECT nextval('outcrier.wake_request')`)
	var want []int64
	for i := range 30 {
		// Now and then so many at once that the tails stay awake and answer.
		want = append(want, sqltest.AddNow(t, pool, "a", 1+i%3*20)...)
		for _, c := range collectors {
			eventually(t, func() bool { return len(c.ids()) == len(want) })
		}
	}
	drawn := sqltest.Ask1[int64](t, pool, `SELECT pg_sequence_last_value('outcrier.wake_request')`) - first
	for i, follower := range tails {
		if got := collectors[i].ids(); !slices.Equal(got, want) {
			t.Errorf("tail %d was given %d events, want %d", i, len(got), len(want))
		}
		if caught := follower.Status().Caught; caught != 0 {
			t.Errorf("tail %d: the idle turn caught %d", i, caught)
		}
	}
	// Each look draws one, and an xid.
	if most := int64(time.Since(began)/(10*time.Millisecond))*2 + int64(len(want))*2 + 100; drawn > most {
		t.Errorf("%d requests were drawn in %s, allowed are %d", drawn, time.Since(began), most)
	}
}

// Requests are answered while events flow, whatever else is notified: else writers would
// pay for each notification of their own.
func TestWakeUp_HostileNotifierKeepsNoWriterNotifying(t *testing.T) {
	t.Parallel()
	url := outboxtest.URL(t)
	pool := outboxtest.Pool(t, url)
	c := follow(t, &tail.Tail{URL: url, IdleTurn: time.Minute})
	asleep(t, pool, 1)
	hostile(t, url, 1)
	added := 0
	eventually(t, func() bool {
		added += len(sqltest.AddNow(t, pool, "a", 20))
		return sqltest.Ask1[bool](t, pool, `SELECT pg_sequence_last_value('outcrier.wake_request') = coalesce(pg_sequence_last_value('outcrier.wake_answer'), 0)`)
	})
	eventually(t, func() bool { return len(c.ids()) == added })
}
