package admin_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// What admins did is found by who did it, by a name in it and among the acts without a
// look at all that is on record, and is the same as without an index.
func TestAdmin_RequestsAreFoundByIndex(t *testing.T) {
	pool := outboxtest.New(t)
	a := admin.New(pool)
	sqltest.Exec(t, pool, `ALTER TABLE outcrier.admin_request SET (autovacuum_enabled = off, fillfactor = 20)`) // few rows, and yet many blocks
	sqltest.Exec(t, pool, `
INSERT INTO outcrier.admin_request (requested_at, node, subject, client_address, request, question, outcome)
SELECT now(), 'n', 'person ' || n % 100, '192.0.2.1', 'GET /admin/api/history/:id', jsonb_build_object('id', n::text), '{"status": 200}' FROM generate_series(1, 13000) AS n
UNION ALL SELECT now(), 'n', 'root/' || n, '192.0.2.1', 'POST /admin/api/history/:id/again', '{"id": "7", "none": null}', jsonb_build_object('status', 201, 'done', jsonb_build_object('event', n, 'topic', 'user/' || n)) FROM generate_series(1, 30) AS n
UNION ALL SELECT now(), 'n', 'person ' || n % 100, '192.0.2.1', 'GET /admin/api/history/:id', jsonb_build_object('id', n::text, 'odd', repeat('x', 9000)), NULL FROM generate_series(13001, 20000) AS n`)
	sqltest.Exec(t, pool, `VACUUM ANALYZE outcrier.admin_request`)
	plain := func(condition string) []int64 {
		return sqltest.Ask[int64](t, pool, `SELECT n FROM outcrier.admin_request WHERE `+condition+` ORDER BY n DESC LIMIT 100`)
	}
	const values = `EXISTS (SELECT FROM jsonb_each_text(question) AS v WHERE v.value = '%[1]s') OR EXISTS (SELECT FROM jsonb_each_text(outcome -> 'done') AS v WHERE v.value = '%[1]s')`
	for name, test := range map[string]struct {
		search admin.RequestSearch
		same   string
		most   int64
	}{
		"a subject":              {admin.RequestSearch{Subject: "root/7"}, `subject = 'root/7'`, 100},
		"nobody":                 {admin.RequestSearch{Subject: "root"}, `subject = 'root'`, 100},
		"a subject's beginning":  {admin.RequestSearch{Subject: "root/1*"}, `starts_with(subject, 'root/1')`, 200},
		"one with many requests": {admin.RequestSearch{Subject: "person 7"}, `subject = 'person 7'`, 1000},
		"about an id":            {admin.RequestSearch{About: "12999"}, fmt.Sprintf(values, "12999"), 100},
		"about what was done":    {admin.RequestSearch{About: "user/12"}, fmt.Sprintf(values, "user/12"), 100},
		"about a number":         {admin.RequestSearch{About: "12"}, fmt.Sprintf(values, "12"), 100},
		"about nothing":          {admin.RequestSearch{About: "user/x"}, fmt.Sprintf(values, "user/x"), 100},
		"acts":                   {admin.RequestSearch{Acts: true}, `request LIKE 'POST%'`, 200},
		"a subject's acts":       {admin.RequestSearch{Subject: "person 7", Acts: true}, `false`, 1000},
	} {
		var got []int64
		read := func() {
			got = nil
			list, err := a.Requests(t.Context(), test.search)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				got = append(got, r.ID)
			}
		}
		looked := sqltest.Blocks(t, pool, read)
		for range 5 { // the first ones of a connection read the catalogue of the database too
			looked = min(looked, sqltest.Blocks(t, pool, read))
		}
		t.Logf("%s: %d blocks", name, looked)
		if want := plain(test.same); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		if looked > test.most {
			t.Errorf("%s: %d blocks, want at most %d", name, looked, test.most)
		}
	}
}
