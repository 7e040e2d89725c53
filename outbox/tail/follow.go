package tail

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/internal/table"
)

// A polling tail reads at least this often.
const pollTurn = 100 * time.Millisecond

// spuriousTurn is the shortest time between reads after spurious notifications.
const spuriousTurn = 10 * time.Millisecond

// follower is a tail on one connection. While events flow it reads at intervals; while there
// are few, it sleeps until a writer notifies.
type follower struct {
	*Tail
	conn     *pgx.Conn
	listener *listener // nil with WakePoll
	clock    clock
	flow     flow

	// requested is the wake-up that the tail has requested and was not sent yet, or nil.
	requested *request
	// pause is how long to wait before the next read, if nothing wakes the tail.
	pause time.Duration
	// flowing: events flow, and writers need not notify. asleep: since the last read every
	// commit should have notified. woken: a notification has ended the last wait.
	flowing, asleep, woken bool
	// spurious is when a notification last came without an event.
	spurious time.Time
}

// follow reads, delivers and waits until the connection fails.
func (t *Tail) follow(ctx context.Context, conn *pgx.Conn, l *listener) error {
	f := follower{Tail: t, conn: conn, listener: l, pause: t.Turn}
	for {
		if err := f.turn(ctx); err != nil {
			return err
		}
	}
}

// turn reads once, delivers, and waits until it is time for the next read.
func (f *follower) turn(ctx context.Context) error {
	if err := f.check(ctx); err != nil {
		return err
	}
	l := f.listener
	listening := l != nil && l.works
	draws := listening && !f.flowing && f.requested == nil
	if draws {
		l.take(ctx) // their writers have committed, and the read sees their events
		l.counts.Requests++
		f.requested = new(request)
	}
	events, snapshot, err := f.read(ctx, f.conn, !f.flowing, f.requested)
	if errors.Is(err, errReset) {
		f.continuing, f.requested = false, nil
		return database.Migrated(f.begin(ctx, f.conn))
	}
	if err != nil {
		return err
	}
	heard := draws && l.learn(ctx, f.requested.number)
	overslept := f.asleep && events > 0
	f.asleep = false
	if err := f.count(ctx, events); err != nil {
		return err
	}
	switch {
	case listening && (f.flowing || overslept):
		if err := f.unrequest(ctx, overslept); err != nil {
			return err
		}
	case listening && f.requested == nil:
		return nil // events flow no more: the next read requests a wake-up
	case listening && f.requested.clear(snapshot):
		f.pause, f.asleep = f.IdleTurn, true
	case events == 0:
		f.pause = min(f.pause*2, pollTurn, f.IdleTurn)
	}
	f.following(snapshot)
	switch {
	case l == nil:
		return wait(ctx, f.pause)
	case f.flowing:
		return l.rest(ctx, f.pause)
	case !heard:
		if heard, err = f.sleep(ctx, l, f.pause); err != nil {
			return fmt.Errorf("wait for a notification: %w", err)
		}
	}
	if overslept && !heard {
		f.note(func(s *Status) { s.Caught += int64(events) })
	}
	if !heard {
		return nil
	}
	f.pause, f.requested, f.asleep, f.woken = f.Turn, nil, false, true
	// Limit spurious notifications to a hundred reads a second.
	return wait(ctx, time.Until(f.spurious.Add(spuriousTurn)))
}

// check does before a read what is due now and then, or was asked for.
func (f *follower) check(ctx context.Context) error {
	if f.listener != nil {
		f.listener.selfTest(ctx, f.URL)
	}
	if err := f.compare(ctx, f.conn, &f.clock); err != nil {
		return err
	}
	if err := f.recheck(ctx, f.conn); err != nil {
		return database.Migrated(err)
	}
	return f.readKeys(ctx, f.conn)
}

// count takes note of how many events a read had, and finds out whether they flow.
func (f *follower) count(ctx context.Context, events int) (err error) {
	if events > 0 || f.woken {
		f.activity.send()
	}
	switch {
	case events > 0:
		f.pause = f.Turn
	case f.woken:
		f.spurious = time.Now()
	}
	f.woken = false
	f.flowing = f.flow.after(time.Now(), events)
	if f.listener == nil || f.flowing {
		return nil
	}
	if f.flowing, err = f.listener.crowded(ctx); err != nil {
		return fmt.Errorf("look whether writers wait: %w", err)
	}
	if f.flowing {
		f.flow.hold(time.Now())
	}
	return nil
}

// unrequest answers the wake-up that was requested, and requests none for now: while events
// flow every writer would notify. overslept reports that one should have notified and did not.
func (f *follower) unrequest(ctx context.Context, overslept bool) error {
	f.pause, f.requested = f.Turn, nil
	if err := f.listener.answer(ctx); err != nil {
		return fmt.Errorf("answer a wake-up: %w", err)
	}
	if overslept {
		if err := f.listener.unnotified(ctx); err != nil {
			return fmt.Errorf("look at the notification queue: %w", err)
		}
	}
	return nil
}

// following updates the status after a read of the snapshot.
func (f *follower) following(snapshot table.Snapshot) {
	f.note(func(s *Status) {
		s.Following, s.Err = true, nil
		s.InProgress = len(snapshot.InProgress)
		s.Listen, s.WakeUps = listenState(f.listener), f.listener.counted(s.WakeUps)
		s.Listening = s.Listen == ListenOff || s.Listen == ListenWorks
	})
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

// wait waits for d, or until ctx ends, and then returns its cause.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
