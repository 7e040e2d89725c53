package upkeep

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/internal/outage"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// Schedule moves scheduled events into the outbox when they are due. Every node
// runs one; each row is moved by one of them.
type Schedule struct {
	Pool *pgxpool.Pool
	// Schema is where the outbox is; the default one by default.
	Schema outbox.Schema
	// Activity, when not nil, returns a channel that is closed when an event may have been
	// scheduled, or nil while nothing would close it: tail.Tail.Activity. It spares the
	// database: a session that schedules an event notifies like one that appends, so while the
	// channel is open the table is looked at every scheduleIdle only. Without it, every
	// scheduleTurn.
	Activity func() <-chan struct{}
	// Log gets events that can't be stored, and failures. Nothing by default.
	Log *slog.Logger
}

const (
	// scheduleTurn is how late an event that was scheduled just before its time may be.
	scheduleTurn = 100 * time.Millisecond
	// scheduleIdle is how late it may be if its session doesn't notify.
	scheduleIdle = 5 * time.Second
	// scheduleLimit is for a statement: without it one on a half-open connection would hang
	// for ever.
	scheduleLimit = 30 * time.Second
)

// Run works until ctx ends and returns its cause. While the database is gone it
// tries again once a second.
func (s Schedule) Run(ctx context.Context) error {
	s.Log = cmp.Or(s.Log, slog.New(slog.DiscardHandler))
	var failing outage.Outage
	refused := make(map[int64]bool) // those that were logged
	for ctx.Err() == nil {
		// Taken before the query, so that nothing is scheduled unseen between the two.
		active, looked := s.activity(), time.Now()
		pause, err := s.turn(ctx)
		if err == nil {
			err = s.logFailing(ctx, pause, refused)
		}
		if err != nil {
			if ctx.Err() == nil && failing.Fails(database.Cause(err)) {
				why, _ := outbox.Explain(err)
				s.Log.WarnContext(ctx, "scheduled events can't be moved", "why", why, "err", database.OneLine(err), "retry_in", time.Second)
			}
			pause, active = time.Second, nil
		} else {
			if failures, lasted := failing.Ends(); failures > 0 {
				s.Log.InfoContext(ctx, "scheduled events are moved again", "after", lasted, "failures", failures)
			}
			if active == nil {
				pause = min(pause, scheduleTurn)
			}
		}
		select {
		case <-time.After(pause):
		case <-active:
			select {
			case <-time.After(min(pause, scheduleTurn) - time.Since(looked)):
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}

// activity returns Activity's channel; nil without Activity.
func (s Schedule) activity() <-chan struct{} {
	if s.Activity == nil {
		return nil
	}
	return s.Activity()
}

// turn moves all due events, and returns the delay until the next turn.
func (s Schedule) turn(ctx context.Context) (pause time.Duration, err error) {
	for more := true; more && err == nil; {
		pause, more, err = s.move(ctx)
	}
	return pause, err
}

// failingSQL lists events that are due and could not be stored, the oldest first.
const failingSQL = `SELECT id, topic, type, problem FROM outcrier.scheduled WHERE deliver_at <= now() AND problem IS NOT NULL ORDER BY deliver_at, id LIMIT 20`

// logFailing logs each event that is due and can't be stored, once. If the next event is not due
// for a while there is none, and it makes no query.
func (s Schedule) logFailing(ctx context.Context, pause time.Duration, known map[int64]bool) error {
	if pause > scheduleTurn {
		clear(known)
		return nil
	}
	ctx, cancel := database.Within(ctx, scheduleLimit)
	defer cancel()
	return database.InPool(ctx, s.Pool, s.Schema, func(q database.DB) error {
		var id int64
		var topic, eventType, problem string
		present := make(map[int64]bool)
		rows, _ := q.Query(ctx, failingSQL) // ForEachRow has the error
		_, err := pgx.ForEachRow(rows, []any{&id, &topic, &eventType, &problem}, func() error {
			if present[id] = true; !known[id] {
				s.Log.ErrorContext(ctx, "a scheduled event can't be stored, and is tried again", "id", id, "topic", topic, "type", eventType, "problem", problem)
			}
			return nil
		})
		if err == nil {
			clear(known)
			maps.Copy(known, present)
		}
		return err
	})
}

// move moves some of the due events, and reports whether there may be more.
func (s Schedule) move(ctx context.Context) (pause time.Duration, more bool, err error) {
	ctx, cancel := database.Within(ctx, scheduleLimit)
	defer cancel()
	var seconds *float64
	err = database.InPool(ctx, s.Pool, s.Schema, func(q database.DB) error {
		return q.QueryRow(ctx, `SELECT extract(epoch FROM min(deliver_at) - clock_timestamp())::float8 FROM outcrier.scheduled`).Scan(&seconds)
	})
	switch {
	case err != nil:
		return 0, false, err
	case seconds == nil || *seconds > scheduleIdle.Seconds():
		return scheduleIdle, false, nil
	case *seconds > 0:
		return time.Duration(*seconds * float64(time.Second)), false, nil
	}
	var moved int
	err = database.InPool(ctx, s.Pool, s.Schema, func(q database.DB) error {
		return q.QueryRow(ctx, `SELECT outcrier.deliver_scheduled()`).Scan(&moved)
	})
	// Another node may have locked the due events.
	return scheduleTurn, moved > 0, err
}
