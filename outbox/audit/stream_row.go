package audit

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/position"
)

// write writes a batch. A record that Postgres will not have is dropped, and does
// not keep others from being written.
func (a *Recorder) write(ctx context.Context, asked, heard time.Time, batch []*StreamRecord) error {
	rows, changes := make([]streamRow, len(batch)), make([]int, len(batch))
	for i, r := range batch {
		rows[i], changes[i] = r.row(heard)
	}
	encoded, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, statementLimit)
	defer cancel()
	err = database.InPool(patience, a.Pool, a.Schema, func(q database.DB) error {
		_, err := q.Exec(patience, `SELECT outcrier.record_streams($1, $2, $3, $4::json)`, a.run, database.Clean(a.Node), asked, string(encoded))
		return err
	})
	state := database.SQLState(err)
	if strings.HasPrefix(state, "22") || strings.HasPrefix(state, "23") { // data_exception, integrity_constraint_violation
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
