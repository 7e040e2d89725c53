package sse

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// outageEvery is the least time between two lines that say that streams wait.
const outageEvery = time.Minute

// outage has the log say once that streams wait for the database, and once that none does
// any more: in an outage each of many thousands fails every two seconds.
type outage struct {
	mu sync.Mutex
	// waiting are the streams that wait now, streams those that have waited since began.
	waiting, streams int
	began, logged    time.Time
	said             bool // that they wait, of the present outage
}

// fails notes that a stream could not be served, and when first is true, that it waits from
// now on.
func (o *outage) fails(ctx context.Context, log *slog.Logger, what string, err error, first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if first {
		if o.waiting++; o.waiting == 1 {
			o.began, o.streams = now, 0
		}
		o.streams++
	}
	if !o.said && now.Sub(o.logged) >= outageEvery {
		o.said, o.logged = true, now
		log.WarnContext(ctx, "streams wait for the database", "to", what, "err", err)
	}
}

// ends notes that a stream waits no more: it goes on, or has ended.
func (o *outage) ends(ctx context.Context, log *slog.Logger) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiting--; o.waiting == 0 && o.said {
		o.said = false
		log.InfoContext(ctx, "no stream waits for the database any more", "streams", o.streams, "after", time.Since(o.began).Round(time.Millisecond))
	}
}
