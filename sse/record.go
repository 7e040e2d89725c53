package sse

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/sse/wire"
)

// recorded is the part of a writer that keeps its record for the audit, updated now and
// then, and at the end. A stream without a record keeps none.
type recorded struct {
	record *audit.StreamRecord
	// number is the record's; writing is since when a write has been waiting for the
	// reader, since the pool began, or 0. Anybody may read both.
	number, writing atomic.Int64
	// unrecorded counts the events put into the buffer that the record does not have yet;
	// lastID is the id of the newest.
	unrecorded int
	lastID     int64
	// notedAt is when noteProgress was last called, since the pool began.
	notedAt time.Duration
	// torn is set when a write failed, or its end was dropped: how much of it arrived is
	// unknown.
	torn bool
	// unsent counts the events put into the buffer since the last write that left whole.
	// deliveredAt is when the first live one of them was handed to the hub, since the pool
	// began, or 0.
	unsent      int32
	deliveredAt time.Duration
}

// noteEvery is how old the record of a stream that is sent events may get.
const noteEvery = 5 * time.Second

func (w *writer) count(e *outbox.Event) {
	w.unrecorded++
	w.unsent++
	w.lastID = e.ID
}

// written counts a write that has left whole, in the writer's tally.
func (w *writer) written(bytes int, tally *tally) {
	now := time.Since(w.pool.began)
	tally.writes++
	tally.bytes += int64(bytes)
	tally.events += int64(w.unsent)
	if w.unsent = 0; w.deliveredAt != 0 {
		tally.dispatch.Observe(now - w.deliveredAt)
		w.deliveredAt = 0
	}
	w.wrote.Store(int64(now))
	if w.unrecorded > 0 && now-w.notedAt >= noteEvery {
		w.noteProgress(now)
	}
}

// noteProgress records the events that were sent so far.
func (w *writer) noteProgress(now time.Duration) {
	w.record.Progress(w.sent, w.unrecorded, w.lastID)
	w.unrecorded, w.notedAt = 0, now
}

// openRecord begins the record. That of a WebSocket can begin again, with other topics.
func (t *stream) openRecord(from position.Position) {
	if t.request.Record == nil {
		return
	}
	t.record = t.request.Record(from, t.request.Filter)
	t.number.Store(t.record.Number())
	if t.inbox == nil {
		t.request.Record = nil // streams are many, and last
	}
}

// closeRecord ends the record. Events in a write that failed, or since noteProgress was last called,
// may have arrived: it was perhaps sent.
func (w *writer) closeRecord(why error) {
	switch {
	case w.unrecorded == 0:
	case w.torn:
		w.record.Perhaps(w.sent, w.unrecorded, w.lastID)
	default:
		w.noteProgress(w.notedAt)
	}
	w.record.Closed(reason(why, w.torn))
}

// reason returns one word for why a stream ended.
func reason(why error, torn bool) string {
	var goodbye *wire.Goodbye
	switch {
	case errors.As(why, &goodbye):
		return goodbye.Reason
	case errors.Is(why, ErrStalled):
		return "stalled"
	case errors.Is(why, ErrLeft), errors.Is(why, context.Canceled):
		return "left"
	case errors.As(why, new(*closing)):
		return "refused"
	case torn:
		return "lost"
	}
	return "failed"
}
