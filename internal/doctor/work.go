package doctor

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

func (e *examination) sequence(ctx context.Context, conn *pgx.Conn) {
	var cache, increment int64
	err := conn.QueryRow(ctx, `SELECT seqcache, seqincrement FROM pg_sequence WHERE seqrelid = to_regclass('outbox_id_seq')`).Scan(&cache, &increment)
	switch {
	case err != nil:
		e.say(Error, "sequence", "outbox_id_seq can't be looked at: "+plain(err), "run outcrier migrate up")
	case cache != 1:
		e.say(Error, "sequence", fmt.Sprintf("outbox_id_seq has a cache of %d: events may come out of order", cache), "ALTER SEQUENCE outbox_id_seq CACHE 1")
	case increment < 1:
		e.say(Error, "sequence", fmt.Sprintf("outbox_id_seq goes by %d: ids do not rise", increment), "ALTER SEQUENCE outbox_id_seq INCREMENT 1")
	default:
		e.ok("sequence", "ids are drawn one at a time")
	}
}

// triggersSQL lists the table and its partitions with what is wrong about the bell's
// trigger on each.
const triggersSQL = `
SELECT t.relid::regclass::text, coalesce(g.tgenabled::text, '')
FROM pg_partition_tree('outbox') AS t
LEFT JOIN pg_trigger AS g ON g.tgrelid = t.relid AND g.tgname = 'outbox_ring' AND NOT g.tgisinternal
WHERE coalesce(g.tgenabled, 'D') NOT IN ('O', 'A') ORDER BY 1`

func (e *examination) triggers(ctx context.Context, conn *pgx.Conn) {
	var details []string
	rows, _ := conn.Query(ctx, triggersSQL)
	var table, enabled string
	_, err := pgx.ForEachRow(rows, []any{&table, &enabled}, func() error {
		switch enabled {
		case "":
			details = append(details, fmt.Sprintf("missing: CREATE TRIGGER outbox_ring AFTER INSERT ON %s FOR EACH STATEMENT EXECUTE FUNCTION outbox_ring()", table))
		case "R":
			details = append(details, fmt.Sprintf("for replication only: ALTER TABLE %s ENABLE TRIGGER outbox_ring", table))
		default:
			details = append(details, fmt.Sprintf("disabled: ALTER TABLE %s ENABLE TRIGGER outbox_ring", table))
		}
		return nil
	})
	var replica string
	if err == nil {
		err = conn.QueryRow(ctx, `SELECT current_setting('session_replication_role')`).Scan(&replica)
	}
	switch {
	case err != nil:
		e.say(Error, "trigger", "the triggers can't be looked at: "+plain(err), "run outcrier migrate up")
	case len(details) > 0:
		e.say(Error, "trigger", "appends do not ring the bell: events are found up to --idle-turn late", "restore the trigger outbox_ring, as owner of the table:", details...)
	case replica == "replica":
		e.say(Error, "trigger", "session_replication_role is replica for this role: its appends ring no bell", "ALTER ROLE … RESET session_replication_role")
	default:
		e.ok("trigger", "appends ring the bell")
	}
}

const partitionsSQL = `
WITH days AS (
	SELECT to_date(c.relname, '"outbox_"YYYY_MM_DD') - (now() AT TIME ZONE 'UTC')::date AS ahead
	FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
	WHERE i.inhparent = 'outbox'::regclass AND c.relname ~ '^outbox_\d{4}_\d\d_\d\d$'
)
SELECT (SELECT n - 1 FROM generate_series(0, 400) AS n WHERE NOT EXISTS (SELECT FROM days WHERE ahead = n) ORDER BY n LIMIT 1),
	to_regclass('outbox_default') IS NOT NULL, coalesce(pg_stat_get_live_tuples(to_regclass('outbox_default')), 0),
	coalesce(has_table_privilege(to_regclass('outbox_default'), 'SELECT'), false)`

// manyRows is as far as rows are counted.
const manyRows = 10_000

func (e *examination) partitions(ctx context.Context, conn *pgx.Conn) {
	const remedy = "a running node makes them each minute, unless its log says why not; by hand: SELECT outbox_partitions_ahead()"
	var ahead int
	var rows int64
	var whole, readable bool
	if err := conn.QueryRow(ctx, partitionsSQL).Scan(&ahead, &whole, &rows, &readable); err != nil {
		e.say(Error, "partitions", "the partitions can't be looked at: "+plain(err), "run outcrier migrate up")
		return
	}
	switch {
	case ahead < 0:
		e.say(Error, "partitions", "there is no partition for today", remedy+"; a day of which events lie in outbox_default gets its own when it is past")
	case ahead == 0:
		e.say(Warning, "partitions", "there is no partition for tomorrow", remedy)
	default:
		e.ok("partitions", "partitions are made for %d days after today", ahead)
	}
	if !whole {
		return // as the schema's finding says
	}
	if !readable {
		if rows > 0 {
			e.say(Advice, "default partition", fmt.Sprintf("about %d events lie in outbox_default; this role may not see whether of past days", rows), moving)
		}
		return
	}
	e.defaultPartition(ctx, conn)
}

// defaultSQL counts what lies in the default partition, and of that what a node should
// have moved.
const defaultSQL = `
SELECT (SELECT count(*) FROM (SELECT FROM outbox_default LIMIT $1) AS rows), (SELECT count(*) FROM (
	SELECT FROM outbox_default WHERE created_at >= '1970-01-01+00' AND created_at < date_trunc('day', now(), 'UTC') LIMIT $1
) AS past)`

const moving = "a running node moves the events of a day into its partition when the day is past, unless its log says why not; by hand: SELECT outbox_partitions_ahead()"

func (e *examination) defaultPartition(ctx context.Context, conn *pgx.Conn) {
	var rows, past int
	err := conn.QueryRow(ctx, defaultSQL, manyRows).Scan(&rows, &past)
	counted := func(n int) string {
		if n == manyRows {
			return fmt.Sprintf("at least %d", n)
		}
		return strconv.Itoa(n)
	}
	switch {
	case err != nil:
		e.say(Error, "default partition", "it can't be looked at: "+plain(err), "look at the log of Postgres")
	case past > 0:
		e.say(Warning, "default partition", counted(past)+" events of past days lie in outbox_default: no node has moved them",
			moving+" (never delete them by hand: readers would not be told)")
	case rows > 0:
		e.ok("default partition", "%s events lie in outbox_default, none of a past day: a node moves them when their day is past", counted(rows))
	default:
		e.ok("default partition", "outbox_default is empty")
	}
}

// owingSQL lists the open transactions that have appended, the oldest first, with what
// either the outbox's owner may see of them, or this role.
const owingSQL = `
SELECT coalesce(f.pid, 0), coalesce(f.gid, ''), coalesce(extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, f.since)), -1)::float8,
	coalesce(a.state, f.state, ''), coalesce(f.role, ''), coalesce(f.application, ''),
	left(regexp_replace(coalesce(CASE WHEN a.xact_start IS NULL THEN f.query ELSE a.query END, ''), '\s+', ' ', 'g'), 200)
FROM outbox_in_flight() AS f LEFT JOIN pg_stat_activity AS a ON a.pid = f.pid
ORDER BY 3 DESC LIMIT 20`

func (e *examination) owing(ctx context.Context, conn *pgx.Conn) {
	var pid int
	var gid, state, user, application, query string
	var age, oldest float64
	var details []string
	rows, _ := conn.Query(ctx, owingSQL)
	_, err := pgx.ForEachRow(rows, []any{&pid, &gid, &age, &state, &user, &application, &query}, func() error {
		oldest = max(oldest, age)
		since := time.Duration(age * float64(time.Second)).Round(time.Second).String()
		switch {
		case gid != "":
			details = append(details, fmt.Sprintf("prepared transaction %q, for %s: COMMIT PREPARED or ROLLBACK PREPARED", gid, since))
		case age < 0:
			details = append(details, fmt.Sprintf("pid %d, of role %s, which neither this one nor the outbox's owner may look at (GRANT pg_read_all_stats)", pid, user))
		default:
			details = append(details, fmt.Sprintf("pid %d, open for %s, %s, user %s, application %q, last query: %s", pid, since, state, user, application, query))
		}
		return nil
	})
	switch {
	case err != nil:
		e.say(Error, "open transactions", "they can't be looked at: "+plain(err), "look at the log of Postgres")
	case oldest >= e.LongOpen.Seconds():
		e.say(Warning, "open transactions", fmt.Sprintf("%d open transactions owe events, the oldest for %s", len(details), time.Duration(oldest*float64(time.Second)).Round(time.Second)),
			"have the application commit; SELECT pg_terminate_backend(pid) rolls one back, and its events never were", details...)
	case len(details) > 0:
		e.ok("open transactions", "%d owe events, none for long", len(details))
	default:
		e.ok("open transactions", "none owes events")
	}
}
