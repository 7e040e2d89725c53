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
	// events counts the events put into the buffer since the last note; last is the id of the
	// newest.
	events int
	last   int64
	// noted is when the last note was, since the pool began.
	noted time.Duration
	// torn is set when a write failed, or its end was dropped: how much of it arrived is
	// unknown.
	torn bool
	// fresh counts the events put into the buffer since the last write that left whole. since
	// is when the first live one of them was handed to the hub, since the pool began, or 0.
	fresh int32
	since time.Duration
}

// noteEvery is how old the record of a stream that is sent events may get.
const noteEvery = 5 * time.Second

func (w *writer) count(e *outbox.Event) {
	w.events++
	w.fresh++
	w.last = e.ID
}

// written counts a write that has left whole, in the writer's tally.
func (w *writer) written(bytes int, tally *tally) {
	now := time.Since(w.pool.began)
	tally.writes++
	tally.bytes += int64(bytes)
	tally.events += int64(w.fresh)
	if w.fresh = 0; w.since != 0 {
		tally.dispatch.Observe(now - w.since)
		w.since = 0
	}
	w.wrote.Store(int64(now))
	if w.events > 0 && now-w.noted >= noteEvery {
		w.note(now)
	}
}

func (w *writer) note(now time.Duration) {
	w.record.Progress(w.sent, w.events, w.last)
	w.events, w.noted = 0, now
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

// closeRecord ends the record. Events in a write that failed, or since the last note,
// may have arrived: it was perhaps sent.
func (w *writer) closeRecord(why error) {
	switch {
	case w.events == 0:
	case w.torn:
		w.record.Perhaps(w.sent, w.events, w.last)
	default:
		w.note(w.noted)
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
