package audit

import (
	"sync"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
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

// streamRow is what the SQL function record_streams takes of a stream.
type streamRow struct {
	Stream        int64        `json:"stream"`
	Subject       string       `json:"subject"`
	ClientAddress string       `json:"client_address"`
	Topics        []string     `json:"topics"`
	Types         []string     `json:"types"`
	Since         *time.Time   `json:"since"`
	History       uint32       `json:"history"`
	FromPosition  string       `json:"from_position"`
	FromSet       positionSet  `json:"from_set"`
	LiveSet       *positionSet `json:"live_set"`
	SureSet       *positionSet `json:"sure_set"`
	Position      string       `json:"position"`
	PositionSet   positionSet  `json:"position_set"`
	Events        int64        `json:"events"`
	LastEvent     *int64       `json:"last_event"`
	OpenedAge     float64      `json:"opened_age"`
	PositionAge   float64      `json:"position_age"`
	ClosedAge     *float64     `json:"closed_age"`
	EndReason     *string      `json:"end_reason"`
}

// row is the stream as it is, and how many changes that is. The time asked of the
// database was heard at heard: so a stream was opened at least so long before.
func (r *StreamRecord) row(heard time.Time) (streamRow, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	row := streamRow{
		Stream: r.number, Subject: database.Clean(r.opened.Subject), ClientAddress: database.Clean(r.opened.ClientAddress),
		Topics: make([]string, len(r.opened.Filter.Topics)), Types: make([]string, len(r.opened.Filter.Types)),
		History:      r.position.History,
		FromPosition: r.audit.Keys.Seal(r.opened.From), FromSet: setOf(r.opened.From),
		Position: r.audit.Keys.Seal(r.position), PositionSet: setOf(r.position),
		Events: r.events, OpenedAge: heard.Sub(r.at).Seconds(), PositionAge: time.Since(r.positionAt).Seconds(),
	}
	for i, p := range r.opened.Filter.Topics {
		row.Topics[i] = database.Clean(string(p))
	}
	for i, kind := range r.opened.Filter.Types {
		row.Types[i] = database.Clean(kind)
	}
	if !r.opened.Filter.Since.IsZero() {
		row.Since = &r.opened.Filter.Since
	}
	if r.live != nil {
		live := setOf(*r.live)
		row.LiveSet = &live
	}
	if r.sure != nil {
		sure := setOf(*r.sure)
		row.SureSet = &sure
	}
	if r.events > 0 {
		last := r.last // which goes on while the row is written
		row.LastEvent = &last
	}
	if !r.closed.IsZero() {
		age, reason := time.Since(r.closed).Seconds(), database.Clean(r.endReason)
		row.ClosedAge, row.EndReason = &age, &reason
	}
	return row, r.changes
}

// positionSet is a position as the SQL type of that name.
type positionSet struct {
	MaxXID         uint64   `json:"max_xid"`
	InFlight       []uint64 `json:"in_flight"`
	WithinMaxXID   *uint64  `json:"within_max_xid"`
	WithinInFlight []uint64 `json:"within_in_flight"`
	EventID        int64    `json:"event_id"`
}

func setOf(p position.Position) positionSet {
	s := positionSet{MaxXID: p.Given.Max, InFlight: p.Given.Except, EventID: p.EventID}
	if s.InFlight == nil {
		s.InFlight = []uint64{}
	}
	if p.Within != nil {
		s.WithinMaxXID, s.WithinInFlight = &p.Within.Max, p.Within.Except
		if s.WithinInFlight == nil {
			s.WithinInFlight = []uint64{}
		}
	}
	return s
}
