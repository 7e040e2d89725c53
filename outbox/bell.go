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

// bell is a tail's side of the adaptive bell: writers ring only when a tail has
// asked for it, and a tail asks only when it is about to sleep. Migration
// 00003_bell.sql has the writers' side.
//
// No wake-up is lost: a writer whose trigger ran before the ticket was drawn has
// a smaller xid than the one drawn after the ticket, so the tail stays awake
// until all such transactions are over; every later trigger sees the ticket and
// rings.
type bell struct {
	conn    *pgx.Conn
	channel string
	silence time.Duration // a statement's, at most
	log     *slog.Logger

	// The bell is proven by ringing it from another connection: behind a
	// transaction pooler LISTEN succeeds and never hears a thing.
	proof  string
	rangAt time.Time
	proven bool
	told   bool // the log was told of silence

	rung int64 // the newest ticket that was rung with and is to be answered
	// drawn is the newest ticket of this tail; overtaken is set by a ring with an
	// older one. looked is when it last looked whether writers wait.
	drawn     int64
	overtaken bool
	looked    time.Time
}

const (
	// A proof that is not heard by then says that LISTEN does not work.
	proofWait = 2 * time.Second
	// How often the bell is proven anew, and again while it is not.
	proofEvery = time.Minute
	proofAgain = 5 * time.Second
	// How often to look whether writers wait, at most.
	lookEvery = 100 * time.Millisecond
)

// listen comes before the first read of a connection: what commits in between is
// seen by the one or heard by the other.
func listen(ctx context.Context, conn *pgx.Conn, silence time.Duration, log *slog.Logger) (*bell, error) {
	ctx, cancel := within(ctx, silence)
	defer cancel()
	b := &bell{conn: conn, silence: silence, log: log}
	if err := conn.QueryRow(ctx, `SELECT outbox_bell_channel()`).Scan(&b.channel); err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, `LISTEN `+pgx.Identifier{b.channel}.Sanitize()); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return b, nil
}

// prove rings the bell by a connection of its own when a proof is due, and takes
// note of one that was not heard.
func (b *bell) prove(ctx context.Context, url string) {
	pending, every := b.proof != "", proofEvery
	if !b.proven {
		every = proofAgain
	}
	switch {
	case pending && time.Since(b.rangAt) > proofWait:
		b.proof, b.proven = "", false
		if !b.told {
			b.told = true
			b.log.WarnContext(ctx, "listen is not heard: a transaction pooler or a replica stands between; polling until the tail has a direct connection")
		}
		return
	case pending || !b.rangAt.IsZero() && time.Since(b.rangAt) < every:
		return
	}
	b.rangAt = time.Now()
	if err := b.ring(ctx, url); err != nil {
		b.proof = ""
		b.log.WarnContext(ctx, "the bell can't be proven", "err", err, "retry_in", every)
	}
}

func (b *bell) ring(ctx context.Context, url string) error {
	ctx, cancel := within(ctx, b.silence)
	defer cancel()
	ringer, err := connect(ctx, url)
	if err != nil {
		return err
	}
	b.proof = "proof " + strconv.FormatInt(b.rangAt.UnixNano(), 36)
	_, err = ringer.Exec(ctx, `SELECT pg_notify($1, $2)`, b.channel, b.proof)
	return errors.Join(err, ringer.Close(ctx))
}

// ticket is a request to be woken. The fence are the transactions that may have
// passed the bell before it was asked for.
type ticket struct {
	xid    uint64
	fenced bool
	fence  []uint64
}

// askSQL draws a ticket and then an xid of its own. The xid is what makes the
// fence whole: a snapshot taken afterwards lists every transaction before it that
// is still open, while a snapshot alone may leave out running transactions beyond
// the latest completed one. They are two transactions, because nextval may
// assign its transaction's xid before the ticket can be seen, and a writer that
// came in between would have a larger one. In one round trip all the same: what
// follows a COMMIT in a simple query is a transaction of its own.
const askSQL = `BEGIN; SELECT nextval('outbox_bell_asked'); COMMIT; SELECT pg_current_xact_id()`

// ask draws a ticket. The rings heard by then are old: whoever rang has committed,
// and the read that follows will see it.
func (b *bell) ask(ctx context.Context) (*ticket, error) {
	b.take(ctx)
	ctx, cancel := within(ctx, b.silence)
	defer cancel()
	results, err := b.conn.PgConn().Exec(ctx, askSQL).ReadAll()
	if err != nil {
		return nil, err
	}
	if b.drawn, err = strconv.ParseInt(string(results[1].Rows[0][0]), 10, 64); err != nil {
		return nil, err
	}
	t := &ticket{}
	t.xid, err = strconv.ParseUint(string(results[3].Rows[0][0]), 10, 64)
	return t, err
}

// crowdSQL asks whether a transaction waits for the lock on the cluster's
// notifications, which is that of a database 0 (AsyncExistsPendingNotify and
// PreCommit_Notify in Postgres's async.c).
const crowdSQL = `
SELECT EXISTS (SELECT FROM pg_locks
	WHERE locktype = 'object' AND database = 0 AND classid = 'pg_database'::regclass AND objid = 0 AND NOT granted)`

// crowded tells whether writers wait for each other because they ring. It looks only
// when a ring was heard of a writer who had appended before the last ticket was
// drawn: where they wait in a queue, all are such. Writers on a slow disk or a busy
// machine could otherwise ring for ever: one at a time they are too few to be a flow.
func (b *bell) crowded(ctx context.Context) (crowded bool, err error) {
	if !b.overtaken || time.Since(b.looked) < lookEvery {
		return false, nil
	}
	b.overtaken, b.looked = false, time.Now()
	ctx, cancel := within(ctx, b.silence)
	defer cancel()
	err = b.conn.QueryRow(ctx, crowdSQL).Scan(&crowded)
	return crowded, err
}

// clear narrows the fence to the transactions that are still in progress in a
// later snapshot, and tells whether none is left.
func (t *ticket) clear(xip []uint64) bool {
	if !t.fenced {
		n, _ := slices.BinarySearch(xip, t.xid)
		t.fence, t.fenced = slices.Clone(xip[:n]), true
	}
	t.fence = slices.DeleteFunc(t.fence, func(xid uint64) bool {
		_, open := slices.BinarySearch(xip, xid)
		return !open
	})
	return len(t.fence) == 0
}

// wait waits for the bell, d at most.
func (b *bell) wait(ctx context.Context, d time.Duration) (rang bool, err error) {
	if b.take(ctx) {
		return true, nil
	}
	deadline, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	heard, err := b.conn.WaitForNotification(deadline)
	if err != nil {
		if ctx.Err() == nil && deadline.Err() != nil && !b.conn.IsClosed() {
			err = nil
		}
		return false, err
	}
	b.note(heard)
	return true, nil
}

// take takes what the connection has heard beside its last answer.
func (b *bell) take(ctx context.Context) (rang bool) {
	arrived, stop := context.WithCancel(ctx)
	stop() // what has been received is returned all the same
	for {
		heard, _ := b.conn.WaitForNotification(arrived)
		if heard == nil {
			return rang
		}
		b.note(heard)
		rang = true
	}
}

func (b *bell) note(heard *pgconn.Notification) {
	if heard.Payload == b.proof {
		b.proof, b.proven, b.told = "", true, false
	} else if number, err := strconv.ParseInt(heard.Payload, 10, 64); err == nil {
		b.rung = max(b.rung, number)
		b.overtaken = b.overtaken || number < b.drawn
	}
}

// answer silences the bell for the newest ticket that was rung with, never the
// newest drawn, whose owner may still be asleep. It answers for all that has come
// by then; answered one by one, old notifications could keep it from ever reaching
// the ticket that writers ring with now.
func (b *bell) answer(ctx context.Context) error {
	b.take(ctx)
	if b.rung == 0 {
		return nil
	}
	ctx, cancel := within(ctx, b.silence)
	defer cancel()
	_, err := b.conn.Exec(ctx, `SELECT outbox_bell_answer($1)`, b.rung)
	b.rung = 0
	return err
}
