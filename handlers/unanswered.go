package handlers

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// unansweredEvery is the least time between two log lines of one kind of failure.
const unansweredEvery = time.Minute

// unanswered logs requests that fail because of the database. In an outage each client asks
// again every few seconds, so there is one line a minute for each kind.
type unanswered struct {
	mu    sync.Mutex
	kinds map[string]*unansweredKind
}

type unansweredKind struct {
	logged time.Time
	more   int // failures since that have no line
}

// log writes the line of a failure, or counts it for the next one. There are only as many
// kinds as messages.
func (u *unanswered) log(ctx context.Context, log *slog.Logger, message string, err error, attributes ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	kind := u.kinds[message]
	if kind == nil {
		if u.kinds == nil {
			u.kinds = map[string]*unansweredKind{}
		}
		kind = &unansweredKind{}
		u.kinds[message] = kind
	}
	now := time.Now()
	if now.Sub(kind.logged) < unansweredEvery {
		kind.more++
		return
	}
	log.WarnContext(ctx, message, append(attributes, "err", err, "unlogged", kind.more)...)
	kind.logged, kind.more = now, 0
}
