package audit_test

import (
	"slices"
	"testing"

	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// outcomesSQL lists the records of requests, in the order of their numbers.
const outcomesSQL = `SELECT concat_ws(' ', request, coalesce(outcome::text, 'perhaps')) FROM outcrier.admin_request ORDER BY n`

// An act is on record before it begins, as perhaps done until its outcome is on record.
func TestAudit_AnActIsOnRecordBeforeItsOutcome(t *testing.T) {
	pool := outboxtest.New(t)
	recorder := newAudit(t, pool, "n")
	act := func(name string) *audit.AdminRecord {
		t.Helper()
		record, err := recorder.AdminAct(t.Context(), audit.AdminRequest{Subject: "root", Request: name})
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

	first.Ended(audit.AdminOutcome{Status: 201, Done: map[string]any{"id": int64(1 << 60), "topic": "a\x00b"}})
	first.Ended(audit.AdminOutcome{Status: 500})
	late.Ended(audit.AdminOutcome{Status: 201})
	turn(t, recorder, 1)
	const done = `first {"done": {"id": 1152921504606846976, "topic": "a�b"}, "status": 201}`
	holds("with an outcome", done, "second perhaps", "late perhaps")
	if old := sqltest.Ask1[int](t, pool, `SELECT count(*) FROM outcrier.admin_request WHERE request = 'first' AND recorded_at < clock_timestamp() - interval '50 seconds'`); old != 0 {
		t.Error("a record that was completed is behind the cursor of an export")
	}
	second.Ended(audit.AdminOutcome{Why: "the client left before the answer"})
	turn(t, recorder, 1)
	holds("without an answer", done, `second {"why": "the client left before the answer"}`, "late perhaps")

	sqltest.Exec(t, pool, `ALTER FUNCTION outcrier.record_admin_requests RENAME TO gone`)
	if _, err := recorder.AdminAct(t.Context(), audit.AdminRequest{Request: "fourth"}); err == nil {
		t.Error("an act that can't be recorded may be done")
	}
}

// A read is on record once it has waited a second for its outcome, and repetitions
// within a minute once for each status: a refusal does not hide an answer.
func TestAudit_ReadsAreOnRecordWithTheirStatus(t *testing.T) {
	pool := outboxtest.New(t)
	recorder := newAudit(t, pool, "n")
	read := func(name string) *audit.AdminRecord {
		return recorder.AdminRequest(audit.AdminRequest{Subject: "root", Request: name, Repeats: true})
	}
	for _, status := range []int{503, 503, 200, 200, 503} {
		read("page").Ended(audit.AdminOutcome{Status: status})
	}
	long := read("long")
	turn(t, recorder, 1)
	want := []string{`page {"status": 503}`, `page {"status": 200}`, "long perhaps"}
	if got := sqltest.Ask[string](t, pool, outcomesSQL); !slices.Equal(got, want) {
		t.Errorf("there is %q, want %q", got, want)
	}
	long.Ended(audit.AdminOutcome{Status: 200})
	turn(t, recorder, 1)
	want[2] = `long {"status": 200}`
	if got := sqltest.Ask[string](t, pool, outcomesSQL); !slices.Equal(got, want) {
		t.Errorf("at its end there is %q, want %q", got, want)
	}
}
