package audit

import (
	"sync"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
)

// Stream describes a stream before its first event.
type Stream struct {
	// Subject is whom the token is for, empty where none is needed; ClientAddress is
	// the address that limits go by.
	Subject, ClientAddress string
	// Filter is what the stream asks for. It must not change.
	Filter outbox.Filter
	// From is the stream's first position, after validation.
	From position.Position
	// At is when it was opened, if that was not just now.
	At time.Time
	// End, when not nil, is called when an admin wants the stream to end, perhaps
	// more than once. It must not block.
	End func()
}

// StreamRecord is the audit's record of one stream. One goroutine at a time may
// use it.
type StreamRecord struct {
	audit  *Recorder
	number int64
	opened Stream
	at     time.Time

	mu         sync.Mutex
	position   position.Position
	live       *position.Position
	sure       *position.Position // events beyond it were perhaps sent; nil where all were
	positionAt time.Time
	events     int64
	last       int64
	closed     time.Time
	endReason  string
	// changes counts; written is how many of them the table knows.
	changes, written int
	writtenAt        time.Time
}

// Number identifies the stream at its node; 0 of nil.
func (r *StreamRecord) Number() int64 {
	if r == nil {
		return 0
	}
	return r.number
}

// Live notes where the stream's replay has met what happens now. It has to be called only
// for a stream whose Filter has Since, before the first event that follows: from there on
// Since does not count.
func (r *StreamRecord) Live(p position.Position) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live = &p
	r.changes++
}

// Progress notes that the stream has been written up to a position, with so many events
// since the last time, the last of which had the id last. Writes without an event need not
// be noted.
func (r *StreamRecord) Progress(p position.Position, events int, last int64) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.History != r.position.History {
		// Sets of different histories don't compare: a receipt less, rather
		// than one too many.
		r.opened.From, r.live = p, nil
	}
	r.reach(p, events, last)
	r.sure = nil
}

// Perhaps notes that events up to a position may have been sent, since the last note: they
// are about to be, or were in a write that broke. Progress or Sent may follow.
func (r *StreamRecord) Perhaps(p position.Position, events int, last int64) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.History != r.position.History {
		r.opened.From, r.live, r.position, r.sure = p, nil, p, nil
	}
	if r.sure == nil {
		sure := r.position
		r.sure = &sure
	}
	r.reach(p, events, last)
}

// Sent notes that the events that were perhaps sent were sent.
func (r *StreamRecord) Sent() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sure, r.positionAt = nil, time.Now()
	r.changes++
}

// reach is Progress, or Perhaps.
func (r *StreamRecord) reach(p position.Position, events int, last int64) {
	r.position, r.positionAt = p, time.Now()
	r.events += int64(events)
	if events > 0 {
		r.last = last
	}
	r.changes++
}

// Jumped notes that the stream goes on from p, because it could not from where it
// stood: what lies between it was not sent. Its receipts begin there, since one row
// has one stretch: a few less, rather than one too many.
func (r *StreamRecord) Jumped(p position.Position) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.live != nil { // Since counts no more
		r.live = &p
	}
	r.opened.From, r.position, r.positionAt, r.sure = p, p, time.Now(), nil
	r.changes++
}

// Closed ends the record, once, with the reason for the stream's end.
func (r *StreamRecord) Closed(reason string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.closed, r.endReason = time.Now(), reason
	r.changes++
	r.mu.Unlock()
	r.audit.closed(r)
}

func (r *StreamRecord) due(every time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changes > r.written && (!r.closed.IsZero() || r.written == 0 || time.Since(r.writtenAt) >= every)
}

// again has the record be written, whether or not it was.
func (r *StreamRecord) again() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written, r.changes = 0, r.changes+1
}

// wrote takes note, and reports whether nothing will follow.
func (r *StreamRecord) wrote(changes int) (done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written, r.writtenAt = changes, time.Now()
	return !r.closed.IsZero() && r.changes == changes
}
