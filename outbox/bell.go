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
	limit   time.Duration // of a statement
	log     *slog.Logger

	// The bell is proven by ringing it from another connection: behind a
	// transaction pooler LISTEN succeeds and hears nothing while it waits, though
	// perhaps something with an answer. Where connections
	// hang that are new, those who wait for events must not: ringing has the result
	// of a ring that is under way, and is nil while none is.
	proof   string
	ringing chan error
	stop    context.CancelFunc // of the ring that is under way
	rangAt  time.Time          // or when it was given up
	proven  bool
	silence bool // was told to the log

	// known is a ticket that was drawn, as far as this tail knows; rung is the
	// newest up to it that was rung with and is to be answered. Anyone may notify,
	// with any number: to answer one that is drawn only later would silence the
	// bell for a tail that was never woken.
	known, rung int64
	// beyond is set when a number above known was rung with: another tail's ticket
	// may be newer.
	beyond bool

	// overtaken is set by a ring with a ticket older than known; looked is when the
	// tail last looked whether writers wait.
	overtaken bool
	looked    time.Time

	unheard bool // a proof was not heard, and none since
	counts  BellCounts
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
func listen(ctx context.Context, conn *pgx.Conn, limit time.Duration, log *slog.Logger) (*bell, error) {
	ctx, cancel := within(ctx, limit)
	defer cancel()
	b := &bell{conn: conn, limit: limit, log: log}
	if err := conn.QueryRow(ctx, `SELECT outbox_bell_channel()`).Scan(&b.channel); err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, `LISTEN `+pgx.Identifier{b.channel}.Sanitize()); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return b, nil
}

// prove has the bell rung by a connection of its own when a proof is due, and takes
// note of one that was not heard.
func (b *bell) prove(ctx context.Context, url string) {
	every := proofEvery
	if !b.proven {
		every = proofAgain
	}
	if b.ringing != nil {
		select {
		case err := <-b.ringing:
			b.ringing, b.rangAt = nil, time.Now()
			if err != nil && b.proof != "" {
				b.proof = ""
				b.log.WarnContext(ctx, "the bell can't be proven", "err", err, "retry_in", every)
			}
		default:
		}
		return
	}
	switch {
	case b.proof != "" && time.Since(b.rangAt) > proofWait:
		b.proof, b.proven, b.unheard = "", false, true
		if !b.silence {
			b.silence = true
			b.log.WarnContext(ctx, "listen is not heard: a transaction pooler or a replica stands between; polling until the tail has a direct connection")
		}
	case b.proof == "" && (b.rangAt.IsZero() || time.Since(b.rangAt) >= every):
		b.proof = "proof " + strconv.FormatInt(time.Now().UnixNano(), 36)
		ctx, stop := within(ctx, b.limit)
		result, proof := make(chan error, 1), b.proof
		b.ringing, b.stop = result, stop
		go func() {
			defer stop()
			result <- ring(ctx, url, b.channel, proof)
		}()
	}
}

func ring(ctx context.Context, url, channel, proof string) error {
	ringer, err := connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = ringer.Exec(ctx, `SELECT pg_notify($1, $2)`, channel, proof)
	return errors.Join(err, ringer.Close(ctx))
}

// close ends what the bell has begun beside its connection.
func (b *bell) close(ctx context.Context) {
	if b.ringing == nil {
		return
	}
	b.stop()
	if err := <-b.ringing; err != nil {
		b.log.DebugContext(ctx, "proof of the bell cut short", "err", err)
	}
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
	ctx, cancel := within(ctx, b.limit)
	defer cancel()
	b.counts.Asked++
	results, err := b.conn.PgConn().Exec(ctx, askSQL).ReadAll()
	if err != nil {
		return nil, err
	}
	drawn, err := strconv.ParseInt(string(results[1].Rows[0][0]), 10, 64)
	if err != nil {
		return nil, err
	}
	b.learn(ctx, drawn)
	t := &ticket{}
	t.xid, err = strconv.ParseUint(string(results[3].Rows[0][0]), 10, 64)
	return t, err
}

// learn takes note of a ticket that was drawn. What has been heard by now may have
// been sent before that, and is held against what was known then.
func (b *bell) learn(ctx context.Context, drawn int64) {
	b.take(ctx)
	b.known = max(b.known, drawn)
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
	ctx, cancel := within(ctx, b.limit)
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
	return b.hear(ctx, d)
}

// rest passes over d, listening if there is a proof to hear.
func (b *bell) rest(ctx context.Context, d time.Duration) error {
	b.take(ctx) // what came with an answer, and proves nothing
	for end := time.Now().Add(d); b.proof != "" && d > 0; d = time.Until(end) {
		if _, err := b.hear(ctx, d); err != nil {
			return fmt.Errorf("wait for the proof of the bell: %w", err)
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
func (b *bell) hear(ctx context.Context, d time.Duration) (rang bool, err error) {
	deadline, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	heard, err := b.conn.WaitForNotification(deadline)
	if err != nil {
		if ctx.Err() == nil && deadline.Err() != nil && !b.conn.IsClosed() {
			err = nil
		}
		return false, err
	}
	b.note(heard.Payload, true)
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
		b.note(heard.Payload, false)
		rang = true
	}
}

// note reads a payload, which may be anyone's, and whether the connection was waiting
// when it came.
func (b *bell) note(payload string, waiting bool) {
	number, err := strconv.ParseInt(payload, 10, 64)
	switch {
	case payload == b.proof && payload != "" && !waiting:
		b.proof, b.rangAt = "", time.Time{} // it tells nothing: another one
	case payload == b.proof && payload != "":
		b.proof, b.proven, b.silence, b.unheard = "", true, false, false
		b.counts.Proofs++
	case err != nil:
	case number > b.known:
		b.beyond = true
		b.counts.Rang++
	default:
		b.counts.Rang++
		b.rung = max(b.rung, number)
		b.overtaken = b.overtaken || number < b.known
	}
}

// answer silences the bell for the newest ticket that was rung with, never the
// newest drawn, whose owner may still be asleep. It answers for all that has come
// by then; answered one by one, old notifications could keep it from ever reaching
// the ticket that writers ring with now. A ticket that this tail did not know of is
// answered when it is rung with again: as long as nobody has, writers ring.
func (b *bell) answer(ctx context.Context) error {
	b.take(ctx)
	ctx, cancel := within(ctx, b.limit)
	defer cancel()
	if b.rung > 0 {
		if _, err := b.conn.Exec(ctx, `SELECT outbox_bell_answer($1)`, b.rung); err != nil {
			return err
		}
		b.rung = 0
		b.counts.Answered++
	}
	if b.beyond {
		b.beyond = false
		var drawn int64
		if err := b.conn.QueryRow(ctx, `SELECT coalesce(pg_sequence_last_value('outbox_bell_asked'), 0)`).Scan(&drawn); err != nil {
			return err
		}
		b.learn(ctx, drawn)
	}
	return nil
}
