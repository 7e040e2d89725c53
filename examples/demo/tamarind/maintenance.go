package tamarind

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
)

// Maintenance is a window in which the desk rests.
type Maintenance struct {
	ID       int64     `json:"id"`
	Note     string    `json:"note"`
	StartsAt time.Time `json:"starts_at"`
	EndsAt   time.Time `json:"ends_at"`
	By       string    `json:"by"`
	// State is announced, started, finished or cancelled.
	State string `json:"state"`
}

// Window is what a reviewer fills in to announce maintenance.
type Window struct {
	// Note is one line that says what for; may be empty.
	Note string `json:"note"`
	// StartsIn is seconds from now, 5 to 86,400.
	StartsIn int `json:"starts_in"`
	// Lasts is in seconds, 5 to 86,400.
	Lasts int `json:"lasts"`
}

const (
	windowMin = 5
	windowMax = 86_400
)

// Announce says three times that the desk will rest: now, and, by two events
// that wait in the outbox's schedule, when it begins and when it ends. All three
// are in one transaction: none without the others.
func (b *Business) Announce(ctx context.Context, reviewer string, w Window) (Maintenance, error) {
	note, err := line("note", w.Note, noteLimit)
	if err != nil {
		return Maintenance{}, err
	}
	if w.StartsIn < windowMin || w.StartsIn > windowMax {
		return Maintenance{}, invalid("starts_in", "starts_in", "Maintenance must begin in %d to %d seconds.", windowMin, windowMax)
	}
	if w.Lasts < windowMin || w.Lasts > windowMax {
		return Maintenance{}, invalid("lasts", "lasts", "Maintenance must last %d to %d seconds.", windowMin, windowMax)
	}
	m := Maintenance{Note: note, By: reviewer, State: "announced"}
	err = b.transaction(ctx, func(tx pgx.Tx) error {
		if _, err := actor(ctx, tx, reviewer, roleReviewer); err != nil {
			return err
		}
		const announceSQL = `
			INSERT INTO demo_maintenance (note, starts_at, ends_at, announced_by)
			SELECT $1, t.start, t.start + make_interval(secs => $3), $4
			FROM (SELECT now() + make_interval(secs => $2)) AS t (start)
			RETURNING id, starts_at, ends_at`
		err := tx.QueryRow(ctx, announceSQL, note, w.StartsIn, w.Lasts, reviewer).Scan(&m.ID, &m.StartsAt, &m.EndsAt)
		if err != nil {
			return fmt.Errorf("announce maintenance: %w", err)
		}
		ids, err := appendEvents(ctx, tx,
			maintenanceDraft(m, "announced", time.Time{}),
			maintenanceDraft(m, "started", m.StartsAt),
			maintenanceDraft(m, "finished", m.EndsAt))
		if err != nil {
			return err
		}
		const scheduledSQL = `UPDATE demo_maintenance SET scheduled = $2 WHERE id = $1`
		if _, err := tx.Exec(ctx, scheduledSQL, m.ID, ids[1:]); err != nil {
			return fmt.Errorf("keep scheduled events: %w", err)
		}
		return nil
	})
	return m, err
}

// Cancel takes an announced window back: its waiting events with it.
func (b *Business) Cancel(ctx context.Context, reviewer string, id int64) (Maintenance, error) {
	var m Maintenance
	err := b.transaction(ctx, func(tx pgx.Tx) error {
		if _, err := actor(ctx, tx, reviewer, roleReviewer); err != nil {
			return err
		}
		const lockSQL = `SELECT ` + maintenanceColumns + ` FROM demo_maintenance WHERE id = $1 FOR UPDATE`
		rows, err := tx.Query(ctx, lockSQL, id)
		if err != nil {
			return fmt.Errorf("read maintenance: %w", err)
		}
		m, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Maintenance])
		if errors.Is(err, pgx.ErrNoRows) {
			return problem(http.StatusNotFound, "not_found", "There is no maintenance %d.", id)
		}
		if err != nil {
			return fmt.Errorf("read maintenance: %w", err)
		}
		if m.State != "announced" {
			return problem(http.StatusConflict, "maintenance_"+m.State, "That maintenance has %s already.", map[string]string{
				"started": "begun", "finished": "ended", "cancelled": "been cancelled",
			}[m.State])
		}
		const cancelSQL = `
			WITH cancelled AS (
				UPDATE demo_maintenance SET cancelled_at = now() WHERE id = $1 RETURNING scheduled
			)
			SELECT outcrier.cancel(waiting) FROM cancelled, unnest(scheduled) AS waiting`
		if _, err := tx.Exec(ctx, cancelSQL, id); err != nil {
			return fmt.Errorf("cancel maintenance: %w", err)
		}
		m.State = "cancelled"
		_, err = appendEvents(ctx, tx, maintenanceDraft(m, m.State, time.Time{}))
		return err
	})
	return m, err
}

// maintenanceColumns derives the state from the clock, so that the beginning and the end of
// a window need no writes.
const maintenanceColumns = `id, note, starts_at, ends_at, announced_by,
	CASE WHEN cancelled_at IS NOT NULL THEN 'cancelled'
	     WHEN ends_at <= clock_timestamp() THEN 'finished'
	     WHEN starts_at <= clock_timestamp() THEN 'started'
	     ELSE 'announced' END`

func maintenanceDraft(m Maintenance, state string, at time.Time) outbox.Draft {
	m.State = state
	return outbox.Draft{Topic: "public/announcements", Type: "system.maintenance", Payload: m, Source: "/demo/maintenance", DeliverAt: at}
}
