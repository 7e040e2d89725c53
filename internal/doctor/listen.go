package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// proofWait is how long a notification of our own is waited for.
const proofWait = 3 * time.Second

// listen finds out whether a notification arrives, and if not, why.
func (e *examination) listen(ctx context.Context) {
	url, setting := e.DirectURL, "--direct-url"
	if url == "" {
		url, setting = e.DatabaseURL, "--database-url"
	}
	remedy := "give a --direct-url that leads to Postgres itself; until then nodes poll (--wake=poll says that this is meant)"
	conn, err := dial(ctx, url)
	if err != nil {
		e.say(Error, "listen", setting+" can't be reached: "+plain(err), remedy)
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// A pooler makes up the process id that it gives when a connection begins.
	var pid uint32
	if err := conn.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
		e.say(Error, "listen", setting+" does not answer: "+plain(err), remedy)
		return
	}
	pooled := pid != conn.PgConn().PID()
	heard, err := notified(ctx, conn, url)
	switch {
	case queueIsFull(err):
		e.say(Error, "listen", "NOTIFY is refused by "+setting+", because the queue of notifications is full: every COMMIT that notifies fails, in every database", stuckListener)
	case err != nil:
		e.say(Error, "listen", "LISTEN is refused: "+plain(err), remedy)
	case !heard && pooled:
		e.say(Error, "listen", fmt.Sprintf("LISTEN is not heard by %s: a pooler is in between (the connection was announced as process %d, and is process %d)", setting, conn.PgConn().PID(), pid), remedy)
	case !heard:
		e.say(Error, "listen", "LISTEN is not heard by "+setting+" within "+proofWait.String()+": a pooler or a proxy is in between, or the notification queue of Postgres is stuck", remedy+"; look at SELECT pg_notification_queue_usage()")
	case pooled:
		e.say(Warning, "listen", "LISTEN is heard by "+setting+", through a pooler that keeps the session", remedy)
	default:
		e.ok("listen", "LISTEN is heard by %s", setting)
	}
}

// queueIsFull reports whether Postgres refused a notification for want of room
// (program_limit_exceeded).
func queueIsFull(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "54000"
}

// notified reports whether conn receives the notification of another connection.
func notified(ctx context.Context, conn *pgx.Conn, url string) (bool, error) {
	channel := "outcrier_doctor_" + rand.Text()
	if _, err := conn.Exec(ctx, `LISTEN `+pgx.Identifier{channel}.Sanitize()); err != nil {
		return false, err
	}
	other, err := dial(ctx, url)
	if err != nil {
		return false, err
	}
	defer other.Close(context.WithoutCancel(ctx))
	if _, err := other.Exec(ctx, `SELECT pg_notify($1, '')`, channel); err != nil {
		return false, err
	}
	waiting, cancel := context.WithTimeout(ctx, proofWait)
	defer cancel()
	heard, err := conn.WaitForNotification(waiting)
	if err != nil && waiting.Err() == nil {
		return false, err
	}
	return heard != nil, nil
}
