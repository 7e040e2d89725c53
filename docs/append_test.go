package docs_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// The statements of append.md run in their order, and its trigger appends an event for
// each row of a statement.
func TestAppend_StatementsRun(t *testing.T) {
	conn := connect(t, outboxtest.URL(t))
	exec(t, conn, `CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint NOT NULL, state text NOT NULL);
		INSERT INTO orders VALUES (1, 42, 'placed'), (2, 42, 'placed');
		CREATE TABLE account (id bigint PRIMARY KEY, balance numeric NOT NULL);
		INSERT INTO account SELECT n, 0 FROM generate_series(1, 100) AS n`)
	blocks := regexp.MustCompile("(?ms)^ *```sql\n(.*?)^ *```$").FindAllStringSubmatch(text(t, "append.md"), -1)
	if len(blocks) < 10 {
		t.Fatalf("%d statements", len(blocks))
	}
	for _, block := range blocks {
		if strings.Contains(block[1], "outcrier.cancel") { // of an event that is scheduled
			exec(t, conn, `ALTER SEQUENCE outcrier.event_id RESTART WITH 12`)
			exec(t, conn, `INSERT INTO outbox (topic, type, deliver_at) VALUES ('a', 't', now() + interval '1 hour')`)
		}
		if _, err := conn.Exec(t.Context(), block[1], pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Errorf("%s\n%v", block[1], err)
		}
		if strings.Contains(block[1], "outcrier.cancel") {
			exec(t, conn, `SELECT setval('outcrier.event_id', 1000)`)
		}
	}
	exec(t, conn, `UPDATE account SET balance = balance + id WHERE id > 50`)
	for query, want := range map[string]string{
		`SELECT count(*) || ' ' || min(topic) || ' ' || bool_and(payload ->> 'from' = '0') FROM outcrier.history WHERE type = 'account.changed'`:                   "50 account/100 true",
		`SELECT string_agg(topic, ' ' ORDER BY id) = string_agg(topic, ' ' ORDER BY (payload ->> 'to')::int) FROM outcrier.history WHERE type = 'account.changed'`: "true",
		`SELECT count(*)::text FROM outcrier.history WHERE dedup_key = 'payment-1'`:                                                                                "1",
		`SELECT count(*)::text FROM outcrier.history WHERE type = 'order.paid' AND dedup_key IS NULL`:                                                              "3",
		`SELECT string_agg(topic, ' ' ORDER BY id) FROM outcrier.history WHERE type = 'invoice.sent'`:                                                              "user/1 user/2",
		`SELECT count(*)::text FROM outcrier.scheduled`:                                                                                                            "2",
	} {
		var got string
		if err := conn.QueryRow(t.Context(), `SELECT (`+query+`)::text`).Scan(&got); err != nil || got != want {
			t.Errorf("%s gives %q, %v, want %q", query, got, err, want)
		}
	}
}
