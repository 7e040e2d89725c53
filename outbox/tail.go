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

	mu     sync.Mutex
	status Status
}

// Status is the state of a tail at one moment.
type Status struct {
	// Following is true while the tail is connected and has caught up.
	Following bool
	// Listening is true when LISTEN is proven, or not asked for.
	Listening bool
	// Reads, Events and Caught count reads, events delivered, and events that
	// only the idle turn found although the bell should have rung.
	Reads, Events, Caught int64
	// Err is why the tail is not following, nil when it is.
	Err error
}

// Status may be called at any time from any goroutine.
func (t *Tail) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status
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
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = 50*time.Millisecond, 2*time.Second
	for {
		err := t.session(ctx, retry.Reset)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		t.note(func(s *Status) { s.Following, s.Err = false, err })
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
	var b *bell
	if t.Wake != WakePoll {
		b, err = listen(ctx, conn, t.Silence, t.Log)
		if err != nil {
			return migrated(err)
		}
	}
	if err := t.begin(ctx, conn); err != nil {
		return migrated(err)
	}
	connected()
	return t.follow(ctx, conn, b)
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
		reason, _, err := verify(ctx, conn, t.position)
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
		t.position, t.continuing = position, true
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

// follow reads in turns while events flow, and sleeps until the bell rings while
// they are few.
func (t *Tail) follow(ctx context.Context, conn *pgx.Conn, b *bell) error {
	pause := t.Turn
	var flow flow
	var asked *ticket
	flowing, asleep := false, false
	for {
		if b != nil {
			if flowing && !b.proven {
				b.take(ctx) // nobody waits for the bell now, and the proof may be there
			}
			b.prove(ctx, t.URL)
		}
		events, xip, err := t.read(ctx, conn, !flowing)
		if err != nil {
			return err
		}
		overslept := asleep && events > 0
		asleep = false
		if events > 0 {
			pause = t.Turn
		}
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
			s.Listening = t.Wake == WakePoll || b.proven
		})

		if b == nil || flowing {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return context.Cause(ctx)
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
			pause, asked, asleep = t.Turn, nil, false
		}
	}
}

// read reads once and delivers.
func (t *Tail) read(ctx context.Context, conn *pgx.Conn, few bool) (events int, xip []uint64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(t.Silence, func() { cancel(errSilent) })
	defer watchdog.Stop()

	to, xip, err := read(ctx, conn, t.position, few, func(r Read) {
		watchdog.Reset(t.Silence)
		t.continuing = r.Last
		events += len(r.Events)
		t.Deliver(r)
	})
	if err != nil {
		return events, nil, fmt.Errorf("read the outbox: %w", errors.Join(err, context.Cause(ctx)))
	}
	from := t.position
	t.position = to
	if to.Trim != from.Trim {
		// What was removed before it could be read is a gap for whoever
		// follows; each stream finds out for itself.
		reason, _, err := verify(ctx, conn, from)
		if err == nil && reason != "" {
			err = fmt.Errorf("the history went on without the tail: %s", reason)
		}
		if err != nil {
			t.continuing = false
			return events, nil, err
		}
	}
	t.note(func(s *Status) { s.Reads++; s.Events += int64(events) })
	return events, xip, nil
}

func (t *Tail) note(change func(*Status)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.status)
}

// migrated tells a missing schema from other errors.
func migrated(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "42883") {
		return fmt.Errorf("%w (%w)", ErrNotMigrated, err)
	}
	return err
}
