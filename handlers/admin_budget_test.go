package handlers_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/internal/badnet"
)

// export is what the admin's API exports as JSON.
func (n *node) export(t *testing.T) (ids []int64) {
	t.Helper()
	var file struct {
		Events   []struct{ ID int64 }
		Complete bool
	}
	a := n.api(t, "GET", "export?format=json", "")
	if a.status != 200 || json.Unmarshal([]byte(a.body), &file) != nil || !file.Complete {
		t.Fatalf("%d %.300s", a.status, a.body)
	}
	for _, e := range file.Events {
		ids = append(ids, e.ID)
	}
	return ids
}

// What an admin's answers hold in memory is bounded like everybody else's: one that is too large
// is not given, and an export is read in pages that fit.
func TestBuffered_AnswersToAdmins(t *testing.T) {
	t.Parallel()
	n := administered(t, func(n *node) { n.access.Limits.BufferedPerPrincipal = 1 }) // room for one body: 256 KiB
	const events = 20
	if _, err := n.pool.Exec(t.Context(), `INSERT INTO outbox (topic, type, payload) SELECT 'a', 't', to_json(repeat('x', 50000)) FROM generate_series(1, $1::int)`, events); err != nil {
		t.Fatal(err)
	}
	var want []int64
	for id := range int64(events) {
		want = slices.Insert(want, 0, id+1)
	}
	if ids := n.export(t); !slices.Equal(ids, want) {
		t.Errorf("exported are %v", ids)
	}
	var id int64
	if err := n.pool.QueryRow(t.Context(), `INSERT INTO outbox (topic, type, payload) SELECT 'b', 't', to_json(repeat('x', 900000)) RETURNING id`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	n.api(t, "GET", fmt.Sprintf("history/%d", id), "").wantProblem(t, 429, "--max-buffered-per-principal")
	n.api(t, "POST", fmt.Sprintf("history/%d/again", id), `{}`).wantProblem(t, 429, "--max-buffered-per-principal")
	for _, path := range []string{"history/1", "history?limit=200"} {
		if a := n.api(t, "GET", path, ""); a.status != 200 {
			t.Errorf("%s: %d %.300s", path, a.status, a.body)
		}
	}
}

// An export whose client does not read holds its share until it ends, and another of
// the same principal is told to come again meanwhile.
func TestBuffered_AnExportThatNobodyReadsHoldsItsShare(t *testing.T) {
	t.Parallel()
	n := administered(t, forUnread)
	if _, err := n.pool.Exec(t.Context(), `INSERT INTO outbox (topic, type, payload) SELECT 'a', 't', to_json(repeat('x', 50000)) FROM generate_series(1, 20)`); err != nil {
		t.Fatal(err)
	}
	d, err := badnet.DialDeaf(t.Context(), strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close() //nolint:errcheck // it is closed twice
	if err := d.Get("/admin/api/export?format=json", "authorization", "Bearer "+root); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return d.Answered() == 1 })
	n.api(t, "GET", "export?format=csv", "").wantProblem(t, 429, "--max-buffered-per-principal")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return n.api(t, "GET", "export?format=csv", "").status == 200 })
}
