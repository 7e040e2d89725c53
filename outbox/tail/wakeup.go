package tail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/outage"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/internal/table"
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

const (
	// A test whose notification has not arrived by then shows that LISTEN does not work.
	testWait = 2 * time.Second
	// How often LISTEN is tested, and again while it does not work.
	testEvery = time.Minute
	testAgain = 5 * time.Second
	// The shortest time between two checks whether writers wait.
	lookEvery = 100 * time.Millisecond
)

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

// selfTest sends a notification over a connection of its own when a test is due, and
// records a test that failed.
func (l *listener) selfTest(ctx context.Context, url string) {
	every := testEvery
	if !l.works {
		every = testAgain
	}
	if l.testing != nil {
		select {
		case err := <-l.testing:
			l.testing = nil
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
			case err == nil && (l.test != "" || l.works): // otherwise the queue was found full since
				message := "listen is tested again"
				if l.full {
					message = "the notification queue of Postgres has room again: writers notify"
				}
				l.full = false
				if failures, lasted := l.failing.Ends(); failures > 0 {
					l.log.InfoContext(ctx, message, "after", lasted, "failures", failures)
				}
			}
		default:
		}
		return
	}
	switch {
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

// request is a request to be woken. It is drawn by a read, in one statement: the statement's
// snapshot comes first, then the request can be seen, and then the next xid is read. Every
// writer that looked before the request could be seen had its xid by then, below next. So if
// nothing below next is in progress in the snapshot, the read has all events of those
// writers, and the tail may sleep: all others see the request and notify. If not, later
// reads wait until it is so.
type request struct {
	number int64
	next   uint64 // 0 while it is not known
}

// seen takes what a read has drawn and seen.
func (r *request) seen(about aboutRow, s table.Snapshot) {
	if about.drawn != 0 {
		r.number = about.drawn
	}
	if r.next == 0 && about.aged {
		r.next = nextXID(about.age, s.Max)
	}
}

// nextXID returns the xid that has this age (of xid 3, to 32 bits), the first from max on.
func nextXID(age int64, max uint64) uint64 {
	return max + uint64(uint32(age)+3-uint32(max))
}

// clear reports whether the tail may sleep after a read of the snapshot.
func (r *request) clear(s table.Snapshot) bool { return r.next != 0 && s.Min >= r.next }

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
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
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
