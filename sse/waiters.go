package sse

import (
	"context"
	"log/slog"
	"sync"

	"github.com/outcrier/outcrier/internal/outage"
)

// waiters logs once that streams wait for the database, and once that none waits any more: in
// an outage each of many thousands fails every two seconds.
type waiters struct {
	outage outage.Outage

	mu sync.Mutex
	// now counts the streams that wait, streams those that have waited during this outage.
	now, streams int
}

// fails notes that a stream could not be served, and when first is true, that it waits from
// now on.
func (w *waiters) fails(ctx context.Context, log *slog.Logger, what string, err error, first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if first {
		if w.now++; w.now == 1 {
			w.streams = 0
		}
		w.streams++
	}
	if w.outage.Fails("") {
		log.WarnContext(ctx, "streams wait for the database", "to", what, "err", err)
	}
}

// ends notes that a stream waits no more: it goes on, or has ended.
func (w *waiters) ends(ctx context.Context, log *slog.Logger) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now--; w.now > 0 {
		return
	}
	if failures, lasted := w.outage.Ends(); failures > 0 {
		log.InfoContext(ctx, "no stream waits for the database any more", "streams", w.streams, "after", lasted)
	}
}
