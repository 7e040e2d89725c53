package tail

import (
	"time"

	"github.com/outcrier/outcrier/outbox"
)

// Status is the state of a tail at one moment, with its counters since the process began.
type Status struct {
	// Following is true while the tail is connected and has caught up.
	Following bool
	// Listening is true when LISTEN is known to work and writers notify, or when it is not
	// needed.
	Listening bool
	// Listen says the same with its cause; empty without a connection.
	Listen Listen
	// Reads, Events and Caught count reads, events delivered, and events that only the idle
	// turn found although a notification should have announced them.
	Reads, Events, Caught int64
	// Sessions counts the connections that the tail has begun to follow on.
	Sessions int64
	// WakeUps counts requests and notifications.
	WakeUps WakeUpCounts
	// InProgress is how many transactions of the whole cluster were in progress in
	// the last read's snapshot.
	InProgress int
	// Lag is the time since the tail had last delivered every commit: 0 while it follows
	// and no read is under way.
	Lag time.Duration
	// ClockAhead is by how much the clock of Postgres is ahead of this machine's,
	// as it was last measured, to about half a round trip; ClockKnown reports whether
	// it was.
	ClockAhead time.Duration
	ClockKnown bool
	// Dispatch has for each event the time from its created_at, when it was appended, to
	// Deliver, corrected for the difference of the clocks. The time of the commit is
	// recorded nowhere, so Dispatch includes how long the transaction stayed open after the
	// append.
	Dispatch Durations
	// Read has the time from asking to the end, of each read that had events.
	Read Durations
	// Err is why the tail is not following, nil when it is.
	Err error
}

// Listen says whether LISTEN works on the tail's connection.
type Listen string

const (
	// ListenOff: WakePoll does not use LISTEN.
	ListenOff Listen = "off"
	// ListenTesting: no test of LISTEN has succeeded or failed yet.
	ListenTesting Listen = "testing"
	// ListenWorks: the tail has received its own notification.
	ListenWorks Listen = "works"
	// ListenUnheard: LISTEN succeeds but the test's notification does not arrive, as
	// through a transaction pooler. (A standby is refused before: outbox.ErrStandby.)
	ListenUnheard Listen = "pooler"
	// ListenQueueFull: writers don't notify, since Postgres's notification queue is more than
	// half full.
	ListenQueueFull Listen = "queue_full"
)

// WakeUpCounts counts the steps of a tail's wake-ups.
type WakeUpCounts struct {
	// Requests: the tail was about to sleep, and requested a wake-up. Notifications: a
	// writer's notification arrived. Answers: the tail answered a request, so that writers
	// notify no more. SelfTests: LISTEN was tested, and works.
	Requests, Notifications, Answers, SelfTests int64
}

// Status may be called at any time from any goroutine.
func (t *Tail) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.status
	switch {
	case t.caughtUp.IsZero(): // Run was not called
	case !s.Following:
		s.Lag = time.Since(t.caughtUp)
	case !t.reading.IsZero():
		s.Lag = time.Since(t.reading)
	}
	return s
}

func (t *Tail) note(change func(*Status)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.status)
}

func (t *Tail) begun() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.caughtUp = time.Now()
}

// asks is called before a read, hasRead after it, if it was whole.
func (t *Tail) asks() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reading.IsZero() { // otherwise the last read failed, and this one has its commits too
		t.reading = time.Now()
	}
	t.dispatch = Durations{}
	return time.Now()
}

func (t *Tail) hasRead(asked time.Time, events int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.caughtUp, t.reading = asked, time.Time{}
	t.status.Reads++
	t.status.Events += int64(events)
	if events > 0 {
		t.status.Read.Observe(time.Since(asked))
		t.status.Dispatch.Add(&t.dispatch)
	}
}

// observe counts events that are about to be delivered. Only the tail's goroutine changes
// ClockAhead.
func (t *Tail) observe(events []outbox.Event) {
	now := time.Now().Add(t.status.ClockAhead)
	for i := range events {
		t.dispatch.Observe(now.Sub(events[i].CreatedAt))
	}
}

func listenState(l *listener) Listen {
	switch {
	case l == nil:
		return ListenOff
	case l.works:
		return ListenWorks
	case l.full:
		return ListenQueueFull
	case l.unheard:
		return ListenUnheard
	}
	return ListenTesting
}

// counted adds the counts of a connection's listener to those of the listeners before it,
// and resets them.
func (l *listener) counted(all WakeUpCounts) WakeUpCounts {
	if l == nil {
		return all
	}
	n := l.counts
	l.counts = WakeUpCounts{}
	return WakeUpCounts{all.Requests + n.Requests, all.Notifications + n.Notifications, all.Answers + n.Answers, all.SelfTests + n.SelfTests}
}
