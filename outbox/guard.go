package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// guardEvery is how often a tail asks where a new connection leads.
const guardEvery = 15 * time.Second

// errElsewhere ends a tail's session on a server that is the primary no more.
var errElsewhere = errors.New("new connections lead to another server")

// guard watches that new connections still lead to the server of this one. After a
// failover the old primary may go on answering on the connections that it has, while
// everybody commits elsewhere. The context returned ends with errElsewhere;
// the caller must call end, which waits for what is under way. With an error it is ctx.
func guard(ctx context.Context, conn *pgx.Conn, url string, limit time.Duration) (guarded context.Context, end func(), err error) {
	asking, cancel := within(ctx, limit)
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
			// Where none can be had, the session's own goes on.
			if now, err := serverAt(guarded, url, limit); err == nil && now != server {
				stop(errElsewhere)
			}
		}
	}()
	return guarded, func() { stop(nil); <-ended }, nil
}

func serverAt(ctx context.Context, url string, limit time.Duration) (int64, error) {
	ctx, cancel := within(ctx, limit)
	defer cancel()
	conn, err := Connect(ctx, url)
	if err != nil {
		return 0, err
	}
	server, err := serverOf(ctx, conn)
	return server, errors.Join(err, conn.Close(ctx))
}

// serverOf tells servers apart, those of one cluster too, by the microsecond in which
// they were started. Connections do not outlive that, and a pooler has the same.
func serverOf(ctx context.Context, conn *pgx.Conn) (started int64, err error) {
	err = inSession(ctx, conn, "", func(q db) error {
		return q.QueryRow(ctx, `SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1e6)::bigint`).Scan(&started)
	})
	return started, err
}
