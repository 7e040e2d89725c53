// Package docs_test runs what the documents say.
package docs_test

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

var block = regexp.MustCompile("(?s)```sql\n(.*?)```")

// Each query of the guide runs, and finds something where something is amiss.
func TestOperating_QueriesRun(t *testing.T) {
	text, err := os.ReadFile("operating.md")
	if err != nil {
		t.Fatal(err)
	}
	address := outboxtest.URL(t)
	conn, writer := connect(t, address), connect(t, address)
	if err := (migrations.Migrations{URL: address}).Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, `SELECT outcrier.settle()`) // as a node does when it connects
	exec(t, conn, `ALTER TABLE outcrier.event ADD CONSTRAINT stuck CHECK (type <> 'stuck') NOT VALID`)
	exec(t, conn, `INSERT INTO outbox (topic, type, payload) VALUES ('user/42', 't', '{"submission": 7}')`)
	exec(t, conn, `INSERT INTO outcrier.event (topic, type, created_at) SELECT 'presence/a', 't', now() - n * interval '2 hours' FROM generate_series(300, 1, -1) AS n`)
	exec(t, conn, `INSERT INTO outbox (topic, type) VALUES ('user/42', 'next')`)
	exec(t, conn, `INSERT INTO outbox (topic, type, deliver_at) VALUES ('user/42', 'later', now() + interval '1 hour')`)
	exec(t, conn, `UPDATE outcrier.scheduled SET deliver_at = now()`)
	exec(t, conn, `SELECT outcrier.delete_expired('presence/**', '20 days')`)
	exec(t, conn, `SELECT outcrier.redact(1, '{}', 'a request')`)
	exec(t, conn, `INSERT INTO outcrier.publication (id, publisher, client_address) VALUES (1, 'shop', '192.0.2.9')`)
	exec(t, conn, `SELECT outcrier.heartbeat(1, 'a1', 1, '1.x', '0')`)
	exec(t, conn, `SELECT outcrier.record_streams(1, 'a1', now(), json_build_array(json_build_object(
		'stream', 1, 'subject', 'ann', 'client_address', '192.0.2.1', 'topics', array['**'], 'types', array[]::text[], 'history', (SELECT history FROM outcrier.history_id),
		'from_position', '', 'from_set', row('0', '{}', NULL, NULL, 0)::outcrier.position_set,
		'position', '', 'position_set', row('9999999', '{}', NULL, NULL, 999)::outcrier.position_set,
		'events', 1, 'opened_age', 10, 'position_age', 1)))`)
	stayOpen := func() {
		exec(t, writer, `BEGIN`)
		exec(t, writer, `INSERT INTO outbox (topic, type) VALUES ('user/42', 'late')`)
	}
	stayOpen()
	exec(t, conn, `INSERT INTO outcrier.scheduled (topic, type, payload, source, deliver_at) VALUES ('user/42', 'stuck', '{}', '/', now())`)
	exec(t, conn, `SELECT outcrier.deliver_scheduled()`)
	exec(t, conn, `SELECT pg_stat_force_next_flush()`)

	mayFindNothing := regexp.MustCompile(`pg_replication_slots|drop_partition|event_default`)
	changes := regexp.MustCompile(`add_partition|drop_partition|settle|setval|CALL`)
	blocks := block.FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 15 {
		t.Fatalf("only %d queries are found", len(blocks))
	}
	for _, found := range blocks {
		query := strings.TrimSpace(found[1])
		byHand := strings.Contains(query, "drop_partition") || strings.Contains(query, "add_partition")
		if byHand { // the guide has the transaction that is in the way ended before
			exec(t, writer, `ROLLBACK`)
		}
		rows, err := conn.Query(t.Context(), query, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Errorf("%s\n%v", query, err)
			continue
		}
		n := 0
		for rows.Next() {
			n++
		}
		rows.Close()
		if byHand {
			stayOpen()
		}
		if !changes.MatchString(query) { // so those on call may run it
			exec(t, conn, `SET ROLE outcrier_operator`)
			if _, err := conn.Exec(t.Context(), query, pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Errorf("as outcrier_operator: %s\n%v", query, err)
			}
			exec(t, conn, `RESET ROLE`)
		}
		if rows.Err() != nil {
			t.Errorf("%s\n%v", query, rows.Err())
		} else if n == 0 && strings.HasPrefix(query, "SELECT") && !mayFindNothing.MatchString(query) {
			t.Errorf("%s\nfinds nothing", query)
		}
	}
}

// Each place in the guide that another points to is there.
func TestOperating_LinksLead(t *testing.T) {
	text, err := os.ReadFile("operating.md")
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		name := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		anchors[strings.ReplaceAll(name, " ", "-")] = true
	}
	for _, link := range regexp.MustCompile(`\]\(([^)]*)\)`).FindAllStringSubmatch(string(text), -1) {
		file, anchor, _ := strings.Cut(link[1], "#")
		if file != "" {
			if _, err := os.Stat(file); err != nil {
				t.Error(err)
			}
		} else if !anchors[anchor] {
			t.Errorf("no heading is called #%s", anchor)
		}
	}
}

func connect(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
