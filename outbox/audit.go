package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Audit records the streams of a node in outbox_stream, a row each: who was sent
// what, from which position to which. From that the view outbox_receipts tells
// which streams an event was sent to; migration 00007_audit.sql argues why. It
// also is the node's heartbeat in outbox_node.
//
// A long poll that gave events is on record as a stream that has ended; one that
// gave none is not.
//
// Streams only leave word of what they do, in memory; Run writes it, once a
// second, in batches. A crash loses the last second. While the database is gone
// what streams do is kept, an open stream in constant space, and Backlog bounds
// those that have ended; what is beyond it is counted and logged.
//
// The seam to whoever serves streams:
//
//	record := audit.Opened(outbox.StreamOpened{Subject: …, Remote: …, Filter: filter, From: from})
//	record.Live(joined)                      // the replay has met what happens now
//	record.Progress(position, events, last)  // after a write that sent events
//	record.Jumped(position)                  // after a gap that it goes on behind
//	record.Closed("stalled")                 // once, when it has ended
//
// None of them blocks on anything but memory, and all do nothing on nil, for
// where there is no audit.
type Audit struct {
	// Pool is made with PoolConfig.
	Pool *pgxpool.Pool
	// Node is the node's name; another node may have the same.
	Node string
	// State, when not nil, is asked at each heartbeat for where the tail
	// stands and how far it is behind.
	State func() (position Position, lag time.Duration)
	// Every is how old the row of an open stream may get after it was sent
	// something: 10 s by default. Receipts of streams that are open are as
	// much late.
	Every time.Duration
	// Backlog is how many streams that have ended are kept while they can't
	// be written: 100,000 by default, of about 1 kB each.
	Backlog int
	Log     *slog.Logger

	run int64

	mu      sync.Mutex
	streams map[int64]*StreamRecord
	number  int64
	open    int
	dropped int64
}

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

const (
	auditTurn    = time.Second
	auditBatch   = 1000
	auditEvery   = 10 * time.Second
	auditBacklog = 100_000
	// auditPatience is how long one statement may take.
	auditPatience = 20 * time.Second
	// auditShift is how long a turn writes before it beats again: others take a
	// node for lost that has not for 30 s.
	auditShift = 5 * time.Second
	// auditFarewell is how long a node that stops tries to say so.
	auditFarewell = 2 * time.Second
)

// Opened begins the record of a stream.
func (a *Audit) Opened(s StreamOpened) *StreamRecord {
	if a == nil {
		return nil
	}
	r := &StreamRecord{audit: a, opened: s, position: s.From, at: s.At, stood: time.Now(), changes: 1}
	if r.at.IsZero() {
		r.at = r.stood
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.streams == nil {
		a.streams = make(map[int64]*StreamRecord)
	}
	a.number++
	r.number = a.number
	a.streams[r.number] = r
	a.open++
	return r
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

// Sent is how many events were noted so far, and the id of the last.
func (r *StreamRecord) Sent() (events, last int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events, r.last
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

	a := r.audit
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open--
	backlog := a.Backlog
	if backlog == 0 {
		backlog = auditBacklog
	}
	if len(a.streams)-a.open > backlog {
		delete(a.streams, r.number)
		a.dropped++
	}
}

// AuditStats is the state of an Audit at one moment.
type AuditStats struct {
	// Waiting are the streams that have ended and are not written yet.
	Waiting int
	// Dropped counts the streams whose end was not recorded, since the start.
	Dropped int64
}

// Stats is the state now.
func (a *Audit) Stats() AuditStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return AuditStats{Waiting: len(a.streams) - a.open, Dropped: a.dropped}
}

// Dropped counts the streams whose end was not recorded, since the start.
func (a *Audit) Dropped() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.dropped
}

// Run writes until ctx ends, then what is left, and returns ctx's cause. Streams
// that are still open by then are recorded as ended.
func (a *Audit) Run(ctx context.Context) error {
	if a.run == 0 {
		a.run = rand.Int64N(1<<53-1) + 1 //nolint:gosec // apart, not secret
	}
	if a.Every == 0 {
		a.Every = auditEvery
	}
	ticker := time.NewTicker(auditTurn)
	defer ticker.Stop()
	failing, told := false, int64(0)
	for {
		err := a.turn(ctx, a.Every)
		if err != nil && ctx.Err() == nil && !failing {
			a.Log.WarnContext(ctx, "streams are not recorded", "err", err, "retry_in", auditTurn)
		}
		if dropped := a.Dropped(); dropped > told && (err == nil || !failing) {
			a.Log.ErrorContext(ctx, "streams ended unrecorded", "streams", dropped-told)
			told = dropped
		}
		if failing && err == nil {
			a.Log.InfoContext(ctx, "streams are recorded again")
		}
		failing = err != nil
		select {
		case <-ticker.C:
			continue
		case <-ctx.Done():
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditFarewell)
		defer cancel()
		err = a.turn(last, 0)
		if err == nil {
			_, err = a.Pool.Exec(last, `SELECT outbox_leave($1)`, a.run)
		}
		if err != nil {
			a.Log.WarnContext(ctx, "the last streams are not recorded", "err", err)
		}
		return context.Cause(ctx)
	}
}

// turn beats, and writes what is new: of open streams, what has not been written
// for the time every.
func (a *Audit) turn(ctx context.Context, every time.Duration) error {
	asked, err := a.beat(ctx)
	if err != nil {
		return fmt.Errorf("beat: %w", err)
	}
	heard := time.Now()
	a.mu.Lock()
	streams := slices.Collect(maps.Values(a.streams))
	a.mu.Unlock()
	if err := a.endAsked(ctx); err != nil {
		return fmt.Errorf("look for streams to end: %w", err)
	}
	streams = slices.DeleteFunc(streams, func(r *StreamRecord) bool { return !r.due(every) })
	for batch := range slices.Chunk(streams, auditBatch) {
		if ctx.Err() == nil && time.Since(heard) > auditShift && every > 0 {
			break // what is left is due in the next turn
		}
		if err := a.write(ctx, asked, heard, batch); err != nil {
			return fmt.Errorf("record %d streams: %w", len(batch), err)
		}
	}
	return nil
}

func (a *Audit) beat(ctx context.Context) (asked time.Time, err error) {
	var position *string
	var lag *time.Duration
	if a.State != nil {
		p, l := a.State()
		text := p.String()
		position, lag = &text, &l
	}
	a.mu.Lock()
	open := a.open
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, auditPatience)
	defer cancel()
	err = a.Pool.QueryRow(ctx, `SELECT outbox_beat($1, $2, $3, $4, $5)`, a.run, clean(a.Node), open, position, lag).Scan(&asked)
	return asked, err
}

// endAsked ends the streams of this node that somebody asked to end, at whichever
// node; see Admin.EndStream. They are asked for again until they are recorded as
// ended.
func (a *Audit) endAsked(ctx context.Context) error {
	const askedSQL = `SELECT stream FROM outbox_stream WHERE run = $1 AND end_asked_at IS NOT NULL AND closed_at IS NULL`
	rows, err := a.Pool.Query(ctx, askedSQL, a.run)
	if err != nil {
		return err
	}
	asked, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	for _, number := range asked {
		a.mu.Lock()
		r := a.streams[number]
		a.mu.Unlock()
		if r != nil && r.opened.End != nil {
			r.opened.End()
		}
	}
	return err
}

func (r *StreamRecord) due(every time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changes > r.written && (!r.closed.IsZero() || r.written == 0 || time.Since(r.writtenAt) >= every)
}

// write writes a batch. A record that Postgres will not have is dropped, and does
// not keep others from being written.
func (a *Audit) write(ctx context.Context, asked, heard time.Time, batch []*StreamRecord) error {
	rows, changes := make([]streamRow, len(batch)), make([]int, len(batch))
	for i, r := range batch {
		rows[i], changes[i] = r.row(heard)
	}
	encoded, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, auditPatience)
	defer cancel()
	_, err = a.Pool.Exec(patience, `SELECT outbox_record($1, $2, $3, $4::json)`, a.run, clean(a.Node), asked, string(encoded))
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (strings.HasPrefix(pg.Code, "22") || strings.HasPrefix(pg.Code, "23")) {
		if len(batch) > 1 {
			half := len(batch) / 2
			return errors.Join(a.write(ctx, asked, heard, batch[:half]), a.write(ctx, asked, heard, batch[half:]))
		}
		a.Log.ErrorContext(ctx, "a stream can't be recorded", "err", err, "subject", batch[0].opened.Subject)
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.streams, batch[0].number)
		a.dropped++
		return nil
	}
	if err != nil {
		return err
	}
	for i, r := range batch {
		if r.wrote(changes[i]) {
			a.mu.Lock()
			delete(a.streams, r.number)
			a.mu.Unlock()
		}
	}
	return nil
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
		row.LastEvent = &r.last
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
