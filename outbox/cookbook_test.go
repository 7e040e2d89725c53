package outbox_test

import (
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// recipe is a question of docs/sql.md: its query, who runs it, and what it gives,
// if the document shows that.
type recipe struct {
	question, query, role string
	shown                 bool
	rows                  []string
}

var (
	heading = regexp.MustCompile(`(?m)^### (.+)\n`)
	fenced  = regexp.MustCompile("(?ms)^```(sql|sql owner|text)\n(.*?)^```$")
)

func recipes(t *testing.T) (list []recipe) {
	t.Helper()
	document, err := os.ReadFile("../docs/sql.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := heading.Split(string(document), -1)[1:]
	for i, match := range heading.FindAllStringSubmatch(string(document), -1) {
		r := recipe{question: match[1]}
		for _, block := range fenced.FindAllStringSubmatch(parts[i], -1) {
			switch block[1] {
			case "sql":
				r.query, r.role = block[2], "outbox_reader"
			case "sql owner":
				r.query = block[2]
			case "text":
				r.shown, r.rows = true, strings.Split(strings.TrimSpace(block[2]), "\n")
			}
		}
		if r.query != "" {
			list = append(list, r)
		}
	}
	return list
}

// cookbookSQL is what has happened in the cookbook's database.
const cookbookSQL = `
INSERT INTO outbox (id, topic, type, payload, headers, created_at) VALUES
	(1, 'user/42', 'audit.submitted', '{"submission": 7, "amount": 120}', NULL, now() - interval '180 min');
INSERT INTO outbox (id, topic, type, payload, headers, created_at) VALUES
	(2, 'user/42', 'audit.approved', '{"submission": 7}', '{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}', now() - interval '120 min');
INSERT INTO outbox (id, topic, type, payload, headers, created_at) VALUES
	(3, 'user/7', 'audit.submitted', '{"submission": 8, "amount": 900}', NULL, now() - interval '110 min');
INSERT INTO outbox (id, topic, type, payload, headers, created_at) VALUES
	(4, 'user/7', 'audit.rejected', '{"submission": 8, "reason": "over the limit"}', NULL, now() - interval '100 min');
INSERT INTO outbox (id, topic, type, payload, headers, created_at) VALUES
	(5, 'trade/EURUSD', 'trade.executed', '{"order": 31, "quantity": 100, "price": 1.08}', NULL, now() - interval '50 min'),
	(6, 'trade/EURUSD', 'trade.executed', '{"order": 31, "quantity": 50, "price": 1.09}', NULL, now() - interval '49 min'),
	(7, 'user/42/orders', 'order.filled', '{"order": 31}', NULL, now() - interval '48 min');
INSERT INTO outbox (id, topic, type, payload, headers, created_at) VALUES
	(8, 'user/7', 'account.locked', '{"attempts": 5}', NULL, now() - interval '30 min');
INSERT INTO outbox (id, topic, type, payload, headers, created_at) VALUES
	(9, 'public/news', 'info.updated', '{}', NULL, now() - interval '20 min'),
	(10, 'public/news', 'info.updated', '{}', NULL, now() - interval '10 min');
SELECT outbox_append('public/news', 'system.maintenance', '{"minutes": 30}', dedup_key => 'maintenance-3', deliver_at => now() + interval '1 day');
INSERT INTO outbox_stream (run, stream, node, subject, remote, topics, types, history, from_position, from_seen, position, seen, stood_at, events, last_event, opened_at)
SELECT 1, 1, 'a1', 'ann', '192.0.2.7', '{user/42/**}', '{}', history, '0.x', ROW('0'::xid8, '{}'::xid8[], NULL::xid8, NULL::xid8[], NULL::bigint)::outbox_seen, '10.x',
	ROW((SELECT xid FROM outbox ORDER BY xid DESC LIMIT 1), '{}'::xid8[], NULL::xid8, NULL::xid8[], NULL::bigint)::outbox_seen, now(), 3, 7, now() - interval '4 hours'
FROM outbox_histories;
INSERT INTO outbox_node (run, node, streams, lag) VALUES (1, 'a1', 1, '0');
`

func TestCookbook_AnswersItsQuestions(t *testing.T) {
	url := outboxtest.URL(t)
	if err := (migrations.Migrations{URL: url}).Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	pool := outboxtest.Pool(t, url)
	for statement := range strings.SplitSeq(cookbookSQL, ";\n") {
		exec(t, pool, statement) // each in a transaction of its own
	}
	if err := (outbox.Stats{Pool: pool, Log: slog.New(slog.DiscardHandler)}).Turn(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := recipes(t)
	if len(list) < 20 {
		t.Fatalf("%d questions", len(list))
	}
	for _, r := range list {
		t.Run(r.question, func(t *testing.T) {
			tx := begin(t, pool)
			if r.role != "" {
				exec(t, tx, `SET LOCAL ROLE `+r.role)
			}
			rows, err := tx.Query(t.Context(), r.query, pgx.QueryExecModeSimpleProtocol)
			if err != nil {
				t.Fatal(err)
			}
			got, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
				var fields []string
				for _, raw := range row.RawValues() {
					fields = append(fields, string(raw))
				}
				return strings.TrimRight(strings.Join(fields, " | "), " "), nil
			})
			switch {
			case err != nil:
				t.Fatal(err)
			case len(got) == 0 && !strings.HasPrefix(r.query, "DELETE"):
				t.Error("it gives nothing")
			case r.shown && !slices.Equal(got, r.rows):
				t.Errorf("it gives\n%s\nand the document shows\n%s", strings.Join(got, "\n"), strings.Join(r.rows, "\n"))
			}
		})
	}
}
