package docs_test

import (
	"context"
	"errors"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// The DBA's page is followed from its first statement to its last: the logins have the
// rights that it promises, and no others.
func TestDBA_StepsGiveTheRightsThatThePagePromises(t *testing.T) {
	address := outboxtest.URL(t)
	admin := connect(t, address)
	exec(t, admin, `DROP VIEW public.outbox; DROP SCHEMA outcrier CASCADE`)
	database := admin.Config().Database
	logins := []string{"outbox_owner", "node", "shop", "auditor", "oncall"}
	t.Cleanup(func() {
		for _, login := range logins {
			if _, err := admin.Exec(context.Background(), `DROP OWNED BY `+login+` CASCADE; DROP ROLE `+login); err != nil {
				t.Error(err)
			}
		}
	})
	as := func(login string) string {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(login, "secret")
		return u.String()
	}

	blocks := regexp.MustCompile("(?ms)^```(sql|sql owner)\n(.*?)^```$").FindAllStringSubmatch(text(t, "dba.md"), -1)
	if len(blocks) < 15 {
		t.Fatalf("%d statements", len(blocks))
	}
	var owner *pgx.Conn
	for n, block := range blocks {
		statements := regexp.MustCompile(`(DATABASE) app\b`).ReplaceAllString(block[2], "$1 "+database)
		conn := admin
		if block[1] == "sql owner" {
			conn = owner
		}
		for _, statement := range regexp.MustCompile(`; *(?:--.*)?\n`).Split(statements, -1) {
			_, err := conn.Exec(t.Context(), statement, pgx.QueryExecModeSimpleProtocol)
			var refused *pgconn.PgError
			if strings.Contains(statement, "CREATE ROLE outcrier_") && errors.As(err, &refused) && (refused.Code == "42710" || refused.Code == "23505") {
				continue // other tests' databases have the same roles
			}
			if err != nil {
				t.Errorf("%s\n%v", statement, err)
			}
		}
		if n > 0 {
			continue
		}
		// Between the first and the second block the owner migrates.
		for _, login := range logins {
			exec(t, admin, `ALTER ROLE `+login+` PASSWORD 'secret'`)
		}
		m := migrations.Migrations{URL: as("outbox_owner")}
		if err := m.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := m.Roles(t.Context()); err != nil {
			t.Errorf("without CREATEROLE: %v", err)
		}
		owner = connect(t, as("outbox_owner"))
		exec(t, owner, `INSERT INTO outcrier.event (id, topic, type) VALUES (1042, 'user/7', 't'), (1043, 'user/7', 't'), (1044, 'user/42/orders', 't')`)
	}

	for login, may := range map[string][]string{
		"shop":    {`INSERT INTO outbox (topic, type) VALUES ('a', 't') RETURNING id`, `SELECT id FROM outbox`, `SELECT outcrier.append('a', 't'), outcrier.position()`},
		"auditor": {`SELECT id FROM outcrier.history`, `SELECT id FROM outcrier.people WHERE subject = 'x'`, `SELECT title FROM outcrier.event_type`},
		"oncall":  {`SELECT open_for FROM outcrier.lag`, `SELECT pid FROM outcrier.in_flight()`, `SELECT problem FROM outcrier.scheduled`, `SELECT reason FROM outcrier.erasure`},
		"node":    {`SELECT payload FROM outcrier.event`, `SELECT outcrier.add_partition('7 days'), outcrier.deliver_scheduled(), outcrier.settle()`},
	} {
		conn := connect(t, as(login))
		for _, statement := range may {
			if _, err := conn.Exec(t.Context(), statement); err != nil {
				t.Errorf("%s may not: %s\n%v", login, statement, err)
			}
		}
	}
	for login, mayNot := range map[string][]string{
		"shop":    {`SELECT id FROM outcrier.history`, `INSERT INTO outcrier.event (topic, type) VALUES ('a', 't')`, `SELECT outcrier.cancel(1)`, `SELECT outcrier.erase(1, 'r')`},
		"auditor": {`INSERT INTO outbox (topic, type) VALUES ('a', 't')`, `SELECT id FROM outcrier.scheduled`, `SELECT run FROM outcrier.stream`},
		"oncall":  {`DELETE FROM outcrier.scheduled`, `SELECT outcrier.cancel(1)`, `SELECT outcrier.end_stream(1, 1, 'x')`, `INSERT INTO outbox (topic, type) VALUES ('a', 't')`},
		"node":    {`DELETE FROM outcrier.event`, `SELECT outcrier.erase(1, 'r')`, `SELECT outcrier.reset()`, `SELECT outcrier.drop_partition('30 minutes')`},
	} {
		conn := connect(t, as(login))
		for _, statement := range mayNot {
			_, err := conn.Exec(t.Context(), statement)
			if refused := (*pgconn.PgError)(nil); !errors.As(err, &refused) || refused.Code != "42501" && refused.Code != "22023" {
				t.Errorf("%s may: %s (%v)", login, statement, err)
			}
		}
	}
	for what, query := range map[string]string{
		"an erasure":  `SELECT count(*) > 2 FROM outcrier.erasure`,
		"a tombstone": `SELECT count(*) >= 2 FROM outcrier.event WHERE type = 'outcrier.erased' AND id IN (1042, 1044)`,
	} {
		var found bool
		if err := admin.QueryRow(t.Context(), query).Scan(&found); err != nil || !found {
			t.Errorf("%s is missing: %v", what, err)
		}
	}
}
