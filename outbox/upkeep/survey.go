package upkeep

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
)

// Survey is the state of an outbox in the database, without its events, at one moment.
type Survey struct {
	// InFlight are the open transactions that have appended, as the SQL function
	// in_flight lists them. Prepared ones are among them.
	InFlight int
	// OldestInFlight is how long the oldest of them has been open, of those whose time may
	// be seen; 0 if there is none. The time of a prepared transaction counts from its
	// PREPARE.
	OldestInFlight time.Duration
	// Untimed are the transactions, by their xid, whose time neither the outbox's owner
	// nor this role may see (pg_read_all_stats).
	Untimed []uint32
	// DaysAhead is for how many days after today (UTC), in a row, there is a partition:
	// -1 when there is none even for today.
	DaysAhead int
	// DefaultRows is Postgres's own estimate of the events in the default partition.
	DefaultRows int64
	// QueueUsage is how full the cluster's notification queue is, from 0 to 1.
	QueueUsage float64
	// Scheduled are the events that wait for their time; Overdue is by how much the
	// first of them is past it. Failing are those that were due and could not be stored.
	Scheduled, Failing int64
	Overdue            time.Duration
}

// inFlightSQL has the times that either the outbox's owner may see, or this role.
const inFlightSQL = `
SELECT count(*), coalesce(max(extract(epoch FROM clock_timestamp() - coalesce(f.since, a.xact_start))), 0)::float8,
	coalesce(array_agg(f.xid) FILTER (WHERE coalesce(f.since, a.xact_start) IS NULL), '{}')
FROM outcrier.in_flight() AS f LEFT JOIN pg_stat_activity AS a ON a.pid = f.pid`

const (
	partitionsSQL  = `SELECT begins, ends FROM outcrier.partitions() WHERE isfinite(begins) AND isfinite(ends) ORDER BY begins`
	defaultRowsSQL = `SELECT pg_stat_get_live_tuples('outcrier.event_default'::regclass), pg_notification_queue_usage(), now()`
)

const scheduledSQL = `
SELECT count(deliver_at), count(problem), coalesce(extract(epoch FROM clock_timestamp() - min(deliver_at)), 0)::float8 FROM outcrier.scheduled`

// TakeSurvey queries the database of a pool of outbox.PoolConfig; ctx bounds how long it may
// take. It needs only the rights of outcrier_server.
func TakeSurvey(ctx context.Context, pool *pgxpool.Pool, schema outbox.Schema) (s Survey, err error) {
	err = database.InPool(ctx, pool, schema, func(q database.DB) error {
		var oldest, overdue float64
		if err := q.QueryRow(ctx, inFlightSQL).Scan(&s.InFlight, &oldest, &s.Untimed); err != nil {
			return fmt.Errorf("find the transactions in flight: %w", database.Migrated(err))
		}
		var now time.Time
		if err := q.QueryRow(ctx, defaultRowsSQL).Scan(&s.DefaultRows, &s.QueueUsage, &now); err != nil {
			return fmt.Errorf("look at the partitions and the notification queue: %w", err)
		}
		rows, _ := q.Query(ctx, partitionsSQL) // CollectRows has the error
		periods, err := pgx.CollectRows(rows, pgx.RowToStructByPos[period])
		if err != nil {
			return fmt.Errorf("look at the partitions: %w", err)
		}
		s.DaysAhead = daysAhead(now, periods)
		if err := q.QueryRow(ctx, scheduledSQL).Scan(&s.Scheduled, &s.Failing, &overdue); err != nil {
			return fmt.Errorf("look at what is scheduled: %w", err)
		}
		s.OldestInFlight, s.Overdue = seconds(oldest), max(0, seconds(overdue))
		return nil
	})
	return s, err
}

// period is the range of times of a partition.
type period struct{ Begins, Ends time.Time }

// daysAhead returns how many whole days after today the periods, which are in order,
// cover without a gap.
func daysAhead(now time.Time, periods []period) int {
	const day = 24 * time.Hour
	today := now.UTC().Truncate(day)
	covered := today
	for _, s := range periods {
		if !s.Begins.After(covered) && s.Ends.After(covered) {
			covered = s.Ends
		}
	}
	return int(covered.Sub(today)/day) - 1
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
