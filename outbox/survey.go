package outbox

import (
	"context"
	"fmt"
	"time"
)

// Survey is what the database knows of an outbox beside its events, at one moment.
type Survey struct {
	// Owing are the open transactions that have appended, as outbox_in_flight() lists
	// them. Prepared ones are among them.
	Owing int
	// OldestOwing is how long the oldest of them has been open, 0 when there is none,
	// or none whose time may be seen. Of a prepared transaction it is since the
	// PREPARE.
	OldestOwing time.Duration
	// DaysAhead is for how many days after today, in a row, there is a partition: -1
	// when there is none even for today.
	DaysAhead int
	// DefaultRows is Postgres's own estimate of the events in the partition that
	// takes what no day does.
	DefaultRows int64
	// Scheduled are the events that wait for their time; Overdue is by how much the
	// first of them is past it.
	Scheduled int64
	Overdue   time.Duration
}

// owingSQL has the times that either the outbox's owner may see, or this role.
const owingSQL = `
SELECT count(*), coalesce(max(extract(epoch FROM clock_timestamp() - coalesce(f.since, a.xact_start))), 0)::float8
FROM outbox_in_flight() AS f LEFT JOIN pg_stat_activity AS a ON a.pid = f.pid`

// partitionsSQL counts the days ahead by the names of the partitions, which are
// outbox_partitions_ahead's.
const partitionsSQL = `
WITH days AS (
	SELECT to_date(c.relname, '"outbox_"YYYY_MM_DD') - (now() AT TIME ZONE 'UTC')::date AS ahead
	FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
	WHERE i.inhparent = 'outbox'::regclass AND c.relname ~ '^outbox_\d{4}_\d\d_\d\d$'
)
SELECT (SELECT n - 1 FROM generate_series(0, 400) AS n WHERE NOT EXISTS (SELECT FROM days WHERE ahead = n) ORDER BY n LIMIT 1),
	pg_stat_get_live_tuples('outbox_default'::regclass)`

const scheduledSQL = `
SELECT count(deliver_at), coalesce(extract(epoch FROM clock_timestamp() - min(deliver_at)), 0)::float8 FROM outbox_scheduled`

// Survey asks the database. It needs no more than outbox_server may.
func (r Reader) Survey(ctx context.Context) (s Survey, err error) {
	conn, err := r.Pool.Acquire(ctx)
	if err != nil {
		return s, err
	}
	defer conn.Release()
	var oldest, overdue float64
	if err := conn.QueryRow(ctx, owingSQL).Scan(&s.Owing, &oldest); err != nil {
		return s, fmt.Errorf("find the transactions that owe events: %w", migrated(err))
	}
	if err := conn.QueryRow(ctx, partitionsSQL).Scan(&s.DaysAhead, &s.DefaultRows); err != nil {
		return s, fmt.Errorf("look at the partitions: %w", err)
	}
	if err := conn.QueryRow(ctx, scheduledSQL).Scan(&s.Scheduled, &overdue); err != nil {
		return s, fmt.Errorf("look at what is scheduled: %w", err)
	}
	s.OldestOwing, s.Overdue = seconds(oldest), max(0, seconds(overdue))
	return s, nil
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
