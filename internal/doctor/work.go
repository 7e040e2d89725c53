package doctor

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// sequenceSQL reads how ids are drawn, and whether the table is ahead of that. The
// largest id is looked for where this role may read, and the last one that was drawn where it
// may see that, which a node's role may not.
const sequenceSQL = `
SELECT s.seqcache, s.seqincrement, CASE WHEN has_sequence_privilege(s.seqrelid, 'SELECT, USAGE') THEN coalesce(pg_sequence_last_value(s.seqrelid::regclass), 0) END,
	CASE WHEN has_table_privilege('outcrier.event', 'SELECT') THEN coalesce((SELECT max(o.id) FROM outcrier.event AS o), 0) ELSE 0 END
FROM pg_sequence AS s WHERE s.seqrelid = 'outcrier.event_id'::regclass`

func (e *examination) sequence(ctx context.Context, conn *pgx.Conn) {
	var cache, increment, largest int64
	var last *int64
	err := conn.QueryRow(ctx, e.Schema.SQL(sequenceSQL)).Scan(&cache, &increment, &last, &largest)
	name := e.Schema.SQL("outcrier.event_id")
	switch {
	case err != nil:
		e.say(Error, "sequence", name+" can't be looked at: "+plain(err), "run outcrier migrate up")
	case cache != 1:
		e.say(Error, "sequence", fmt.Sprintf("%s has a cache of %d: events may come out of order", name, cache), "ALTER SEQUENCE "+name+" CACHE 1")
	case increment < 1:
		e.say(Error, "sequence", fmt.Sprintf("%s has the increment %d: ids do not rise", name, increment), "ALTER SEQUENCE "+name+" INCREMENT 1")
	case last == nil:
		e.ok("sequence", "ids are drawn one at a time; whether they rise is for the owner to see")
	case largest > *last:
		e.say(Error, "sequence", fmt.Sprintf("%s is at %d, and the table has id %d: ids will repeat, as after a logical copy, which brings no sequences", name, *last, largest),
			fmt.Sprintf("SELECT setval('%s', %d)", name, largest))
	default:
		e.ok("sequence", "ids are drawn one at a time, and rise")
	}
}

// manyPartitions are more than any retention makes.
const manyPartitions = 100

// partitionsSQL reads the partitions but the default one: whether one covers now, until
// when they cover without a gap, how many there are, and how wide the widest is.
const partitionsSQL = `
WITH RECURSIVE p AS (SELECT * FROM outcrier.partitions()),
covered AS (
	SELECT p.ends FROM p WHERE p.begins <= now() AND p.ends > now()
	UNION ALL SELECT p.ends FROM p JOIN covered AS c ON p.begins = c.ends
)
SELECT EXISTS (SELECT FROM covered), coalesce(extract(epoch FROM max(nullif(covered.ends, 'infinity')) - now())::float8, 0),
	(SELECT count(*) FROM p), coalesce((SELECT extract(epoch FROM max(p.ends - p.begins)) / 86400 FROM p WHERE isfinite(p.begins) AND isfinite(p.ends)), 0)::float8,
	(SELECT to_regclass('outcrier.event_default') IS NOT NULL), coalesce(pg_stat_get_live_tuples(to_regclass('outcrier.event_default')), 0),
	coalesce(has_table_privilege(to_regclass('outcrier.event_default'), 'SELECT'), false)
FROM covered`

func (e *examination) partitions(ctx context.Context, conn *pgx.Conn, at place) {
	maintain := "a running node makes them, unless its log says why not; by hand: " + e.Schema.SQL("SELECT outcrier.add_partition()") + " until it returns NULL"
	var covered, whole, readable bool
	var ahead, widest float64
	var count int
	var rows int64
	if err := conn.QueryRow(ctx, e.Schema.SQL(partitionsSQL)).Scan(&covered, &ahead, &count, &widest, &whole, &rows, &readable); err != nil {
		e.say(Error, "partitions", "they can't be looked at: "+plain(err), "connect as the owner or a member of outcrier_server; run outcrier migrate up")
		return
	}
	until := time.Duration(ahead * float64(time.Second))
	switch {
	case !covered:
		e.say(Error, "partitions", "no partition covers the present time: appends go to event_default", maintain+"; events of a day that lie in event_default are moved when it is past")
	case until < 24*time.Hour:
		e.say(Warning, "partitions", fmt.Sprintf("partitions cover only the next %v", until.Round(time.Hour)), maintain)
	case count > manyPartitions:
		e.say(Warning, "partitions", fmt.Sprintf("there are %d partitions, of at most %s: each costs every read, and locks", count, days(widest)),
			"a node with a long --retention makes wider ones, and removes the old ones when they are past; drop those that are not needed with outcrier.drop_partition")
	default:
		e.ok("partitions", "%s of at most %s, for the next %s", several(int(count), "partition", "partitions"), days(widest), days(until.Hours()/24))
	}
	if !whole {
		return // as the schema's finding says
	}
	if !readable {
		if rows > 0 {
			e.say(Advice, "default partition", "about "+several(int(rows), "event lies", "events lie")+" in event_default; this role may not see of which days", e.moving())
		}
		return
	}
	e.defaultPartition(ctx, conn)
}

func days(n float64) string { return several(int(math.Round(n)), "day", "days") }

// manyRows is as far as rows are counted.
const manyRows = 10_000

// defaultSQL counts what lies in the default partition, and of that what a node should
// have moved.
const defaultSQL = `
SELECT (SELECT count(*) FROM (SELECT FROM outcrier.event_default LIMIT $1) AS rows), (SELECT count(*) FROM (
	SELECT FROM outcrier.event_default WHERE created_at >= '1970-01-01+00' AND created_at < date_trunc('day', now(), 'UTC') LIMIT $1
) AS past)`

func (e *examination) moving() string {
	return "a running node moves the events of a day into a partition when the day is past, unless its log says why not; by hand: " +
		e.Schema.SQL("SELECT outcrier.add_partition()") + " until it returns NULL"
}

func (e *examination) defaultPartition(ctx context.Context, conn *pgx.Conn) {
	var rows, past int
	err := conn.QueryRow(ctx, e.Schema.SQL(defaultSQL), manyRows).Scan(&rows, &past)
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
		e.say(Warning, "default partition", counted(past)+" events of past days lie in event_default: no node has moved them",
			e.moving()+" (never delete them by hand: readers would not be told)")
	case rows > 0:
		e.ok("default partition", "%s events lie in event_default, none of a past day: a node moves them when their day is past", counted(rows))
	default:
		e.ok("default partition", "event_default is empty")
	}
}

// openSQL lists the open transactions that have appended, the oldest first, with what
// either the outbox's owner may see of them, or this role.
const openSQL = `
SELECT coalesce(f.pid, 0), coalesce(f.gid, ''), coalesce(extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, f.since)), -1)::float8,
	coalesce(a.state, f.state, ''), coalesce(f.role, ''), coalesce(f.application, ''),
	left(regexp_replace(coalesce(CASE WHEN a.xact_start IS NULL THEN f.query ELSE a.query END, ''), '\s+', ' ', 'g'), 200)
FROM outcrier.in_flight() AS f LEFT JOIN pg_stat_activity AS a ON a.pid = f.pid
ORDER BY 3 DESC LIMIT 20`

func (e *examination) openTransactions(ctx context.Context, conn *pgx.Conn) {
	var pid int
	var gid, state, user, application, query string
	var age, oldest float64
	var details []string
	unknown := 0
	rows, _ := conn.Query(ctx, e.Schema.SQL(openSQL)) // ForEachRow has the error
	_, err := pgx.ForEachRow(rows, []any{&pid, &gid, &age, &state, &user, &application, &query}, func() error {
		oldest = max(oldest, age)
		since := time.Duration(age * float64(time.Second)).Round(time.Second).String()
		switch {
		case gid != "":
			details = append(details, fmt.Sprintf("prepared transaction %q, for %s: COMMIT PREPARED or ROLLBACK PREPARED", gid, since))
		case age < 0:
			unknown++
			details = append(details, fmt.Sprintf("pid %d, of role %s, which neither this role nor the outbox's owner may look at (GRANT pg_read_all_stats)", pid, user))
		default:
			details = append(details, fmt.Sprintf("pid %d, open for %s, %s, user %s, application %q, last query: %s", pid, since, state, user, application, query))
		}
		return nil
	})
	switch {
	case err != nil:
		e.say(Error, "open transactions", "they can't be looked at: "+plain(err), "connect as the owner or a member of outcrier_server")
	case oldest >= e.LongOpen.Seconds():
		e.say(Warning, "open transactions", fmt.Sprintf("%d open transactions have appended, the oldest for %s: their events come with their commit", len(details), time.Duration(oldest*float64(time.Second)).Round(time.Second)),
			"have the application commit; SELECT pg_terminate_backend(pid) rolls one back, and its events never were", details...)
	case unknown > 0:
		e.say(Warning, "open transactions", fmt.Sprintf("%d open transactions have appended; of %d it is not known for how long, because this role and the outbox's owner may not see it", len(details), unknown),
			"GRANT pg_read_all_stats to the outbox's owner, or run doctor as a role that has it", details...)
	case len(details) > 0:
		e.ok("open transactions", "%d have appended, none for long", len(details))
	default:
		e.ok("open transactions", "none has appended")
	}
}

// lateSQL counts scheduled events that are late, and has the first that could not be
// stored.
const lateSQL = `
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(s.deliver_at)), 0)::float8, count(s.problem),
	coalesce((SELECT format('event %s, topic %s, type %s: %s', f.id, f.topic, f.type, f.problem)
		FROM outcrier.scheduled AS f WHERE f.problem IS NOT NULL AND f.deliver_at <= clock_timestamp() ORDER BY f.deliver_at, f.id LIMIT 1), '')
FROM outcrier.scheduled AS s WHERE s.deliver_at <= clock_timestamp() - interval '10 seconds'`

func (e *examination) scheduled(ctx context.Context, conn *pgx.Conn) {
	var late, failing int
	var overdue float64
	var first string
	err := conn.QueryRow(ctx, e.Schema.SQL(lateSQL)).Scan(&late, &overdue, &failing, &first)
	switch {
	case err != nil:
		e.say(Error, "schedule", "it can't be looked at: "+plain(err), "connect as the owner or a member of outcrier_server")
	case first != "":
		e.say(Error, "schedule", fmt.Sprintf("scheduled events can't be stored (%d late): ", failing)+first,
			"remove the trigger or constraint on outcrier.event that refuses it, or SELECT "+e.Schema.SQL("outcrier.cancel")+"(id)")
	case late > 0:
		e.say(Warning, "schedule", fmt.Sprintf("%d scheduled events are late, the first by %s", late, time.Duration(overdue*float64(time.Second)).Round(time.Second)),
			"a running node delivers them, unless its log says why not")
	default:
		e.ok("schedule", "no scheduled event is late")
	}
}
