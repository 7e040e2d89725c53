package outcrier

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/internal/fair"
	"github.com/outcrier/outcrier/outbox"
)

// append appends in a transaction of its own, for requests.
func (n *Node) append(ctx context.Context, drafts []outbox.Draft) (ids []int64, err error) {
	leave, err := n.appends.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	err = outbox.InTransaction(ctx, n.pool, func(tx pgx.Tx) error {
		if ids, err = n.config.Schema.Append(ctx, tx, drafts...); err != nil {
			return err
		}
		if err := n.checkScheduled(ctx, tx, drafts, ids); err != nil {
			return err
		}
		if by, known := handlers.PublisherOf(ctx); known {
			return n.config.Schema.RecordPublisher(ctx, tx, by.Subject, by.Address, ids...)
		}
		return nil
	})
	return ids, err
}

// checkScheduled refuses appended events that are scheduled, if the principal then has too many
// of those.
func (n *Node) checkScheduled(ctx context.Context, tx pgx.Tx, drafts []outbox.Draft, ids []int64) error {
	principal, now := fair.Principal(ctx), time.Now()
	scheduled := slices.ContainsFunc(drafts, func(d outbox.Draft) bool { return d.DeliverAt.After(now) })
	if n.config.Limits.Scheduled == 0 || principal == "" || !scheduled {
		return nil
	}
	held, err := n.config.Schema.HoldFor(ctx, tx, principal, ids)
	if err == nil && held > int64(n.config.Limits.Scheduled) {
		err = handlers.ErrScheduled
	}
	return err
}
