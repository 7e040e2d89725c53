package tail

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// guardEvery is how often a tail checks which server a new connection reaches.
const guardEvery = 15 * time.Second

// errElsewhere ends a tail's session on a server that is no longer the primary.
var errElsewhere = errors.New("new connections lead to another server")

// guard checks from time to time that new connections reach the same server as conn. After
// a failover the old primary may still answer on its old connections, while applications
// commit at the new one. The context returned ends with errElsewhere; the caller must call
// end, which waits for a check under way. With an error the context returned is ctx.
func guard(ctx context.Context, conn *pgx.Conn, url string, limit time.Duration) (guarded context.Context, end func(), err error) {
	asking, cancel := database.Within(ctx, limit)
	defer cancel()
	server, err := serverOf(asking, conn)
	if err != nil {
		return ctx, nil, err
	}
	guarded, stop := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		every := time.NewTicker(guardEvery)
		defer every.Stop()
		for {
			select {
			case <-every.C:
			case <-guarded.Done():
				return
			}
			// If a new connection can't be made, the session's own stays in use.
			if now, err := serverAt(guarded, url, limit); err == nil && now != server {
				stop(errElsewhere)
			}
		}
	}()
	return guarded, func() { stop(nil); <-ended }, nil
}

func serverAt(ctx context.Context, url string, limit time.Duration) (int64, error) {
	ctx, cancel := database.Within(ctx, limit)
	defer cancel()
	conn, err := outbox.Connect(ctx, url)
	if err != nil {
		return 0, err
	}
	server, err := serverOf(ctx, conn)
	return server, errors.Join(err, conn.Close(ctx))
}

// serverOf returns the time at which the server was started, in microseconds: it differs
// between servers, also those of one cluster. No connection survives a restart, and through
// a pooler the time is the same.
func serverOf(ctx context.Context, conn *pgx.Conn) (started int64, err error) {
	err = database.InSession(ctx, conn, outbox.DefaultSchema, func(q database.DB) error {
		return q.QueryRow(ctx, `SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1e6)::bigint`).Scan(&started)
	})
	return started, err
}
