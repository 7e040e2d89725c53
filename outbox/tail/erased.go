package tail

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/internal/table"
	"github.com/outcrier/outcrier/outbox/position"
)

// errErased ends a read of the tail during which events were erased.
var errErased = errors.New("events were erased while many were read")

// erasedEvery is how often a read that takes long looks for erasures, by default.
const erasedEvery = 100 * time.Millisecond

// lookLimit is how long one look may take, a connection included.
const lookLimit = 3 * time.Second

// blindFor is how long no long read looks for erasures after that has failed: each failure can
// hold the tail up for seconds.
const blindFor = 10 * time.Second

// erasureWatch finds out, while the tail is in the middle of a long read, whether events were
// erased or changed since that began: its snapshot has them as they were, and the next read,
// which will see the erasure, has to wait for its end. The tail's own connection is in use for as
// long, so that this takes another one.
type erasureWatch struct {
	tail *Tail
	// looked is when it last looked, or when the read began; seen are the transactions that were visible then.
	looked time.Time
	seen   position.Set
	conn   *pgx.Conn
	// failed is set when it could not look: the read goes on.
	failed bool
}

func (t *Tail) watchErasures(began time.Time) *erasureWatch {
	return &erasureWatch{tail: t, looked: began}
}

// found reports whether events were erased since the read began whose end is to. It looks
// only now and then, and takes less than Silence.
func (w *erasureWatch) found(ctx context.Context, to position.Position) (found bool) {
	if w.failed || time.Now().Before(w.tail.blind) || time.Since(w.looked) < cmp.Or(w.tail.erasedEvery, erasedEvery) {
		return false
	}
	ctx, cancel := database.Within(ctx, min(lookLimit, w.tail.Silence/2))
	defer cancel()
	err := w.look(ctx, to, &found)
	if err != nil {
		w.failed, w.tail.blind = true, time.Now().Add(blindFor)
		if w.tail.unwatched.Fails(database.Cause(err)) {
			w.tail.Log.WarnContext(ctx, "can't look for erasures while many events are read", "err", database.OneLine(err))
		}
	} else if failures, lasted := w.tail.unwatched.Ends(); failures > 0 {
		w.tail.Log.InfoContext(ctx, "erasures are looked for again while many events are read", "after", lasted, "failures", failures)
	}
	w.looked = time.Now()
	return found
}

// erasedSQL looks for rows about erasures that are visible now and not in the set ($1, $2), and
// returns the set that is visible. It uses no table but that of events, so that it can't be in a deadlock with
// outcrier.reset.
const erasedSQL = table.RangesSQL + `
SELECT pg_current_snapshot()::text, coalesce((SELECT n.xid FROM (` + table.NewestSQL + `
) AS n), $1), EXISTS (
	SELECT FROM ranges CROSS JOIN LATERAL (SELECT topic, type FROM outcrier.event WHERE xid > low AND xid < high OFFSET 0) AS o WHERE ` + aboutErasure + `
) OR EXISTS (
	SELECT FROM (SELECT topic, type FROM outcrier.event WHERE xid = ANY(` + ended + `) AND xid <= $1 OFFSET 0) AS o WHERE ` + aboutErasure + `
)`

const aboutErasure = `o.topic = '' AND o.type IN ('` + typeErased + `', '` + typeReset + `')`

func (w *erasureWatch) look(ctx context.Context, to position.Position, found *bool) (err error) {
	if w.conn == nil {
		if w.conn, err = outbox.Connect(ctx, w.tail.URL); err != nil {
			return err
		}
		w.seen = to.Given
	}
	return database.InSession(ctx, w.conn, w.tail.Schema, func(q database.DB) error {
		var text string
		var newest uint64
		if err := q.QueryRow(ctx, erasedSQL, w.seen.Max, w.seen.Except).Scan(&text, &newest, found); err != nil {
			return err
		}
		now, err := table.ParseSnapshot(text)
		if err == nil {
			w.seen = position.NewSet(newest, now.InProgress)
		}
		return err
	})
}

// close is called at the end of the read.
func (w *erasureWatch) close(ctx context.Context) {
	if w.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = w.conn.Close(ctx)
}
