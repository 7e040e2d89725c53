package audit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// BenchmarkAudit_Storm is 10,000 streams that end and are opened again, all at one
// position, with a million streams on record.
func BenchmarkAudit_Storm(b *testing.B) {
	const storm = 10_000
	for _, held := range []int{0, 1_000_000} {
		b.Run(fmt.Sprint(held), func(b *testing.B) {
			pool := outboxtest.New(b)
			sqltest.Exec(b, pool, `INSERT INTO outbox (topic, type) SELECT 'a', 't' FROM generate_series(1, 100)`)
			at := sqltest.Here(b, pool)
			sqltest.Exec(b, pool, `
				INSERT INTO outcrier.stream (run, stream, node, subject, client_address, topics, types, history, from_position, from_set, position, position_set, position_at, events, opened_at, closed_at, end_reason)
				SELECT 0, n, 'n', 's' || n % 5000, '127.0.0.1', '{a}', '{}', 0, 'x', seen, 'x', seen,
					clock_timestamp(), 1, clock_timestamp(), clock_timestamp(), 'left'
				FROM generate_series(1, $1::int) AS n, CAST($2::text AS outcrier.position_set) AS seen`, held, fmt.Sprintf("(%d,{},,,0)", at.Given.Max))
			recorder := newAudit(b, pool, "n")
			filter := sqltest.All("a")
			open := func() (records []*audit.StreamRecord) {
				for i := range storm {
					records = append(records, recorder.Opened(audit.Stream{Subject: fmt.Sprint("s", i), ClientAddress: "127.0.0.1", Filter: filter, From: at}))
				}
				return records
			}
			records := open()
			turn(b, recorder, 1)
			for b.Loop() {
				for _, record := range records {
					record.Progress(at, 1, 1)
					record.Closed("left")
				}
				records = open()
				began := time.Now()
				turn(b, recorder, 1)
				b.ReportMetric(time.Since(began).Seconds(), "s/turn")
			}
		})
	}
}
