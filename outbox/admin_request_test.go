package outbox_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// outcomesSQL lists the records of requests, in the order of their numbers.
const outcomesSQL = `SELECT concat_ws(' ', request, coalesce(outcome::text, 'perhaps')) FROM outcrier.admin_request ORDER BY n`

// An act is on record before it begins, as perhaps done until its outcome is on record.
func TestAudit_AnActIsOnRecordBeforeItsOutcome(t *testing.T) {
	pool := outboxtest.New(t)
	audit := newAudit(t, pool, "n")
	act := func(name string) *outbox.AdminRecord {
		t.Helper()
		record, err := audit.AdminAct(t.Context(), outbox.AdminRequest{Subject: "root", Request: name})
		if err != nil {
			t.Fatal(err)
		}
		return record
	}
	holds := func(when string, want ...string) {
		t.Helper()
		if got := sqltest.Ask[string](t, pool, outcomesSQL); !slices.Equal(got, want) {
			t.Errorf("%s there is %q, want %q", when, got, want)
		}
	}
	first, second, late := act("first"), act("second"), act("late")
	holds("before the acts", "first perhaps", "second perhaps", "late perhaps")
	sqltest.Exec(t, pool, `UPDATE outcrier.admin_request SET recorded_at = recorded_at - interval '1 minute' WHERE request = 'first'`)
	sqltest.Exec(t, pool, `UPDATE outcrier.admin_request SET recorded_at = recorded_at - interval '31 minutes' WHERE request = 'late'`)

	first.Ended(outbox.AdminOutcome{Status: 201, Done: map[string]any{"id": int64(1 << 60), "topic": "a\x00b"}})
	first.Ended(outbox.AdminOutcome{Status: 500})
	late.Ended(outbox.AdminOutcome{Status: 201})
	turn(t, audit, 1)
	const done = `first {"done": {"id": 1152921504606846976, "topic": "a�b"}, "status": 201}`
	holds("with an outcome", done, "second perhaps", "late perhaps")
	if old := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.admin_request WHERE request = 'first' AND recorded_at < clock_timestamp() - interval '50 seconds'`); old != 0 {
		t.Error("a record that was completed is behind the cursor of an export")
	}
	second.Ended(outbox.AdminOutcome{Why: "the client left before the answer"})
	turn(t, audit, 1)
	holds("without an answer", done, `second {"why": "the client left before the answer"}`, "late perhaps")

	sqltest.Exec(t, pool, `ALTER FUNCTION outcrier.record_admin_requests RENAME TO gone`)
	if _, err := audit.AdminAct(t.Context(), outbox.AdminRequest{Request: "fourth"}); err == nil {
		t.Error("an act that can't be recorded may be done")
	}
}

// A read is on record once it has waited a second for its outcome, and repetitions
// within a minute once for each status: a refusal does not hide an answer.
func TestAudit_ReadsAreOnRecordWithTheirStatus(t *testing.T) {
	pool := outboxtest.New(t)
	audit := newAudit(t, pool, "n")
	read := func(name string) *outbox.AdminRecord {
		return audit.AdminRequest(outbox.AdminRequest{Subject: "root", Request: name, Repeats: true})
	}
	for _, status := range []int{503, 503, 200, 200, 503} {
		read("page").Ended(outbox.AdminOutcome{Status: status})
	}
	long := read("long")
	turn(t, audit, 1)
	want := []string{`page {"status": 503}`, `page {"status": 200}`, "long perhaps"}
	if got := sqltest.Ask[string](t, pool, outcomesSQL); !slices.Equal(got, want) {
		t.Errorf("there is %q, want %q", got, want)
	}
	long.Ended(outbox.AdminOutcome{Status: 200})
	turn(t, audit, 1)
	want[2] = `long {"status": 200}`
	if got := sqltest.Ask[string](t, pool, outcomesSQL); !slices.Equal(got, want) {
		t.Errorf("at its end there is %q, want %q", got, want)
	}
}

// What admins did is found by who did it, by what it was about and among the acts without a
// look at all that is on record, and is the same as without an index.
func TestAdmin_RequestsAreFoundByIndex(t *testing.T) {
	pool := outboxtest.New(t)
	admin := outbox.NewAdmin(pool)
	exec(t, pool, `ALTER TABLE outcrier.admin_request SET (autovacuum_enabled = off)`)
	exec(t, pool, `
INSERT INTO outcrier.admin_request (requested_at, node, subject, client_address, request, question, outcome)
SELECT now(), 'n', 'person ' || n % 100, '192.0.2.1', 'GET /admin/api/history/:id', jsonb_build_object('id', n::text), '{"status": 200}' FROM generate_series(1, 40000) AS n
UNION ALL SELECT now(), 'n', 'root/' || n, '192.0.2.1', 'POST /admin/api/history/:id/again', '{"id": "7", "none": null}', jsonb_build_object('status', 201, 'done', jsonb_build_object('event', n, 'topic', 'user/' || n)) FROM generate_series(1, 30) AS n
UNION ALL SELECT now(), 'n', 'person ' || n % 100, '192.0.2.1', 'GET /admin/api/history/:id', jsonb_build_object('id', n::text, 'odd', repeat('x', 9000)), NULL FROM generate_series(40001, 60000) AS n`)
	exec(t, pool, `VACUUM ANALYZE outcrier.admin_request`)
	plain := func(condition string) []int64 {
		return ask[int64](t, pool, `SELECT n FROM outcrier.admin_request WHERE `+condition+` ORDER BY n DESC LIMIT 100`)
	}
	const values = `EXISTS (SELECT FROM jsonb_each_text(question) AS v WHERE v.value = '%[1]s') OR EXISTS (SELECT FROM jsonb_each_text(outcome -> 'done') AS v WHERE v.value = '%[1]s')`
	for name, test := range map[string]struct {
		search outbox.RequestSearch
		same   string
		most   int64
	}{
		"a subject":              {outbox.RequestSearch{Subject: "root/7"}, `subject = 'root/7'`, 100},
		"nobody":                 {outbox.RequestSearch{Subject: "root"}, `subject = 'root'`, 100},
		"a subject's beginning":  {outbox.RequestSearch{Subject: "root/1*"}, `starts_with(subject, 'root/1')`, 200},
		"one with many requests": {outbox.RequestSearch{Subject: "person 7"}, `subject = 'person 7'`, 1000},
		"about an id":            {outbox.RequestSearch{About: "39999"}, fmt.Sprintf(values, "39999"), 100},
		"about what was done":    {outbox.RequestSearch{About: "user/12"}, fmt.Sprintf(values, "user/12"), 100},
		"about a number":         {outbox.RequestSearch{About: "12"}, fmt.Sprintf(values, "12"), 100},
		"about nothing":          {outbox.RequestSearch{About: "user/x"}, fmt.Sprintf(values, "user/x"), 100},
		"acts":                   {outbox.RequestSearch{Acts: true}, `request LIKE 'POST%'`, 200},
		"a subject's acts":       {outbox.RequestSearch{Subject: "person 7", Acts: true}, `false`, 1000},
	} {
		var got []int64
		read := func() {
			got = nil
			list, err := admin.Requests(t.Context(), test.search)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				got = append(got, r.ID)
			}
		}
		looked := blocks(t, pool, read)
		for range 5 { // the first ones of a connection read the catalogue of the database too
			looked = min(looked, blocks(t, pool, read))
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
