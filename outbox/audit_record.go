package outbox

import (
	"strings"
	"sync"
	"time"
)

// StreamOpened is what is known of a stream before its first event.
type StreamOpened struct {
	// Subject is whom the token is for, empty where none is needed; Remote is
	// the reader's address.
	Subject, Remote string
	// Filter is what the stream asks for. It must not change.
	Filter Filter
	// From is what the reader had been given before: the stream's first
	// position, as it stands behind its verification.
	From Position
	// At is when it was opened, if that was not just now.
	At time.Time
	// End, when not nil, is called when an admin wants the stream to end, perhaps
	// more than once. It must not block.
	End func()
}

// StreamRecord is the audit's record of one stream. One goroutine at a time may
// use it.
type StreamRecord struct {
	audit  *Audit
	number int64
	opened StreamOpened
	at     time.Time

	mu       sync.Mutex
	position Position
	live     *Position
	stood    time.Time
	events   int64
	last     int64
	closed   time.Time
	why      string
	// changes counts; written is how many of them the table knows.
	changes, written int
	writtenAt        time.Time
}

// Live notes where the stream's replay has met what happens now. It has to be
// told only of a stream whose Filter has Since, before the first event that
// follows: from there on Since does not count.
func (r *StreamRecord) Live(p Position) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live = &p
	r.changes++
}

// Progress notes that the stream has been written up to a position, with so many
// events since the last time, the last of which had the id last. What is written
// without an event need not be noted.
func (r *StreamRecord) Progress(p Position, events int, last int64) {
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
	r.position, r.stood = p, time.Now()
	r.events += int64(events)
	if events > 0 {
		r.last = last
	}
	r.changes++
}

// Jumped notes that the stream goes on from p, because it could not from where it
// stood: what lies between it was not sent. Its receipts begin there, since one row
// has one stretch: a few less, rather than one too many.
func (r *StreamRecord) Jumped(p Position) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.live != nil { // Since counts no more
		r.live = &p
	}
	r.opened.From, r.position, r.stood = p, p, time.Now()
	r.changes++
}

// Closed ends the record, once, and says why the stream ended.
func (r *StreamRecord) Closed(why string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.closed, r.why = time.Now(), why
	r.changes++
	r.mu.Unlock()
	r.audit.closed(r)
}

func (r *StreamRecord) due(every time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changes > r.written && (!r.closed.IsZero() || r.written == 0 || time.Since(r.writtenAt) >= every)
}

// wrote takes note, and tells whether nothing will follow.
func (r *StreamRecord) wrote(changes int) (done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written, r.writtenAt = changes, time.Now()
	return !r.closed.IsZero() && r.changes == changes
}

// streamRow is what outbox_record takes of a stream.
type streamRow struct {
	Stream       int64      `json:"stream"`
	Subject      string     `json:"subject"`
	Remote       string     `json:"remote"`
	Topics       []string   `json:"topics"`
	Types        []string   `json:"types"`
	Since        *time.Time `json:"since"`
	History      uint32     `json:"history"`
	FromPosition string     `json:"from_position"`
	FromSeen     seen       `json:"from_seen"`
	LiveSeen     *seen      `json:"live_seen"`
	Position     string     `json:"position"`
	Seen         seen       `json:"seen"`
	Events       int64      `json:"events"`
	LastEvent    *int64     `json:"last_event"`
	OpenedAge    float64    `json:"opened_age"`
	StoodAge     float64    `json:"stood_age"`
	ClosedAge    *float64   `json:"closed_age"`
	Why          *string    `json:"why"`
}

// row is the stream as it is, and how many changes that is. The time asked of the
// database was heard at heard: so a stream was opened at least so long before.
func (r *StreamRecord) row(heard time.Time) (streamRow, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	row := streamRow{
		Stream: r.number, Subject: clean(r.opened.Subject), Remote: clean(r.opened.Remote),
		Topics: make([]string, len(r.opened.Filter.Topics)), Types: make([]string, len(r.opened.Filter.Types)),
		History:      r.position.History,
		FromPosition: r.opened.From.String(), FromSeen: seenOf(r.opened.From),
		Position: r.position.String(), Seen: seenOf(r.position),
		Events: r.events, OpenedAge: heard.Sub(r.at).Seconds(), StoodAge: time.Since(r.stood).Seconds(),
	}
	for i, p := range r.opened.Filter.Topics {
		row.Topics[i] = clean(string(p))
	}
	for i, kind := range r.opened.Filter.Types {
		row.Types[i] = clean(kind)
	}
	if !r.opened.Filter.Since.IsZero() {
		row.Since = &r.opened.Filter.Since
	}
	if r.live != nil {
		live := seenOf(*r.live)
		row.LiveSeen = &live
	}
	if r.events > 0 {
		last := r.last // which goes on while the row is written
		row.LastEvent = &last
	}
	if !r.closed.IsZero() {
		age, why := time.Since(r.closed).Seconds(), clean(r.why)
		row.ClosedAge, row.Why = &age, &why
	}
	return row, r.changes
}

// seen is a position as SQL's outbox_seen.
type seen struct {
	GivenMax     uint64   `json:"given_max"`
	GivenExcept  []uint64 `json:"given_except"`
	WithinMax    *uint64  `json:"within_max"`
	WithinExcept []uint64 `json:"within_except"`
	EventID      int64    `json:"event_id"`
}

func seenOf(p Position) seen {
	s := seen{GivenMax: p.Given.Max, GivenExcept: p.Given.Except, EventID: p.EventID}
	if s.GivenExcept == nil {
		s.GivenExcept = []uint64{}
	}
	if p.Within != nil {
		s.WithinMax, s.WithinExcept = &p.Within.Max, p.Within.Except
		if s.WithinExcept == nil {
			s.WithinExcept = []uint64{}
		}
	}
	return s
}

// clean makes a text of Postgres out of what came from elsewhere.
func clean(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	return strings.ToValidUTF8(text[:min(len(text), 1000)], "")
}
