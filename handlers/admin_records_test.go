package handlers_test

import (
	"encoding/json"
	"fmt"
	"testing"
)

// The records of erasures and revocations are read a page at a time, the newest first, and
// each is on one page.
func TestAdmin_PagesOfRecordsFollowEachOther(t *testing.T) {
	t.Parallel()
	n := administered(t, nil)
	const all = 201
	for name, record := range map[string]struct{ number, insert string }{
		"erasures":    {"erasure", `INSERT INTO outcrier.erasure (kind, event_id, events, reason) SELECT 'erase', n, 1, 'r' FROM generate_series(1, $1::int) AS n`},
		"revocations": {"id", `INSERT INTO outcrier.revoked (jti, reason) SELECT n::text, 'r' FROM generate_series(1, $1::int) AS n`},
	} {
		if page := answered[map[string]json.RawMessage](t, n, name); string(page[name]) != "[]" || string(page["more"]) != "false" {
			t.Errorf("of no %s it answers %s", name, page)
		}
		if _, err := n.pool.Exec(t.Context(), record.insert, all); err != nil {
			t.Fatal(err)
		}
		next, path := int64(all), name
		for _, want := range []struct {
			records int
			more    bool
		}{{100, true}, {100, true}, {1, false}} {
			page := answered[map[string]json.RawMessage](t, n, path)
			var list []map[string]any
			if err := json.Unmarshal(page[name], &list); err != nil {
				t.Fatal(err)
			}
			if len(list) != want.records || string(page["more"]) != fmt.Sprint(want.more) {
				t.Fatalf("%s has %d records, more %s, want %+v", path, len(list), page["more"], want)
			}
			for _, r := range list {
				if r[record.number] != float64(next) {
					t.Fatalf("%s has %v, want %d", path, r[record.number], next)
				}
				next--
			}
			path = fmt.Sprintf("%s?before=%d", name, next+1)
		}
		n.api(t, "GET", name+"?before=-1", "").wantProblem(t, 400, "before must be a whole number")
		n.api(t, "GET", name+"?after=1", "").wantProblem(t, 400, "unknown query parameter")
	}
}
