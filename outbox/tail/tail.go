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

	"github.com/outcrier/outcrier/internal/outage"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
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
