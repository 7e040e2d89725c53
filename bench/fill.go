package main

import (
	"context"
	"fmt"
)

// fillBatch is how many events a transaction appends where their number does not
// matter.
const fillBatch = 20_000

// fillSQL appends the numbers from $3 to $4 by writer 0 on topic $2.
const fillSQL = `
INSERT INTO outbox (topic, type, payload)
SELECT $2::text, '` + eventType + `', ` + markSQL + ` FROM generate_series($3::bigint, $4::bigint) AS n`

// fill appends n events on a topic, whose numbers follow the number behind, a batch in each
// transaction.
func (b *bench) fill(ctx context.Context, topic string, behind int64, n, batch int) error {
	for done := 0; done < n; {
		batch = min(batch, n-done)
		first := behind + int64(done) + 1
		if _, err := b.target.admin.Exec(ctx, fillSQL, b.Payload, topic, first, first+int64(batch)-1); err != nil {
			return fmt.Errorf("append %d events: %w", batch, err)
		}
		done += batch
	}
	return nil
}
