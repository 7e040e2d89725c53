package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Wake is how a tail learns of commits.
type Wake string

const (
	// WakeBell sleeps until a writer rings; see bell.
	WakeBell Wake = "bell"
	// WakePoll only looks, in turns that get longer while nothing happens.
	WakePoll Wake = "poll"
)

// Tail follows the commits of an outbox: one goroutine, one connection. It hands
// every event to Deliver in exactly one Read, whatever the order of commits.
type Tail struct {
	// URL reaches the primary directly; LISTEN does not work through a
	// transaction pooler.
	URL string
	// Connected, when not nil, is told of each connection before anything is read over
	// it. After a failover other connections may still lead to the server of before:
	// what was delivered from here on need not be there.
	Connected func()
	// Start is told where the tail starts, before any Deliver, and again
	// whenever it can't go on from where it was: after a failover that lost
	// commits, or a connection lost in the middle of a read. What follows then
	// does not continue what came before.
	Start func(Position)
	// Deliver gets the reads, in order. It must not block: the tail waits for
	// it. The events stay valid.
	Deliver func(Read)
	// Wake is WakeBell by default.
	Wake Wake
	// Turn is the pause between reads while events flow, more than a hundred a
	// second, or fewer where writers would wait for each other to ring: 10 ms by
	// default. Otherwise they are delivered as they come.
	Turn time.Duration
	// IdleTurn is the longest time without a look at the table, a net under
	// the bell: 1 s by default.
	IdleTurn time.Duration
	// Silence is how long a statement may bring nothing before its connection is
	// taken for dead, as one is that a firewall has forgotten: 10 s by default.
	Silence time.Duration
	// Log gets lost connections and their return.
	Log *slog.Logger

	position   Position
	continuing bool // position is where Deliver stands
	failed     bool // a read of many events from position has failed
	around     bool // reads go around open transactions, which may be large

	// dispatch is of the present read.
	dispatch Durations

	mu     sync.Mutex
	status Status
	// stood is when the tail last stood at the end of the table, or began; reading
	// is since when it reads, zero between reads.
	stood, reading time.Time
}

// ErrNotMigrated is returned for a database without the outbox's schema.
var ErrNotMigrated = errors.New("the outbox's tables are missing: run outcrier migrate up")

// Run follows until ctx ends and returns its cause. A lost connection is made
// anew, with growing pauses, for as long as it takes.
func (t *Tail) Run(ctx context.Context) error {
	if t.Turn == 0 {
		t.Turn = 10 * time.Millisecond
	}
	if t.IdleTurn == 0 {
		t.IdleTurn = time.Second
	}
	if t.Silence == 0 {
		t.Silence = 10 * time.Second
	}
	t.begun()
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = 50*time.Millisecond, 2*time.Second
	for {
		err := t.session(ctx, retry.Reset)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		t.note(func(s *Status) { s.Following, s.Err, s.Listen = false, err, "" })
		pause := retry.NextBackOff()
		t.Log.WarnContext(ctx, "tail lost its connection", "err", err, "retry_in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// session follows over one connection until it fails.
func (t *Tail) session(ctx context.Context, connected func()) error {
	conn, err := connect(ctx, t.URL)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if t.Connected != nil {
		t.Connected()
	}
	ctx, guarded, err := guard(ctx, conn, t.URL, t.Silence)
	if err != nil {
		return err
	}
	defer guarded()
	var b *bell
	if t.Wake != WakePoll {
		b, err = listen(ctx, conn, t.Silence, t.Log)
		if err != nil {
			return migrated(err)
		}
		defer b.close(ctx)
	}
	if err := t.begin(ctx, conn); err != nil {
		return migrated(err)
	}
	connected()
	err = t.follow(ctx, conn, b)
	if cause := context.Cause(ctx); errors.Is(cause, errElsewhere) {
		return cause
	}
	return err
}

// settleLimit is for a database that was restored: all its rows are rewritten once.
const settleLimit = time.Hour

// begin goes on from where the tail was, if the database still knows that
// place, and starts afresh otherwise.
func (t *Tail) begin(ctx context.Context, conn *pgx.Conn) error {
	settling, cancel := within(ctx, settleLimit)
	defer cancel()
	var history int64
	if err := conn.QueryRow(settling, `SELECT outbox_settle()`).Scan(&history); err != nil {
		return fmt.Errorf("settle the history: %w", err)
	}
	ctx, cancel = within(ctx, t.Silence)
	defer cancel()
	if t.continuing && t.position.History == uint32(history) {
		_, reason, err := verify(ctx, conn, t.position, nil)
		if err != nil {
			return err
		}
		t.continuing = reason == ""
	} else {
		t.continuing = false
	}
	if !t.continuing {
		t.warnCache(ctx, conn)
		position, err := here(ctx, conn, uint32(history))
		if err != nil {
			return err
		}
		t.Log.InfoContext(ctx, "tail starts", "position", position)
		t.position, t.continuing, t.failed = position, true, false
		t.Start(position)
	}
	return nil
}

// warnCache says when sessions keep ids for later: then ids no longer rise with
// the order of appends. Nothing is lost by it.
func (t *Tail) warnCache(ctx context.Context, conn *pgx.Conn) {
	var cache int64
	err := conn.QueryRow(ctx, `SELECT seqcache FROM pg_sequence WHERE seqrelid = 'outbox_id_seq'::regclass`).Scan(&cache)
	if err == nil && cache != 1 {
		t.Log.ErrorContext(ctx, "outbox_id_seq has a cache: events may come out of order; ALTER SEQUENCE outbox_id_seq CACHE 1", "cache", cache)
	}
}

// A polling tail looks at least this often.
const pollTurn = 100 * time.Millisecond

// vainTurn is the shortest time between looks for which the bell was rung in vain.
const vainTurn = 10 * time.Millisecond

// follow reads in turns while events flow, and sleeps until the bell rings while
// they are few.
func (t *Tail) follow(ctx context.Context, conn *pgx.Conn, b *bell) error {
	pause := t.Turn
	var flow flow
	var asked *ticket
	flowing, asleep, woken := false, false, false
	var vain time.Time // when the bell was last rung for nothing
	var clock clock
	for {
		if b != nil {
			b.prove(ctx, t.URL)
		}
		if err := t.compare(ctx, conn, &clock); err != nil {
			return err
		}
		events, xip, err := t.read(ctx, conn, !flowing)
		if err != nil {
			return err
		}
		overslept := asleep && events > 0
		asleep = false
		switch {
		case events > 0:
			pause = t.Turn
		case woken:
			vain = time.Now()
		}
		woken = false
		flowing = flow.after(time.Now(), events)
		if b != nil && !flowing {
			if flowing, err = b.crowded(ctx); err != nil {
				return fmt.Errorf("look whether writers wait: %w", err)
			}
			if flowing {
				flow.hold(time.Now())
			}
		}
		bell := b != nil && b.proven
		switch {
		case bell && (flowing || overslept):
			// To ask would have every writer ring.
			pause, asked = t.Turn, nil
			if err := b.answer(ctx); err != nil {
				return fmt.Errorf("answer the bell: %w", err)
			}
		case bell && asked == nil:
			if asked, err = b.ask(ctx); err != nil {
				return fmt.Errorf("ask for the bell: %w", err)
			}
			continue
		case bell && asked.clear(xip):
			pause, asleep = t.IdleTurn, true
		case events == 0:
			pause = min(pause*2, pollTurn, t.IdleTurn)
		}
		t.note(func(s *Status) {
			s.Following, s.Err = true, nil
			s.InProgress = len(xip)
			s.Listen, s.Bell = listenState(b), b.counted(s.Bell)
			s.Listening = s.Listen == ListenOff || s.Listen == ListenProven
		})

		if b == nil {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			continue
		}
		if flowing {
			if err := b.rest(ctx, pause); err != nil {
				return err
			}
			continue
		}
		rang, err := b.wait(ctx, pause)
		if err != nil {
			return fmt.Errorf("wait for the bell: %w", err)
		}
		if overslept && !rang {
			t.note(func(s *Status) { s.Caught += int64(events) })
		}
		if rang {
			pause, asked, asleep, woken = t.Turn, nil, false, true
			// Whoever rings for nothing costs a hundred looks a second, and no
			// more.
			select {
			case <-time.After(time.Until(vain.Add(vainTurn))):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

// read reads what is new, and delivers it.
func (t *Tail) read(ctx context.Context, conn *pgx.Conn, few bool) (events int, xip []uint64, err error) {
	asked := t.asks()
	for {
		to, xip, events, err := t.readOnce(ctx, conn, few, asked)
		if err != nil {
			// Postgres sorts many events before it gives the first, which can take
			// longer than Silence, or more memory or disk than it has, whenever it
			// is tried. The next time the tail leaves them to replays, which go by
			// pages. The first time the connection may have been the cause.
			if errors.Is(err, errMany) {
				t.continuing = t.continuing && !t.failed
				t.failed = true
			}
			return events, nil, fmt.Errorf("read the outbox: %w", err)
		}
		if to.Trim == t.position.Trim {
			t.position, t.failed = to, false
			t.hasRead(asked, events)
			return events, xip, nil
		}
		// Events were removed since the last read, and nothing is delivered. What was
		// appended and removed in between is a gap, which each stream finds out for
		// itself as long as it stands before it: an event of this read would take it
		// past. If there is none, what is removed from here on shows in the next read.
		verified, err := t.verify(ctx, conn)
		if err != nil {
			return 0, nil, err
		}
		t.position.Trim = verified.Trim
	}
}

// verify asks whether the tail can still go on from where it is.
func (t *Tail) verify(ctx context.Context, conn *pgx.Conn) (Position, error) {
	ctx, cancel := within(ctx, t.Silence)
	defer cancel()
	verified, reason, err := verify(ctx, conn, t.position, nil)
	if err == nil && reason != "" {
		err = fmt.Errorf("the history went on without the tail: %s", reason)
	}
	return verified, err
}

// readOnce reads once, and delivers unless events were removed since the last read.
func (t *Tail) readOnce(ctx context.Context, conn *pgx.Conn, few bool, asked time.Time) (to Position, xip []uint64, events int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(t.Silence, func() { cancel(errSilent) })
	defer watchdog.Stop()

	began := time.Now()
	to, xip, err = read(ctx, conn, t.position, few, t.around, func(r Read) {
		watchdog.Reset(t.Silence)
		if r.To.Trim != t.position.Trim {
			return
		}
		t.continuing = r.Last
		events += len(r.Events)
		r.Asked = asked
		t.observe(r.Events)
		t.Deliver(r)
	})
	switch {
	case err != nil:
		err = errors.Join(err, context.Cause(ctx))
		t.around = true
	case t.around: // until none of them is left
		t.around = len(xip) > 0 && xip[len(xip)-1] > to.Given.Max
	default:
		t.around = time.Since(began) > slowRead
	}
	return to, xip, events, err
}

// slowRead is longer than a read takes that has few rows to look at.
const slowRead = 20 * time.Millisecond

// migrated tells a missing schema from other errors.
func migrated(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "42883") {
		return fmt.Errorf("%w (%w)", ErrNotMigrated, err)
	}
	return err
}
