package audit

import (
	"context"
	"time"
)

// TurnAs is one turn of Run, of a node with this run.
func (a *Recorder) TurnAs(ctx context.Context, run int64, every time.Duration) error {
	a.begin()
	a.run = run
	return a.turn(ctx, every)
}

// StopWithin has Run try for so long to say that the node stops.
func (a *Recorder) StopWithin(limit time.Duration) { a.stopLimit = limit }

// LastWritten gives the id of the last event as a write that begins now would have it.
func (r *StreamRecord) LastWritten() func() int64 {
	row, _ := r.row(time.Now())
	return func() int64 { return *row.LastEvent }
}
