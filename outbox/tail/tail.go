package tail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/outage"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/internal/table"
	"github.com/outcrier/outcrier/outbox/position"
)

// Wake is how a tail learns of commits.
type Wake string

const (
	// WakeNotify sleeps until a writer notifies; see listener.
	WakeNotify Wake = "notify"
	// WakePoll reads at intervals that get longer while nothing happens.
	WakePoll Wake = "poll"
)

// Tail follows the commits of an outbox: one goroutine, one connection. It passes every
// event to Deliver in exactly one Read, whatever the order of commits.
type Tail struct {
	// URL reaches the primary directly; LISTEN does not work through a
	// transaction pooler.
	URL string
	// Schema is where the outbox is; the default one by default.
	Schema outbox.Schema
	// Connected, when not nil, is called after each connect, before the first read. After a
	// failover other connections may still reach the old server, which need not have the
	// events delivered from here on: reset pools here.
	Connected func()
	// Start is called with the tail's first position before the first Deliver, and again
	// after each discontinuity: a failover that lost commits, a reset, or a connection lost
	// in the middle of a read. The reads that follow don't continue those before.
	Start func(position.Position)
	// Deliver gets the reads, in order. It must not block: the tail waits for
	// it. The events stay valid.
	Deliver func(Read)
	// Keys, when not nil, are read before Start is called, and kept up to date.
	Keys *position.Keys
	// Wake is WakeNotify by default.
	Wake Wake
	// Turn is the pause between reads while events flow: at more than a hundred a second,
	// or fewer where notifying would make writers wait for each other. 10 ms by default.
	// Otherwise events are delivered as they come.
	Turn time.Duration
	// IdleTurn is the longest time between two reads, in case a notification is lost: 1 s
	// by default.
	IdleTurn time.Duration
	// Silence is how long a statement may go without an answer before its connection is
	// considered dead, like one that a firewall has dropped: 10 s by default.
	Silence time.Duration
	// Log gets lost connections and their return. Nothing by default.
	Log *slog.Logger

	position   position.Position
	continuing bool // position is that of the last Deliver
	failed     bool // a read of many events from position has failed
	around     bool // reads go around open transactions, which may be large

	// dispatch has the durations of the present read.
	dispatch Durations

	// suspect is set when the database may have lost commits that the tail has read.
	suspect   atomic.Bool
	rechecked time.Time
	// keysRead is when Keys were last read, keysEvery how old they may get.
	keysRead  time.Time
	keysEvery time.Duration
	// erasedEvery is how often a long read looks for erasures.
	erasedEvery time.Duration
	// blind is until when long reads look for none, because that has failed; unwatched is for
	// the log.
	blind     time.Time
	unwatched outage.Outage

	// activity is sent with every notification and every read that has events.
	activity signal

	mu     sync.Mutex
	status Status
	// wake ends the present wait for a notification.
	wake context.CancelFunc
	// caughtUp is when the tail last had read everything, or began; reading is when the
	// present read began, zero between reads.
	caughtUp, reading time.Time
}

// Run follows until ctx ends and returns its cause. It replaces a lost connection, with
// growing pauses, for as long as it takes. It returns another error only if the first
// connection fails for a reason that waiting does not remove, like an unknown database; see
// outbox.Explain.
func (t *Tail) Run(ctx context.Context) error {
	t.Log = cmp.Or(t.Log, slog.New(slog.DiscardHandler))
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
	retry := database.Retry{First: 50 * time.Millisecond, Longest: 2 * time.Second}
	var failing outage.Outage
	followed := false
	for {
		err := t.session(ctx, func() {
			retry.Reset()
			followed = true
			if failures, lasted := failing.Ends(); failures > 0 {
				t.Log.InfoContext(ctx, "tail follows again", "after", lasted, "failures", failures)
			}
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		t.note(func(s *Status) { s.Following, s.Err, s.Listen = false, err, "" })
		if errors.Is(err, errErased) {
			t.Log.InfoContext(ctx, "tail starts again: events were erased while many were read")
			continue
		}
		why, permanent := outbox.Explain(err)
		if permanent && !followed {
			return fmt.Errorf("follow the outbox: %s: %w", why, err)
		}
		pause := retry.Next()
		if failing.Fails(database.Cause(err)) {
			said := "tail lost its connection"
			if !followed {
				said = "tail has no connection yet"
			}
			t.Log.WarnContext(ctx, said, "why", why, "err", database.OneLine(err), "retry_in", pause)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// session follows over one connection until it fails.
func (t *Tail) session(ctx context.Context, connected func()) error {
	conn, err := outbox.Connect(ctx, t.URL)
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
	var l *listener
	if t.Wake != WakePoll {
		l, err = listen(ctx, conn, t.Schema, t.Silence, t.Log)
		if err != nil {
			return err
		}
		defer l.close(ctx)
	}
	if err := t.begin(ctx, conn); err != nil {
		return database.Migrated(err)
	}
	connected()
	err = t.follow(ctx, conn, l)
	if cause := context.Cause(ctx); errors.Is(cause, errElsewhere) {
		return cause
	}
	return err
}

// settleLimit is for a database that was restored: all its rows are rewritten once.
const settleLimit = time.Hour

// begin resumes from the tail's position, if the database still has that, and starts at the
// end of the table otherwise.
func (t *Tail) begin(ctx context.Context, conn *pgx.Conn) error {
	history, err := t.settle(ctx, conn)
	if err != nil {
		return err
	}
	t.keysRead = time.Time{}
	if err := t.readKeys(ctx, conn); err != nil {
		return err
	}
	ctx, cancel := database.Within(ctx, t.Silence)
	defer cancel()
	return database.InSession(ctx, conn, t.Schema, func(q database.DB) error {
		if err := refuseRowSecurity(ctx, q); err != nil {
			return err
		}
		reason := position.OtherHistory
		if t.continuing && t.position.History == history {
			if _, reason, err = table.Verify(ctx, q, t.position, nil); err != nil {
				return err
			}
		}
		t.continuing = t.continuing && reason == ""
		if t.continuing {
			return nil
		}
		t.warnCache(ctx, q)
		at, err := table.Here(ctx, q, history)
		if err != nil {
			return err
		}
		t.Log.InfoContext(ctx, "tail starts", "position", at)
		t.position, t.continuing, t.failed = at, true, false
		t.Start(at)
		return nil
	})
}

// settle returns the present history. If there are rows from another cluster it settles
// them first, in several transactions.
func (t *Tail) settle(ctx context.Context, conn *pgx.Conn) (uint32, error) {
	ctx, cancel := database.Within(ctx, settleLimit)
	defer cancel()
	for first := true; ; first = false {
		var history *int64
		err := database.InSession(ctx, conn, t.Schema, func(q database.DB) error {
			return q.QueryRow(ctx, `SELECT outcrier.settle()`).Scan(&history)
		})
		switch {
		case err != nil:
			return 0, fmt.Errorf("settle the history: %w", err)
		case history != nil:
			return uint32(*history), nil
		case first:
			t.Log.InfoContext(ctx, "events of another cluster are settled before the tail starts")
		}
	}
}

// keysEvery is how old the keys of a tail may get. A new one is used ten minutes after it
// was made.
const keysEvery = 20 * time.Second

// readKeys reads the keys of positions, if they are older than keysEvery.
func (t *Tail) readKeys(ctx context.Context, conn *pgx.Conn) error {
	if t.Keys == nil || time.Since(t.keysRead) < cmp.Or(t.keysEvery, keysEvery) {
		return nil
	}
	ctx, cancel := database.Within(ctx, t.Silence)
	defer cancel()
	if err := database.InSession(ctx, conn, t.Schema, func(q database.DB) error { return t.Keys.Read(ctx, q.Querier, q.Schema) }); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	t.keysRead = time.Now()
	return nil
}

// rowSecuritySQL lists the tables of which policies may hide rows from this role. Of
// partitions only those of the parent count.
const rowSecuritySQL = `
SELECT string_agg(format('%I.%I', n.nspname, c.relname), ', ' ORDER BY c.relname), current_user::text
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.oid = (SELECT e.relnamespace FROM pg_class AS e WHERE e.oid = 'outcrier.event'::regclass)
	AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND row_security_active(c.oid)`

// refuseRowSecurity returns an error if row security would make reads fail or hide rows.
func refuseRowSecurity(ctx context.Context, q database.DB) error {
	var tables *string
	var role string
	if err := q.QueryRow(ctx, rowSecuritySQL).Scan(&tables, &role); err != nil {
		return fmt.Errorf("look for row level security: %w", err)
	}
	if tables != nil {
		return fmt.Errorf("row level security is on for table %s and applies to role %s: events would be missing; ALTER TABLE … DISABLE ROW LEVEL SECURITY, as the owner", *tables, role)
	}
	return nil
}

// Recheck makes the tail check at once whether the database still has the commits that it
// has read, and start afresh if not. It may be called from any goroutine, at any time.
func (t *Tail) Recheck() {
	t.suspect.Store(true)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.wake != nil {
		t.wake()
	}
}

// recheckEvery is the shortest time between two such checks.
const recheckEvery = 100 * time.Millisecond

func (t *Tail) recheck(ctx context.Context, conn *pgx.Conn) error {
	if !t.suspect.Load() {
		return nil
	}
	select {
	case <-time.After(time.Until(t.rechecked.Add(recheckEvery))):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	t.suspect.Store(false)
	t.rechecked = time.Now()
	return t.begin(ctx, conn)
}

// warnCache logs a warning if sessions cache ids: then ids no longer rise with the order of
// appends. No event is lost by that.
func (t *Tail) warnCache(ctx context.Context, q database.DB) {
	var cache int64
	err := q.QueryRow(ctx, `SELECT seqcache FROM pg_sequence WHERE seqrelid = 'outcrier.event_id'::regclass`).Scan(&cache)
	if err == nil && cache != 1 {
		t.Log.ErrorContext(ctx, "event_id has a cache: events may come out of order; ALTER SEQUENCE event_id CACHE 1", "schema", cmp.Or(t.Schema, outbox.DefaultSchema), "cache", cache)
	}
}

// A polling tail reads at least this often.
const pollTurn = 100 * time.Millisecond

// spuriousTurn is the shortest time between reads after spurious notifications.
const spuriousTurn = 10 * time.Millisecond

// follow reads at intervals while events flow, and sleeps until a writer notifies while
// there are few.
func (t *Tail) follow(ctx context.Context, conn *pgx.Conn, l *listener) error {
	pause := t.Turn
	var flow flow
	var requested *request
	flowing, asleep, woken := false, false, false
	var spurious time.Time // of the last spurious notification
	var clock clock
	for {
		if l != nil {
			l.selfTest(ctx, t.URL)
		}
		if err := t.compare(ctx, conn, &clock); err != nil {
			return err
		}
		if err := t.recheck(ctx, conn); err != nil {
			return database.Migrated(err)
		}
		if err := t.readKeys(ctx, conn); err != nil {
			return err
		}
		listening := l != nil && l.works
		draws := listening && !flowing && requested == nil
		if draws {
			l.take(ctx) // their writers have committed, and the read sees their events
			l.counts.Requests++
			requested = new(request)
		}
		events, snapshot, err := t.read(ctx, conn, !flowing, requested)
		if errors.Is(err, errReset) {
			t.continuing, requested = false, nil
			if err := t.begin(ctx, conn); err != nil {
				return database.Migrated(err)
			}
			continue
		}
		if err != nil {
			return err
		}
		heard := draws && l.learn(ctx, requested.number)
		if events > 0 || woken {
			t.activity.send()
		}
		overslept := asleep && events > 0
		asleep = false
		switch {
		case events > 0:
			pause = t.Turn
		case woken:
			spurious = time.Now()
		}
		woken = false
		flowing = flow.after(time.Now(), events)
		if l != nil && !flowing {
			if flowing, err = l.crowded(ctx); err != nil {
				return fmt.Errorf("look whether writers wait: %w", err)
			}
			if flowing {
				flow.hold(time.Now())
			}
		}
		switch {
		case listening && (flowing || overslept):
			// Request no wake-up for now: every writer would notify.
			pause, requested = t.Turn, nil
			if err := l.answer(ctx); err != nil {
				return fmt.Errorf("answer a wake-up: %w", err)
			}
			if overslept {
				if err := l.unnotified(ctx); err != nil {
					return fmt.Errorf("look at the notification queue: %w", err)
				}
			}
		case listening && requested == nil:
			continue // events flow no more
		case listening && requested.clear(snapshot):
			pause, asleep = t.IdleTurn, true
		case events == 0:
			pause = min(pause*2, pollTurn, t.IdleTurn)
		}
		t.note(func(s *Status) {
			s.Following, s.Err = true, nil
			s.InProgress = len(snapshot.InProgress)
			s.Listen, s.WakeUps = listenState(l), l.counted(s.WakeUps)
			s.Listening = s.Listen == ListenOff || s.Listen == ListenWorks
		})

		if l == nil {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			continue
		}
		if flowing {
			if err := l.rest(ctx, pause); err != nil {
				return err
			}
			continue
		}
		if !heard {
			if heard, err = t.sleep(ctx, l, pause); err != nil {
				return fmt.Errorf("wait for a notification: %w", err)
			}
		}
		if overslept && !heard {
			t.note(func(s *Status) { s.Caught += int64(events) })
		}
		if heard {
			pause, requested, asleep, woken = t.Turn, nil, false, true
			// Limit spurious notifications to a hundred reads a second.
			select {
			case <-time.After(time.Until(spurious.Add(spuriousTurn))):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

// Activity returns a channel that is closed by the next notification or read with events; nil
// while LISTEN does not work, since nothing may close it then. It may be called from any
// goroutine, at any time.
func (t *Tail) Activity() <-chan struct{} {
	if t.Status().Listen != ListenWorks {
		return nil
	}
	return t.activity.wait()
}

// signal wakes all goroutines that wait for it.
type signal struct {
	mu      sync.Mutex
	waiting chan struct{}
}

// wait returns a channel that is closed by the next send.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting = make(chan struct{})
	}
	return s.waiting
}

func (s *signal) send() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting != nil {
		close(s.waiting)
		s.waiting = nil
	}
}

// sleep waits for a notification, d at most, or until Recheck is called.
func (t *Tail) sleep(ctx context.Context, l *listener, d time.Duration) (heard bool, err error) {
	waiting, wake := context.WithCancel(ctx)
	defer wake()
	t.mu.Lock()
	t.wake = wake
	t.mu.Unlock()
	if t.suspect.Load() { // Recheck was called before wake was set
		return false, nil
	}
	heard, err = l.wait(waiting, d)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil && !l.conn.IsClosed() {
		return false, nil
	}
	return heard, err
}

// read reads new events, and delivers them.
func (t *Tail) read(ctx context.Context, conn *pgx.Conn, few bool, r *request) (events int, s table.Snapshot, err error) {
	asked := t.asks()
	for {
		to, s, events, err := t.readOnce(ctx, conn, few, r, asked)
		if err != nil {
			// Postgres sorts many events before it returns the first, which can take longer
			// than Silence, or more memory or disk than it has, at every attempt. At the
			// second failure the tail leaves them to replays, which read pages. The first
			// may have been the connection's. And while events are erased all the time, a read
			// of many would never end.
			if errors.Is(err, errMany) || errors.Is(err, errErased) {
				t.continuing = t.continuing && !t.failed
				t.failed = true
			}
			return events, s, fmt.Errorf("read the outbox: %w", err)
		}
		if to.Removal == t.position.Removal {
			t.position, t.failed = to, false
			t.hasRead(asked, events)
			return events, s, nil
		}
		// Events were removed since the last read, and nothing is delivered. Events that
		// were appended and removed in between are a gap. Each stream finds it out for
		// itself as long as its position is before the gap: an event of this read would
		// move it past. If there is no gap, later removals show in the next read.
		verified, err := t.verify(ctx, conn)
		if err != nil {
			return 0, s, err
		}
		t.position.Removal = verified.Removal
	}
}

// verify validates the tail's own position.
func (t *Tail) verify(ctx context.Context, conn *pgx.Conn) (verified position.Position, err error) {
	ctx, cancel := database.Within(ctx, t.Silence)
	defer cancel()
	err = database.InSession(ctx, conn, t.Schema, func(q database.DB) (err error) {
		var reason position.Reason
		verified, reason, err = table.Verify(ctx, q, t.position, nil)
		if err == nil && reason != "" {
			err = fmt.Errorf("the history went on without the tail: %s", reason)
		}
		return err
	})
	return verified, err
}

// readOnce reads once, and delivers unless events were removed since the last read.
func (t *Tail) readOnce(ctx context.Context, conn *pgx.Conn, few bool, r *request, asked time.Time) (to position.Position, s table.Snapshot, events int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(t.Silence, func() { cancel(database.ErrSilent) })
	defer watchdog.Stop()

	began, whole := time.Now(), false
	erasures := t.watchErasures(began)
	defer erasures.close(ctx)
	err = database.InSession(ctx, conn, t.Schema, func(q database.DB) (err error) {
		to, s, err = read(ctx, q, t.position, few, t.around, r, func(r Read) error {
			watchdog.Reset(t.Silence)
			if r.To.Removal != t.position.Removal {
				return nil
			}
			if (!r.First || !r.Last) && erasures.found(ctx, r.To) {
				cancel(errErased) // the rest of the read need not be taken off the connection
				return errErased
			}
			t.continuing = r.Last
			events += len(r.Events)
			r.Asked = asked
			t.observe(r.Events)
			t.Deliver(r)
			return nil
		})
		whole = err == nil
		return err
	})
	if whole {
		err = nil // the read is delivered: if only its transaction's end failed, the next read shows that
	}
	switch {
	case err != nil:
		err = errors.Join(err, context.Cause(ctx))
		t.around = true
	case t.around: // until none of these transactions is left
		n := len(s.InProgress)
		t.around = n > 0 && s.InProgress[n-1] > to.Given.Max
	default:
		t.around = time.Since(began) > slowRead
	}
	return to, s, events, err
}

// slowRead is longer than a read that visits few rows takes.
const slowRead = 20 * time.Millisecond
