package docs_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// recipe is a question of sql.md: its query, the role that asks it, and the answer, if
// the document shows one.
type recipe struct {
	question, query, role string
	shown                 bool
	rows                  []string
}

func recipes(t *testing.T) (list []recipe) {
	t.Helper()
	heading, fenced := regexp.MustCompile(`(?m)^### (.+)\n`), regexp.MustCompile("(?ms)^```(sql|sql operator|sql owner|text)\n(.*?)^```$")
	document := text(t, "sql.md")
	parts := heading.Split(document, -1)[1:]
	for i, match := range heading.FindAllStringSubmatch(document, -1) {
		r := recipe{question: match[1]}
		for _, block := range fenced.FindAllStringSubmatch(parts[i], -1) {
			switch block[1] {
			case "sql":
				r.query, r.role = block[2], "outcrier_reader"
			case "sql operator":
				r.query, r.role = block[2], "outcrier_operator"
			case "sql owner":
				r.query = block[2]
			case "text":
				r.shown = true
				for line := range strings.Lines(strings.TrimSpace(block[2])) {
					r.rows = append(r.rows, strings.TrimRight(line, "\n"))
				}
			}
		}
		if r.query != "" {
			list = append(list, r)
		}
	}
	return list
}

// cookbookSQL is the history that sql.md asks. The rows are the owner's own inserts, not
// the view's, because they are hours old.
var cookbookSQL = []string{
	`INSERT INTO outcrier.event (id, topic, type, payload, created_at) VALUES
		(1, 'user/42', 'audit.submitted', '{"submission": 7, "amount": 120}', now() - interval '180 min')`,
	`INSERT INTO outcrier.event (id, topic, type, payload, headers, created_at) VALUES
		(2, 'user/42', 'audit.approved', '{"submission": 7}', '{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}', now() - interval '120 min')`,
	`INSERT INTO outcrier.event (id, topic, type, payload, created_at) VALUES
		(3, 'user/7', 'audit.submitted', '{"submission": 8, "amount": 900}', now() - interval '110 min')`,
	`INSERT INTO outcrier.event (id, topic, type, payload, created_at) VALUES
		(4, 'user/7', 'audit.rejected', '{"submission": 8, "reason": "over the limit"}', now() - interval '100 min')`,
	`INSERT INTO outcrier.event (id, topic, type, payload, created_at) VALUES
		(5, 'trade/EURUSD', 'trade.executed', '{"order": 31, "quantity": 100, "price": 1.08}', now() - interval '50 min'),
		(6, 'trade/EURUSD', 'trade.executed', '{"order": 31, "quantity": 50, "price": 1.09}', now() - interval '49 min'),
		(7, 'user/42/orders', 'order.filled', '{"order": 31}', now() - interval '48 min')`,
	`INSERT INTO outcrier.event (id, topic, type, payload, created_at) VALUES
		(8, 'user/7', 'account.locked', '{"attempts": 5}', now() - interval '30 min')`,
	`INSERT INTO outcrier.event (id, topic, type, payload, created_at) VALUES
		(9, 'public/news', 'info.updated', '{}', now() - interval '20 min'), (10, 'public/news', 'info.updated', '{}', now() - interval '10 min')`,
	`SELECT setval('outcrier.event_id', 10)`,
	`INSERT INTO outbox (topic, type, payload, dedup_key, deliver_at)
		VALUES ('public/news', 'system.maintenance', '{"minutes": 30}', 'maintenance-3', now() + interval '1 day')`,
	`INSERT INTO outcrier.stream (run, stream, node, subject, client_address, topics, types, history, from_position, from_set, position, position_set, position_at, events, last_event, opened_at)
		SELECT 1, 1, 'a1', 'ann', '192.0.2.7', '{user/42/**}', '{}', history, '0.x', ROW('0', '{}', NULL, NULL, NULL)::outcrier.position_set, '10.x',
			ROW((SELECT max(xid) FROM outcrier.event), '{}', NULL, NULL, NULL)::outcrier.position_set, now(), 3, 7, now() - interval '4 hours'
		FROM outcrier.history_id`,
	`INSERT INTO outcrier.node (run, node, streams, lag, about) VALUES (1, 'a1', 1, '0', '{"version": "v0.1.0", "settings": {"retention": "7d"}, "slow": [{"stream": 1, "for_s": 12.5}]}')`,
	`INSERT INTO outcrier.admin_request (requested_at, node, subject, client_address, request, question, outcome) VALUES
		(now(), 'a1', 'rita', '192.0.2.9', 'GET /admin/api/people/sent', '{"subject": "ann"}', '{"status": 200}'),
		(now(), 'a1', 'root', '192.0.2.9', 'POST /admin/api/revocations', '{}', '{"status": 201, "done": {"what": "revoke tokens", "sub": "ann"}}')`,
	`INSERT INTO outcrier.erasure (kind, event_id, events, reason) VALUES ('erase', 99, 1, 'a mistake')`,
}

func TestSQL_AnswersItsQuestions(t *testing.T) {
	address := outboxtest.URL(t)
	if err := (migrations.Migrations{URL: address}).Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, address)
	exec(t, conn, `SELECT outcrier.settle()`) // as a node does when it connects
	for _, statement := range cookbookSQL {
		exec(t, conn, statement)
	}
	list := recipes(t)
	if len(list) < 28 {
		t.Fatalf("%d questions", len(list))
	}
	for _, r := range list {
		t.Run(r.question, func(t *testing.T) {
			exec(t, conn, `BEGIN`)
			defer exec(t, conn, `ROLLBACK`)
			if r.role != "" {
				exec(t, conn, `SET LOCAL ROLE `+r.role)
			}
			rows, err := conn.Query(t.Context(), r.query, pgx.QueryExecModeSimpleProtocol)
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
				t.Error(err)
			case len(got) == 0:
				t.Error("it gives nothing")
			case r.shown && !slices.Equal(got, r.rows):
				t.Errorf("it gives\n%s\nand the document shows\n%s", strings.Join(got, "\n"), strings.Join(r.rows, "\n"))
			}
		})
	}
}
