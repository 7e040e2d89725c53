package replay_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
)

// BenchmarkReader_Replay is the replay after a long absence, of a million events of 200
// bytes in five days' partitions, compared with a COPY of the same rows.
func BenchmarkReader_Replay(b *testing.B) {
	const held, missed = 1_000_000, 100_000
	const page = 500 // as streams ask for
	url := outboxtest.URL(b)
	pool := outboxtest.Pool(b, url)
	hold(b, pool, held)
	reader := replay.Reader{Pool: pool}
	end := sqltest.Here(b, pool)
	earliest := sqltest.Earliest(b, reader)
	since := sqltest.Ask1[time.Time](b, pool, `SELECT created_at FROM outcrier.event WHERE id = $1`, held-missed+1)
	last, err := reader.Before(b.Context(), since, position.Position{})
	if err != nil {
		b.Fatal(err)
	}
	for _, reads := range []struct {
		name   string
		from   position.Position
		filter outbox.Filter
		rows   string
	}{
		{"all", last, sqltest.All("**"), fmt.Sprintf("id > %d", held-missed)},
		{"topic", earliest, sqltest.All("busy"), "topic = 'busy'"},
		{"pattern", last, sqltest.All("user/*"), fmt.Sprintf("id > %d AND topic ^@ 'user/'", held-missed)},
		{"rare_topic", earliest, sqltest.All("rare/1/a"), "topic = 'rare/1/a'"},
		{"rare_pattern", earliest, sqltest.All("rare/1/*"), "topic ^@ 'rare/1/'"},
		{"none", last, sqltest.All("nothing"), "topic = 'nothing'"},
	} {
		rows := sqltest.Ask1[int](b, pool, `SELECT count(*)::int FROM outcrier.event WHERE `+reads.rows)
		b.Run(reads.name+"/copy", func(b *testing.B) {
			conn := sqltest.Connection(b, url)
			for b.Loop() {
				_, err := conn.PgConn().CopyTo(b.Context(), io.Discard, `COPY (SELECT xid, id, topic, type, payload, source, headers, created_at
					FROM outcrier.event WHERE `+reads.rows+` ORDER BY id) TO STDOUT`)
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*rows)/b.Elapsed().Seconds(), "events/s")
		})
		b.Run(reads.name+"/replay", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if n := len(sqltest.Replay(b, reader, reads.from, end, reads.filter, page)); n != rows {
					b.Fatalf("%d events, want %d", n, rows)
				}
			}
			b.ReportMetric(float64(b.N*rows)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// pastDays makes the partitions of days.
func pastDays(b *testing.B, pool *pgxpool.Pool, days int) {
	b.Helper()
	for day := range days {
		sqltest.PastPartition(b, pool, day+1, 0)
	}
}

// hold fills five days with n events: a tenth on one busy topic, a few on rare
// ones, the rest on those of a thousand users; 2,500 in a transaction.
func hold(b *testing.B, pool *pgxpool.Pool, n int) {
	b.Helper()
	pastDays(b, pool, 5)
	// Their xids are some that were there before.
	sqltest.Forge(b, pool, `INSERT INTO outcrier.event (xid, topic, type, payload, created_at)
		SELECT (3 + (n - 1) / 2500)::text::xid8,
			CASE WHEN n % 100000 = 7 THEN 'rare/1/a' WHEN n % 10 = 3 THEN 'busy' ELSE 'user/' || n % 1000 END,
			'user.changed', `+sqltest.Payload200+`,
			date_trunc('day', now(), 'UTC') - interval '5 days' + n * (interval '5 days' / $1::int)
		FROM generate_series(1, $1::int) AS n`, n)
	sqltest.Exec(b, pool, `VACUUM ANALYZE outcrier.event`)
}
