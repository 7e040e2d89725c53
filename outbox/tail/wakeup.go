package tail

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/outage"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// listener is a tail's side of the adaptive wake-up: writers notify only when a tail
// has requested it, and a tail requests it only when it is about to sleep. Migration
// 00002_wake_up.sql has the writers' side.
//
// No wake-up is lost: a writer that looked before the request was drawn has a smaller
// xid than the next one after it, so the tail stays awake until all such transactions
// are over; every writer that looks later sees the request and notifies.
type listener struct {
	conn    *pgx.Conn
	schema  outbox.Schema
	channel string        // the schema's name
	limit   time.Duration // of a statement
	log     *slog.Logger

	// LISTEN is tested by a notification from another connection: through a transaction
	// pooler LISTEN succeeds, but nothing arrives while the connection waits, though
	// perhaps something with an answer. New connections may hang, so the test is sent in
	// the background: testing receives its result, and is nil when idle.
	test     string
	testing  chan error
	stop     context.CancelFunc // of the test that is being sent
	testedAt time.Time          // or when it was abandoned
	failing  outage.Outage      // of tests
	works    bool
	warned   bool

	// known is the newest request that this tail knows of; notified is the newest one up to
	// it whose notification arrived and has to be answered. Any role may notify, with any
	// number: an answer to a request that is drawn only later would stop the notifications
	// for a tail that was never woken.
	known, notified int64
	// beyond is set when a notification had a number above known: another tail's request
	// may be newer.
	beyond bool

	// overtaken is set by a notification for a request older than known; looked is when the
	// tail last checked whether writers wait.
	overtaken bool
	looked    time.Time

	unheard bool // a test was not heard, and none since
	full    bool // the notification queue is too full for writers to notify
	counts  WakeUpCounts
}

// lookEvery is the shortest time between two checks whether writers wait.
const lookEvery = 100 * time.Millisecond

// listen is called before the first read of a connection: so each commit is either in that
// read or causes a notification.
func listen(ctx context.Context, conn *pgx.Conn, schema outbox.Schema, limit time.Duration, log *slog.Logger) (*listener, error) {
	ctx, cancel := database.Within(ctx, limit)
	defer cancel()
	l := &listener{conn: conn, schema: schema, channel: string(cmp.Or(schema, outbox.DefaultSchema)), limit: limit, log: log}
	if _, err := conn.Exec(ctx, `LISTEN `+pgx.Identifier{l.channel}.Sanitize()); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// learn sets known to a request that was drawn. Notifications received by now may have been
// sent before that, so they are compared with the request known then. It reports whether
// there are any: they may be for commits after the read that has drawn the request.
func (l *listener) learn(ctx context.Context, drawn int64) (woken bool) {
	woken = l.take(ctx)
	l.known = max(l.known, drawn)
	return woken
}

// crowdSQL reports whether a transaction waits for the lock on the cluster's notifications,
// which is that of a database 0 (AsyncExistsPendingNotify and PreCommit_Notify in
// Postgres's async.c).
const crowdSQL = `
SELECT EXISTS (SELECT FROM pg_locks
	WHERE locktype = 'object' AND database = 0 AND classid = 'pg_database'::regclass AND objid = 0 AND NOT granted)`

// crowded reports whether writers wait for each other because they notify. It checks only
// after a notification for an older request than the newest: all writers in a queue send
// such notifications. Writers on a slow disk or a busy machine could otherwise notify for
// ever: one at a time they are too few to be a flow.
func (l *listener) crowded(ctx context.Context) (crowded bool, err error) {
	if !l.overtaken || time.Since(l.looked) < lookEvery {
		return false, nil
	}
	l.overtaken, l.looked = false, time.Now()
	ctx, cancel := database.Within(ctx, l.limit)
	defer cancel()
	err = database.InSession(ctx, l.conn, l.schema, func(q database.DB) error { return q.QueryRow(ctx, crowdSQL).Scan(&crowded) })
	return crowded, err
}

// wait waits for a notification, d at most.
func (l *listener) wait(ctx context.Context, d time.Duration) (woken bool, err error) {
	if l.take(ctx) {
		return true, nil
	}
	return l.hear(ctx, d)
}

// rest waits for d, and listens meanwhile if a test is under way.
func (l *listener) rest(ctx context.Context, d time.Duration) error {
	l.take(ctx) // notifications that came with an answer, which prove nothing
	for end := time.Now().Add(d); l.test != "" && d > 0; d = time.Until(end) {
		if _, err := l.hear(ctx, d); err != nil {
			return fmt.Errorf("wait for the test of listen: %w", err)
		}
	}
	return wait(ctx, d)
}

// hear waits for a notification while the connection is idle, d at most.
func (l *listener) hear(ctx context.Context, d time.Duration) (woken bool, err error) {
	deadline, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	heard, err := l.conn.WaitForNotification(deadline)
	if err != nil {
		if ctx.Err() == nil && deadline.Err() != nil && !l.conn.IsClosed() {
			err = nil
		}
		return false, err
	}
	l.note(heard.Payload, true)
	return true, nil
}

// take reads the notifications that came with the connection's last answer.
func (l *listener) take(ctx context.Context) (woken bool) {
	arrived, stop := context.WithCancel(ctx)
	stop() // notifications that were received are returned all the same
	for {
		heard, _ := l.conn.WaitForNotification(arrived)
		if heard == nil {
			return woken
		}
		l.note(heard.Payload, false)
		woken = true
	}
}

// note handles the payload of a notification, which any role may have sent; waiting reports
// whether the connection was waiting when it came.
func (l *listener) note(payload string, waiting bool) {
	number, err := strconv.ParseInt(payload, 10, 64)
	switch {
	case payload == l.test && payload != "" && !waiting:
		l.test, l.testedAt = "", time.Time{} // it proves nothing: send another one
	case payload == l.test && payload != "":
		l.test, l.works, l.warned, l.unheard = "", true, false, false
		l.counts.SelfTests++
	case err != nil:
	case number > l.known:
		l.beyond = true
		l.counts.Notifications++
	default:
		l.counts.Notifications++
		l.notified = max(l.notified, number)
		l.overtaken = l.overtaken || number < l.known
	}
}

// answer acknowledges the newest request whose notification arrived, so that writers stop
// notifying. Not the newest drawn: its tail may still be asleep. One answer covers all
// notifications so far: if each were answered, old ones could keep the tail from ever
// reaching the request that writers notify for now. A request that this tail did not know
// of is answered with its next notification: until then, writers notify.
func (l *listener) answer(ctx context.Context) error {
	l.take(ctx)
	ctx, cancel := database.Within(ctx, l.limit)
	defer cancel()
	return database.InSession(ctx, l.conn, l.schema, func(q database.DB) error {
		if l.notified > 0 {
			if _, err := q.Exec(ctx, `SELECT outcrier.answer_wake_up($1)`, l.notified); err != nil {
				return err
			}
			l.notified = 0
			l.counts.Answers++
		}
		if l.beyond {
			l.beyond = false
			var drawn int64
			if err := q.QueryRow(ctx, `SELECT coalesce(pg_sequence_last_value('outcrier.wake_request'), 0)`).Scan(&drawn); err != nil {
				return err
			}
			l.learn(ctx, drawn)
		}
		return nil
	})
}
