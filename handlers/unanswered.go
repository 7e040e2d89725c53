package handlers

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/outcrier/outcrier/internal/outage"
)

// unanswered logs requests that fail because of the database: in an outage each client asks
// again every few seconds. For each kind there is one line when requests begin to fail, and
// one when they are answered again.
type unanswered struct {
	log     *slog.Logger
	failing atomic.Int64 // how many kinds have failed since they were answered

	mu    sync.Mutex
	kinds map[unansweredKind]*unansweredState
}

// unansweredKind is a kind of requests: of a message, and of a route where it has several.
type unansweredKind struct{ message, route string }

func (k unansweredKind) attributes(more ...any) []any {
	if k.route == "" {
		return more
	}
	return append([]any{"route", k.route}, more...)
}

type unansweredState struct {
	outage  outage.Outage
	failing bool
}

// fails logs a failure, unless others of its kind were logged.
func (u *unanswered) fails(ctx context.Context, kind unansweredKind, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	state := u.kinds[kind]
	if state == nil {
		if u.kinds == nil {
			u.kinds = make(map[unansweredKind]*unansweredState)
		}
		state = &unansweredState{outage: outage.Outage{Many: true}}
		u.kinds[kind] = state
	}
	if !state.failing {
		state.failing = true
		u.failing.Add(1)
	}
	if state.outage.Fails("") {
		u.log.WarnContext(ctx, kind.message, kind.attributes("err", err)...)
	}
}

// answered notes that a request of a kind did not fail.
func (u *unanswered) answered(ctx context.Context, kind unansweredKind) {
	if u.failing.Load() == 0 {
		return // as nearly always
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	state := u.kinds[kind]
	if state == nil || !state.failing {
		return
	}
	state.failing = false
	u.failing.Add(-1)
	if failures, lasted := state.outage.Ends(); failures > 0 {
		u.log.InfoContext(ctx, "requests are answered again", kind.attributes("before", kind.message, "after", lasted, "failures", failures)...)
	}
}

// The kinds, as the log names them.
var (
	authenticationFailed = unansweredKind{message: "request not authenticated"}
	verificationFailed   = unansweredKind{message: "token not verified"}
	renewalFailed        = unansweredKind{message: "token not authenticated"}
	pollFailed           = unansweredKind{message: "poll failed"}
	eventFailed          = unansweredKind{message: "event not read"}
	catalogueFailed      = unansweredKind{message: "catalogue not read"}
	appendFailed         = unansweredKind{message: "append failed"}
	recordFailed         = unansweredKind{message: "admin's act not recorded"}
)

// questionFailed is of an admin's request. Some of their routes need no database.
func questionFailed(route string) unansweredKind {
	return unansweredKind{"admin's question not answered", route}
}
