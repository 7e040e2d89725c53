package audit

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/internal/outage"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/position"
)

// Recorder records the streams of a node in the table stream, one row each: the identity, the
// filter, and the first and last positions. From these the view receipts derives which
// streams received an event; migration 00008_audit.sql argues why. It also is the node's
// heartbeat in the table node.
//
// A long poll that returns events is recorded as a stream, before its first byte is written;
// one without events is not. Requests of admins are recorded too, see AdminRequest and
// AdminAct.
//
// The record counts too much rather than too little: events of a write that failed may have
// arrived, and are recorded as perhaps sent.
//
// Streams record in memory; Run writes the records once a second, in batches. A crash loses
// the last second. While the database is gone records are kept, those of an open stream in
// constant space, and Backlog bounds those of ended ones; further ones are dropped, counted
// and logged.
//
// For the server of streams:
//
//	record := recorder.Opened(audit.Stream{Subject: …, ClientAddress: …, Filter: filter, From: from})
//	record.Live(joined)                      // the replay has met what happens now
//	record.Progress(position, events, last)  // after a write that sent events
//	record.Perhaps(position, events, last)   // of a write that broke, or before it
//	record.Jumped(position)                  // after a gap: it goes on from there
//	record.Closed("stalled")                 // once, when it has ended
//
// None of them blocks on anything but memory, and all do nothing on nil, for
// where there is no audit.
type Recorder struct {
	// Pool is made with outbox.PoolConfig.
	Pool *pgxpool.Pool
	// Schema is where the outbox is; the default one by default.
	Schema outbox.Schema
	// Keys write the positions that are recorded.
	Keys *position.Keys
	// Node is the node's name; another node may have the same.
	Node string
	// State, when not nil, returns at each heartbeat the tail's position
	// and its lag.
	State func() (position position.Position, lag time.Duration)
	// About, when not nil, is asked every few seconds for what the node says of itself.
	About func() About
	// Every is how old the row of an open stream may get after it was sent
	// something: 10 s by default. Receipts of streams that are open are as
	// much late.
	Every time.Duration
	// Backlog is how many streams that have ended, and how many requests of admins, are
	// kept while they can't be written: 100,000 by default, of about 1 kB each.
	Backlog int
	// Log gets failures. Nothing by default.
	Log *slog.Logger

	run   int64
	beats int // of Run's goroutine
	// stopLimit is how long a node that stops tries to say so.
	stopLimit time.Duration

	mu      sync.Mutex
	streams map[int64]*StreamRecord
	number  int64
	open    int
	dropped int64
	// beaten is when the node last reached the database.
	beaten   time.Time
	requests adminRequests
}

const (
	turnEvery      = time.Second
	batchSize      = 1000
	defaultEvery   = 10 * time.Second
	defaultBacklog = 100_000
	// statementLimit is how long one statement may take.
	statementLimit = 20 * time.Second
	// aboutEvery is how many beats there are from one word about the node to the next.
	aboutEvery = 5
	// turnLimit is how long a turn writes before it beats again: others take a
	// node for lost that has not for 30 s.
	turnLimit        = 5 * time.Second
	defaultStopLimit = 2 * time.Second
)

// Opened begins the record of a stream.
func (a *Recorder) Opened(s Stream) *StreamRecord {
	if a == nil {
		return nil
	}
	r := &StreamRecord{audit: a, opened: s, position: s.From, at: s.At, positionAt: time.Now(), changes: 1}
	if r.at.IsZero() {
		r.at = r.positionAt
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

// closed counts a stream as ended. It is kept until it is written, within the backlog.
func (a *Recorder) closed(r *StreamRecord) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open--
	if len(a.streams)-a.open > a.backlog() {
		delete(a.streams, r.number)
		a.dropped++
	}
}

func (a *Recorder) backlog() int { return cmp.Or(a.Backlog, defaultBacklog) }

// Stats is the state of a Recorder at one moment.
type Stats struct {
	// Waiting are the streams that have ended and are not written yet.
	Waiting int
	// Dropped counts the streams whose end was not recorded, since the start.
	Dropped int64
}

// Stats is the state now.
func (a *Recorder) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Stats{Waiting: len(a.streams) - a.open, Dropped: a.dropped}
}

// Run writes until ctx ends, then writes the rest, and returns ctx's cause. Streams that
// are still open by then are recorded as ended.
func (a *Recorder) Run(ctx context.Context) error {
	a.begin()
	ticker := time.NewTicker(turnEvery)
	defer ticker.Stop()
	var failing outage.Outage
	reported := int64(0)
	for {
		err := a.turn(ctx, a.Every)
		logged := err != nil && ctx.Err() == nil && failing.Fails(database.Cause(err))
		if logged {
			a.Log.WarnContext(ctx, "streams are not recorded", "err", database.OneLine(err), "retry_in", turnEvery)
		}
		if dropped := a.Stats().Dropped; dropped > reported && (err == nil || logged) {
			a.Log.ErrorContext(ctx, "records of ended streams dropped", "streams", dropped-reported)
			reported = dropped
		}
		if err == nil {
			if failures, lasted := failing.Ends(); failures > 0 {
				a.Log.InfoContext(ctx, "streams are recorded again", "after", lasted, "failures", failures)
			}
		}
		select {
		case <-ticker.C:
			continue
		case <-ctx.Done():
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.stopLimit)
		defer cancel()
		err = a.turn(last, 0)
		if err == nil {
			err = database.InPool(last, a.Pool, a.Schema, func(q database.DB) error {
				_, err := q.Exec(last, `SELECT outcrier.stop_node($1)`, a.run)
				return err
			})
		}
		if err != nil {
			a.Log.WarnContext(ctx, "the last streams are not recorded", "err", err)
		}
		return context.Cause(ctx)
	}
}

// Turn writes the heartbeat and all that is not written yet, which Run does more seldom for
// streams that are open. It must not be called while Run runs.
func (a *Recorder) Turn(ctx context.Context) error {
	a.begin()
	return a.turn(ctx, 0)
}

// begin sets the defaults.
func (a *Recorder) begin() {
	if a.Log == nil {
		a.Log = slog.New(slog.DiscardHandler)
	}
	if a.run == 0 {
		a.run = newRun()
	}
	if a.Every == 0 {
		a.Every = defaultEvery
	}
	if a.stopLimit == 0 {
		a.stopLimit = defaultStopLimit
	}
}

// turn writes the heartbeat and the new records; those of open streams only if they have
// not been written for the time every.
func (a *Recorder) turn(ctx context.Context, every time.Duration) error {
	asked, err := a.beat(ctx)
	if err != nil {
		return fmt.Errorf("record that the node lives: %w", err)
	}
	heard := time.Now()
	a.beginRun(heard)
	if err := a.writeRequests(ctx, min(every, outcomeWait)); err != nil {
		return fmt.Errorf("record requests of admins: %w", err)
	}
	a.mu.Lock()
	streams := slices.Collect(maps.Values(a.streams))
	a.mu.Unlock()
	if err := a.endRequested(ctx); err != nil {
		return fmt.Errorf("look for streams to end: %w", err)
	}
	streams = slices.DeleteFunc(streams, func(r *StreamRecord) bool { return !r.due(every) })
	for batch := range slices.Chunk(streams, batchSize) {
		if ctx.Err() == nil && time.Since(heard) > turnLimit && every > 0 {
			break // the rest is due in the next turn
		}
		if err := a.write(ctx, asked, heard, batch); err != nil {
			return fmt.Errorf("record %d streams: %w", len(batch), err)
		}
	}
	return nil
}

// endRequested ends the streams of this node that somebody wants to end, at whichever
// node; see admin.Admin.EndStream. They are looked for again until they are recorded as
// ended.
func (a *Recorder) endRequested(ctx context.Context) error {
	const requestedSQL = `SELECT stream FROM outcrier.stream WHERE run = $1 AND end_requested_at IS NOT NULL AND closed_at IS NULL`
	ctx, cancel := context.WithTimeout(ctx, statementLimit)
	defer cancel()
	var requested []int64
	err := database.InPool(ctx, a.Pool, a.Schema, func(q database.DB) (err error) {
		rows, _ := q.Query(ctx, requestedSQL, a.run) // CollectRows has the error
		requested, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	})
	for _, number := range requested {
		a.mu.Lock()
		r := a.streams[number]
		a.mu.Unlock()
		if r != nil && r.opened.End != nil {
			r.opened.End()
		}
	}
	return err
}
