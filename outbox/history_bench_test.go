package outbox_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// BenchmarkHistory asks what docs/sql.md says the cost of, of OUTBOX_EVENTS events of
// 200 bytes in eight days' partitions; ten million take some minutes to make.
//
//	OUTBOX_EVENTS=10000000 go test ./outbox -run '^$' -bench History -timeout 1h
func BenchmarkHistory(b *testing.B) {
	events := asked(b)
	url := outboxtest.URL(b)
	pool := outboxtest.Pool(b, url)
	remember(b, pool, events)
	conn := sqltest.Connection(b, url)
	sqltest.Exec(b, conn, `SET jit = off`)
	const page = ` ORDER BY id DESC LIMIT 50`
	for _, question := range []struct{ name, sql string }{
		{"newest page", `SELECT * FROM outcrier.history` + page},
		{"below an id in the middle", fmt.Sprintf(`SELECT * FROM outcrier.history WHERE id < %d`, events/2) + page},
		{"a topic", `SELECT * FROM outcrier.history WHERE topic = 'user/4242'` + page},
		{"beneath a topic", `SELECT * FROM outcrier.history WHERE (topic = 'user/4242' OR topic LIKE 'user/4242/%')` + page},
		{"beneath user", `SELECT * FROM outcrier.history WHERE topic LIKE 'user/%'` + page},
		{"a common type", `SELECT * FROM outcrier.history WHERE type = 'user.changed'` + page},
		{"a type, one of 1,000", `SELECT * FROM outcrier.history WHERE type = 'test.thousandth'` + page},
		{"a type, one of 10,000", `SELECT * FROM outcrier.history WHERE type = 'test.myriadth'` + page},
		{"a type, one of 100,000", `SELECT * FROM outcrier.history WHERE type = 'test.rare'` + page},
		{"an hour, four days ago", `SELECT * FROM outcrier.history WHERE created_at >= now() - interval '97 h' AND created_at < now() - interval '96 h'
			AND id < (SELECT outcrier.id_at(now() - interval '96 h' + interval '1 min'))` + page},
		{"half a day, four days ago", `SELECT * FROM outcrier.history WHERE created_at >= now() - interval '108 h' AND created_at < now() - interval '96 h'
			AND id < (SELECT outcrier.id_at(now() - interval '96 h' + interval '1 min'))` + page},
		{"before a time, four days ago", `SELECT * FROM outcrier.history WHERE created_at < now() - interval '96 h'
			AND id < (SELECT outcrier.id_at(now() - interval '96 h' + interval '1 min'))` + page},
		{"a topic before a time", `SELECT * FROM outcrier.history WHERE topic = 'user/4242' AND created_at < now() - interval '96 h'` + page},
		{"one event", fmt.Sprintf(`SELECT * FROM outcrier.history WHERE id = %d`, events/3)},
		{"count of a topic", `SELECT count(*), max(id) FROM outcrier.history WHERE topic = 'busy'`},
		{"topics of the last hour, busiest 20", `SELECT * FROM outcrier.topics ORDER BY events DESC LIMIT 20`},
		{"lag", `SELECT * FROM outcrier.lag`},
		{"receipts of an event", fmt.Sprintf(`SELECT * FROM outcrier.receipts WHERE id = %d`, events-events%7)},
		{"what a person was sent on a topic", `SELECT * FROM outcrier.people WHERE topic = 'user/42' AND subject = 's42' ORDER BY id`},
		{"what a person was sent in an hour", `SELECT * FROM outcrier.people WHERE subject = 's42' AND created_at >= now() - interval '1 h'
			AND id >= (SELECT outcrier.id_at(now() - interval '61 min')) ORDER BY id`},
		{"what a person was sent in a day", `SELECT * FROM outcrier.people WHERE subject = 's42' AND created_at >= now() - interval '1 day'
			AND id >= (SELECT outcrier.id_at(now() - interval '1441 min')) ORDER BY id DESC LIMIT 50`},
		{"why a person was not sent an event", fmt.Sprintf(whyNotSQL, events/3)},
		{"what of 500 events was sent to nobody", unsentSQL},
		{"a trend over all, one page in a hundred", `SELECT created_at::date, type, count(*) * 100 FROM outcrier.event TABLESAMPLE SYSTEM (1) REPEATABLE (1) WHERE topic <> '' GROUP BY 1, 2`},
		{"streams of a person", `SELECT * FROM outcrier.stream WHERE subject = 's42' ORDER BY opened_at DESC LIMIT 20`},
		{"the newest that a person was sent", `SELECT * FROM outcrier.people WHERE subject = 's42' ORDER BY id DESC LIMIT 50`},
	} {
		b.Run(question.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := conn.PgConn().Exec(b.Context(), question.sql).ReadAll(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// whyNotSQL and unsentSQL are what docs/sql.md has for these questions.
const (
	whyNotSQL = `
SELECT s.opened_at < e.created_at AS before_it, s.closed_at, CASE
	WHEN NOT EXISTS (SELECT FROM unnest(s.topics) AS p WHERE outcrier.matches(e.topic, p)) THEN 'other topics'
	WHEN s.types <> '{}' AND NOT EXISTS (SELECT FROM unnest(s.types) AS k WHERE k = e.type OR right(k, 1) = '*' AND starts_with(e.type, left(k, -1))) THEN 'other types'
	WHEN outcrier.contains(s.from_set, e.xid, e.id) THEN 'began after it'
	WHEN outcrier.contains(s.position_set, e.xid, e.id) THEN 'sent'
	WHEN s.closed_at IS NULL THEN 'not reached yet' ELSE 'ended before it' END AS verdict
FROM outcrier.event AS e JOIN outcrier.stream AS s ON s.subject = 's42' AND (s.closed_at IS NULL OR s.closed_at >= e.created_at - interval '1 min')
WHERE e.id = %d ORDER BY s.opened_at LIMIT 50`

	unsentSQL = `
WITH e AS MATERIALIZED (
	SELECT id, xid, topic, type FROM outcrier.event
	WHERE created_at > now() - interval '2 hours' AND id >= (SELECT outcrier.id_at(now() - interval '121 min')) AND topic <> ''
	ORDER BY id DESC LIMIT 500
), s AS MATERIALIZED (
	SELECT s.from_set, s.position_set, s.types, p AS pattern, rtrim(split_part(p, '*', 1), '/') AS stem
	FROM outcrier.stream AS s CROSS JOIN unnest(s.topics) AS p
	WHERE s.xid_range && (SELECT int8range(min(xid::text::bigint), max(xid::text::bigint), '[]') FROM e)
), sent AS (
	SELECT e.id FROM (
		SELECT e.*, array_to_string((string_to_array(topic, '/'))[:n], '/') AS stem FROM e CROSS JOIN generate_series(0, cardinality(string_to_array(topic, '/'))) AS n
	) AS e WHERE EXISTS (SELECT FROM s WHERE s.stem = e.stem AND outcrier.matches(e.topic, s.pattern)
		AND outcrier.contains(s.position_set, e.xid, e.id) AND NOT outcrier.contains(s.from_set, e.xid, e.id)
		AND (s.types = '{}' OR EXISTS (SELECT FROM unnest(s.types) AS k WHERE k = e.type OR right(k, 1) = '*' AND starts_with(e.type, left(k, -1)))))
)
SELECT id, topic, type FROM e WHERE id NOT IN (SELECT id FROM sent) ORDER BY id DESC LIMIT 50`
)

// BenchmarkSettle is what a restored database takes until its new history has begun.
func BenchmarkSettle(b *testing.B) {
	pool := outboxtest.New(b)
	remember(b, pool, asked(b))
	for b.Loop() {
		sqltest.Exec(b, pool, `UPDATE outcrier.history_id SET system_identifier = system_identifier + 1`)
		for sqltest.Ask1[*int64](b, pool, `SELECT outcrier.settle()`) == nil { // in pieces
		}
	}
}

// asked is how many events to make.
func asked(b *testing.B) int {
	b.Helper()
	text := os.Getenv("OUTBOX_EVENTS")
	if text == "" {
		return 100_000
	}
	events, err := strconv.Atoi(text)
	if err != nil {
		b.Fatalf("OUTBOX_EVENTS: %v", err)
	}
	return events
}

// remember makes a week of events, and the records of 10,000 streams that received
// them.
func remember(b *testing.B, pool *pgxpool.Pool, n int) {
	b.Helper()
	for day := range 8 {
		sqltest.PastPartition(b, pool, day+1, 0)
	}
	const batch = 100_000
	for first := 1; first <= n; first += batch {
		sqltest.Forge(b, pool, `INSERT INTO outcrier.event (xid, topic, type, payload, created_at)
			SELECT (3 + n / 20)::text::xid8,
				CASE WHEN n % 3333 = 7 THEN 'busy' WHEN n % 5 < 3 THEN 'user/' || n % 200000 ELSE 'user/' || n % 200000 || '/orders/' || n % 2000000 END,
				CASE WHEN n % 100000 = 1 THEN 'test.rare' WHEN n % 10000 = 2 THEN 'test.myriadth' WHEN n % 1000 = 3 THEN 'test.thousandth' ELSE 'user.changed' END,
				`+sqltest.Payload200+`, now() - interval '7 days' * (1 - n::float8 / $2)
			FROM generate_series($1::int, least($1 + $3 - 1, $2::int)) AS n`, first, n, batch)
	}
	sqltest.Exec(b, pool, `INSERT INTO outcrier.stream (run, stream, node, subject, client_address, topics, types, history, from_position, from_set, position, position_set, position_at, events, opened_at, closed_at, end_reason)
		SELECT 0, n, 'n', 's' || n % 5000, '127.0.0.1', ARRAY['user/' || n], '{}', 0, 'x', '(3,{},,,0)', 'x', seen,
			clock_timestamp(), 1, now() - interval '7 days', clock_timestamp(), 'left'
		FROM generate_series(1, 10000) AS n, CAST($1::text AS outcrier.position_set) AS seen`, fmt.Sprintf("(%d,{},,,0)", 3+n/20))
	sqltest.Exec(b, pool, `VACUUM ANALYZE outcrier.event`)
	sqltest.Exec(b, pool, `ANALYZE outcrier.stream`)
}
