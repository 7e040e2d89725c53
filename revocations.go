package outcrier

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/internal/outage"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/tail"
)

// revocations keeps what the node knows of revoked tokens. The tail says when there is
// something new, so that this costs no query of its own.
type revocations struct {
	*auth.Revocations
	load    func(context.Context) ([]outbox.Revocation, error)
	changed chan struct{}
	log     *slog.Logger
}

// change has the list read again. It does not block.
func (r *revocations) change() {
	select {
	case r.changed <- struct{}{}:
	default: // asked for already
	}
}

// deliver and start go around the tail's own.
func (r *revocations) deliver(next func(tail.Read)) func(tail.Read) {
	return func(read tail.Read) {
		if read.Revoked {
			r.change()
		}
		next(read)
	}
}

// start reads the list again after a discontinuity of the tail, which may have missed a
// revocation.
func (r *revocations) start(next func(position.Position)) func(position.Position) {
	return func(position position.Position) {
		r.change()
		next(position)
	}
}

// Run reads the list, and again with every change, until ctx ends.
func (r *revocations) Run(ctx context.Context) error {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = 100*time.Millisecond, 5*time.Second
	var failing outage.Outage
	for {
		list, err := r.load(ctx)
		var again <-chan time.Time
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			pause := retry.NextBackOff()
			if failing.Fails("") {
				why, _ := outbox.Explain(err)
				r.log.WarnContext(ctx, "revoked tokens can't be read", "why", why, "err", strings.Join(strings.Fields(err.Error()), " "), "retry_in", pause)
			}
			again = time.After(pause)
		default:
			retry.Reset()
			r.Replace(list)
			if failures, lasted := failing.Ends(); failures > 0 {
				r.log.InfoContext(ctx, "revoked tokens are read again", "after", lasted, "failures", failures)
			}
		}
		select {
		case <-again:
		case <-r.changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
