package tail

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

const (
	// A test whose notification has not arrived by then shows that LISTEN does not work.
	testWait = 2 * time.Second
	// How often LISTEN is tested, and again while it does not work.
	testEvery = time.Minute
	testAgain = 5 * time.Second
)

// selfTest sends a notification over a connection of its own when a test is due, and
// records a test that failed.
func (l *listener) selfTest(ctx context.Context, url string) {
	every := testEvery
	if !l.works {
		every = testAgain
	}
	switch {
	case l.testing != nil:
		select {
		case err := <-l.testing:
			l.testing = nil
			l.tested(ctx, err, every)
		default: // it is being sent
		}
	case l.test != "" && time.Since(l.testedAt) > testWait:
		l.test, l.works, l.unheard = "", false, true
		if !l.warned {
			l.warned = true
			l.log.WarnContext(ctx, "LISTEN is not heard: a transaction pooler or a replica is in between; polling until the tail has a direct connection")
		}
	case l.test == "" && (l.testedAt.IsZero() || time.Since(l.testedAt) >= every):
		l.test = "test " + strconv.FormatInt(time.Now().UnixNano(), 36)
		ctx, stop := database.Within(ctx, l.limit)
		result, test := make(chan error, 1), l.test
		l.testing, l.stop = result, stop
		go func() {
			defer stop()
			result <- notify(ctx, url, l.channel, test)
		}()
	}
}

// tested records that a test was sent, or why it could not be. It may have been heard by now,
// or the queue found full.
func (l *listener) tested(ctx context.Context, err error, every time.Duration) {
	if err != nil || l.test != "" || l.works {
		l.testedAt = time.Now()
	}
	switch {
	case errors.Is(err, errQueueFull):
		l.queueFull(ctx)
	case err != nil && l.test != "":
		l.test = ""
		if l.failing.Fails(database.Cause(err)) {
			l.log.WarnContext(ctx, "LISTEN can't be tested", "err", database.OneLine(err), "retry_in", every)
		}
	case err == nil && (l.test != "" || l.works):
		message := "listen is tested again"
		if l.full {
			message = "the notification queue of Postgres has room again: writers notify"
		}
		l.full = false
		if failures, lasted := l.failing.Ends(); failures > 0 {
			l.log.InfoContext(ctx, message, "after", lasted, "failures", failures)
		}
	}
}

// errQueueFull is the result of a test while writers don't notify, as the SQL function notify
// has it: a test that is heard would say that they do.
var errQueueFull = errors.New("the notification queue is more than half full")

// queueFullSQL is the writers' limit.
const queueFullSQL = `SELECT pg_notification_queue_usage() >= 0.5`

func notify(ctx context.Context, url, channel, payload string) error {
	conn, err := outbox.Connect(ctx, url)
	if err != nil {
		return err
	}
	err = database.InSession(ctx, conn, outbox.DefaultSchema, func(q database.DB) error {
		var full bool
		if err := q.QueryRow(ctx, queueFullSQL).Scan(&full); err != nil {
			return err
		}
		if full {
			return errQueueFull
		}
		_, err := q.Exec(ctx, `SELECT pg_notify($1, $2)`, channel, payload)
		return err
	})
	return errors.Join(err, conn.Close(ctx))
}

// queueFull has the tail poll until a test finds that writers notify again.
func (l *listener) queueFull(ctx context.Context) {
	l.test, l.works, l.full = "", false, true
	if l.failing.Fails("queue full") {
		l.log.WarnContext(ctx, "writers don't notify: the notification queue of Postgres is more than half full, since a session that listens stays in a transaction; polling until it has room")
	}
}

// unnotified looks why no notification came for a commit: the queue may be too full. The
// other reasons are the writer's own, and no reason to poll.
func (l *listener) unnotified(ctx context.Context) error {
	var full bool
	within, cancel := database.Within(ctx, l.limit)
	defer cancel()
	err := database.InSession(within, l.conn, l.schema, func(q database.DB) error { return q.QueryRow(within, queueFullSQL).Scan(&full) })
	if err != nil {
		return err
	}
	if full {
		l.testedAt = time.Now()
		l.queueFull(ctx)
	}
	return nil
}

// close ends a test that is being sent.
func (l *listener) close(ctx context.Context) {
	if l.testing == nil {
		return
	}
	l.stop()
	if err := <-l.testing; err != nil {
		l.log.DebugContext(ctx, "test of listen cut short", "err", err)
	}
}
