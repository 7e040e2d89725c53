package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// listener is a tail's side of the adaptive wake-up: writers notify only when a tail
// has requested it, and a tail requests it only when it is about to sleep. Migration
// 00002_wake_up.sql has the writers' side.
//
// No wake-up is lost: a writer that looked before the request was drawn has a smaller
// xid than the one drawn after the request, so the tail stays awake until all such
// transactions are over; every writer that looks later sees the request and notifies.
type listener struct {
	conn    *pgx.Conn
	schema  Schema
	channel string        // the schema's name
	limit   time.Duration // of a statement
	log     *slog.Logger

	prepared bool // the statements that draw a request

	// LISTEN is tested by a notification from another connection: behind a transaction
	// pooler it succeeds and hears nothing while it waits, though perhaps something with
	// an answer. Where connections that are new hang, those who wait for events must not:
	// testing has the result of a test that is being sent, and is nil while none is.
	test     string
	testing  chan error
	stop     context.CancelFunc // of the test that is being sent
	testedAt time.Time          // or when it was given up
	works    bool
	warned   bool

	// known is a request that was drawn, as far as this tail knows; notified is the
	// newest up to it that a notification had and that is to be answered. Anyone may
	// notify, with any number: to answer a request that is drawn only later would stop
	// the notifications for a tail that was never woken.
	known, notified int64
	// beyond is set when a notification had a number above known: another tail's request
	// may be newer.
	beyond bool

	// overtaken is set by a notification for a request older than known; looked is when
	// the tail last looked whether writers wait.
	overtaken bool
	looked    time.Time

	unheard bool // a test was not heard, and none since
	counts  WakeUpCounts
}

const (
	// A test that is not heard by then says that LISTEN does not work.
	testWait = 2 * time.Second
	// How often LISTEN is tested, and again while it does not work.
	testEvery = time.Minute
	testAgain = 5 * time.Second
	// How often to look whether writers wait, at most.
	lookEvery = 100 * time.Millisecond
)

// listen comes before the first read of a connection: what commits in between is
// seen by the one or heard by the other.
func listen(ctx context.Context, conn *pgx.Conn, schema Schema, limit time.Duration, log *slog.Logger) (*listener, error) {
	ctx, cancel := within(ctx, limit)
	defer cancel()
	l := &listener{conn: conn, schema: schema, channel: string(schema.orDefault()), limit: limit, log: log}
	if _, err := conn.Exec(ctx, `LISTEN `+pgx.Identifier{l.channel}.Sanitize()); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// selfTest notifies by a connection of its own when a test is due, and takes note of
// one that was not heard.
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
			if err != nil && l.test != "" {
				l.test = ""
				l.log.WarnContext(ctx, "listen can't be tested", "err", err, "retry_in", every)
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
			l.log.WarnContext(ctx, "listen is not heard: a transaction pooler or a replica stands between; polling until the tail has a direct connection")
		}
	case l.test == "" && (l.testedAt.IsZero() || time.Since(l.testedAt) >= every):
		l.test = "test " + strconv.FormatInt(time.Now().UnixNano(), 36)
		ctx, stop := within(ctx, l.limit)
		result, test := make(chan error, 1), l.test
		l.testing, l.stop = result, stop
		go func() {
			defer stop()
			result <- notify(ctx, url, l.channel, test)
		}()
	}
}

func notify(ctx context.Context, url, channel, payload string) error {
	conn, err := Connect(ctx, url)
	if err != nil {
		return err
	}
	err = inSession(ctx, conn, "", func(q db) error {
		_, err := q.Exec(ctx, `SELECT pg_notify($1, $2)`, channel, payload)
		return err
	})
	return errors.Join(err, conn.Close(ctx))
}

// close ends what the listener has begun beside its connection.
func (l *listener) close(ctx context.Context) {
	if l.testing == nil {
		return
	}
	l.stop()
	if err := <-l.testing; err != nil {
		l.log.DebugContext(ctx, "test of listen cut short", "err", err)
	}
}

// request is a request to be woken. The fence are the transactions that may have
// looked for a request before it was drawn.
type request struct {
	xid    uint64
	fenced bool
	fence  []uint64
}

// A request is drawn, and then an xid. The xid is what makes the fence whole: a
// snapshot taken afterwards lists every transaction before it that is still open,
// while a snapshot alone may leave out running transactions beyond the latest
// completed one. They are two transactions, because nextval may assign its
// transaction's xid before the request can be seen, and a writer that came in between
// would have a larger one. In one round trip all the same: a Sync ends a transaction,
// and need not be waited for.
const (
	drawSQL = `SELECT pg_catalog.nextval('outcrier.wake_request'::pg_catalog.regclass)`
	xidSQL  = `SELECT pg_catalog.pg_current_xact_id()`
)

// request draws a request. The notifications heard by then are old: whoever notified
// has committed, and the read that follows will see it.
func (l *listener) request(ctx context.Context) (*request, error) {
	l.take(ctx)
	ctx, cancel := within(ctx, l.limit)
	defer cancel()
	l.counts.Requests++
	drawn, xid, err := l.draw(ctx)
	if err != nil {
		return nil, err
	}
	l.learn(ctx, drawn)
	return &request{xid: xid}, nil
}

func (l *listener) draw(ctx context.Context) (drawn int64, xid uint64, err error) {
	conn := l.conn.PgConn()
	if !l.prepared {
		for name, query := range map[string]string{"draw": l.schema.SQL(drawSQL), "xid": xidSQL} {
			if _, err := conn.Prepare(ctx, name, query, nil); err != nil {
				return 0, 0, err
			}
		}
		l.prepared = true
	}
	pipeline := conn.StartPipeline(ctx)
	pipeline.SendQueryPrepared("draw", nil, nil, nil)
	pipeline.SendPipelineSync()
	pipeline.SendQueryPrepared("xid", nil, nil, nil)
	err = pipeline.Sync()
	var values []string
	for err == nil && len(values) < 2 {
		var result any
		result, err = pipeline.GetResults()
		if rows, ok := result.(*pgconn.ResultReader); ok {
			read := rows.Read()
			if err = read.Err; err == nil {
				values = append(values, string(read.Rows[0][0]))
			}
		}
	}
	if err = errors.Join(err, pipeline.Close()); err != nil {
		return 0, 0, err
	}
	if drawn, err = strconv.ParseInt(values[0], 10, 64); err != nil {
		return 0, 0, err
	}
	xid, err = strconv.ParseUint(values[1], 10, 64)
	return drawn, xid, err
}

// learn takes note of a request that was drawn. What has been heard by now may have
// been sent before that, and is held against what was known then.
func (l *listener) learn(ctx context.Context, drawn int64) {
	l.take(ctx)
	l.known = max(l.known, drawn)
}

// crowdSQL asks whether a transaction waits for the lock on the cluster's
// notifications, which is that of a database 0 (AsyncExistsPendingNotify and
// PreCommit_Notify in Postgres's async.c).
const crowdSQL = `
SELECT EXISTS (SELECT FROM pg_locks
	WHERE locktype = 'object' AND database = 0 AND classid = 'pg_database'::regclass AND objid = 0 AND NOT granted)`

// crowded reports whether writers wait for each other because they notify. It looks
// only when a notification was heard of a writer who had looked before the last request
// was drawn: where they wait in a queue, all are such. Writers on a slow disk or a busy
// machine could otherwise notify for ever: one at a time they are too few to be a flow.
func (l *listener) crowded(ctx context.Context) (crowded bool, err error) {
	if !l.overtaken || time.Since(l.looked) < lookEvery {
		return false, nil
	}
	l.overtaken, l.looked = false, time.Now()
	ctx, cancel := within(ctx, l.limit)
	defer cancel()
	err = inSession(ctx, l.conn, l.schema, func(q db) error { return q.QueryRow(ctx, crowdSQL).Scan(&crowded) })
	return crowded, err
}

// clear narrows the fence to the transactions that are still in progress in a
// later snapshot, and reports whether none is left.
func (r *request) clear(xip []uint64) bool {
	if !r.fenced {
		n, _ := slices.BinarySearch(xip, r.xid)
		r.fence, r.fenced = slices.Clone(xip[:n]), true
	}
	r.fence = slices.DeleteFunc(r.fence, func(xid uint64) bool {
		_, open := slices.BinarySearch(xip, xid)
		return !open
	})
	return len(r.fence) == 0
}

// wait waits for a notification, d at most.
func (l *listener) wait(ctx context.Context, d time.Duration) (woken bool, err error) {
	if l.take(ctx) {
		return true, nil
	}
	return l.hear(ctx, d)
}

// rest passes over d, listening if there is a test to hear.
func (l *listener) rest(ctx context.Context, d time.Duration) error {
	l.take(ctx) // what came with an answer, and shows nothing
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

// hear waits for what comes while the connection waits, d at most.
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

// take takes what the connection has heard beside its last answer.
func (l *listener) take(ctx context.Context) (woken bool) {
	arrived, stop := context.WithCancel(ctx)
	stop() // what has been received is returned all the same
	for {
		heard, _ := l.conn.WaitForNotification(arrived)
		if heard == nil {
			return woken
		}
		l.note(heard.Payload, false)
		woken = true
	}
}

// note reads a payload, which may be anyone's, and whether the connection was waiting
// when it came.
func (l *listener) note(payload string, waiting bool) {
	number, err := strconv.ParseInt(payload, 10, 64)
	switch {
	case payload == l.test && payload != "" && !waiting:
		l.test, l.testedAt = "", time.Time{} // it shows nothing: another one
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

// answer ends the notifications for the newest request that one was heard for, never
// the newest drawn, whose tail may still be asleep. It answers for all that has come
// by then; answered one by one, old notifications could keep it from ever reaching
// the request that writers notify for now. A request that this tail did not know of is
// answered with the next notification for it: as long as nobody has, writers notify.
func (l *listener) answer(ctx context.Context) error {
	l.take(ctx)
	ctx, cancel := within(ctx, l.limit)
	defer cancel()
	return inSession(ctx, l.conn, l.schema, func(q db) error {
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
