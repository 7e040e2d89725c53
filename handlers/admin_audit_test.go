package handlers_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Requests of admins are on record: the admin, the request and its parameters, and no
// body. Refused requests, and the overview that a page asks for by itself, are not.
func TestAdmin_RequestsAreOnRecord(t *testing.T) {
	n := administered(t, nil)
	id := n.add(t, "user/42")
	for range 3 { // once in a minute
		answered[json.RawMessage](t, n, "history?topic=user/42&text=sick")
	}
	answered[json.RawMessage](t, n, "history/"+id)
	answered[json.RawMessage](t, n, "history/"+id+"/receipts")
	answered[json.RawMessage](t, n, "overview")
	for range 2 { // an act, each time
		n.api(t, "DELETE", "scheduled/77", "")
	}
	n.api(t, "POST", "catalogue", `{"type": "secret.type", "title": "secret"}`)
	do(t, "GET", n.url+"/admin/api/history", "", bearer(ann)...).wantProblem(t, 403, "")
	want := []string{
		`root GET /admin/api/history/:id {"id": "` + id + `"}`,
		`root GET /admin/api/history/:id/receipts {"id": "` + id + `"}`,
		`root GET /admin/api/history {"text": "sick", "topic": "user/42"}`,
		`root DELETE /admin/api/scheduled/:id {"id": "77"}`,
		`root DELETE /admin/api/scheduled/:id {"id": "77"}`,
		`root POST /admin/api/catalogue {}`,
	}
	slices.Sort(want)
	var got []string
	eventually(t, func() bool {
		rows, err := n.pool.Query(t.Context(), `SELECT concat_ws(' ', subject, request, question) FROM outcrier.admin_request WHERE client_address = '127.0.0.1' AND node = 'n1'`)
		if err != nil {
			t.Fatal(err)
		}
		if got, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			t.Fatal(err)
		}
		return len(got) >= len(want)
	})
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("on record are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Each route of the API, those to come too, is on record.
func TestAdmin_EveryRouteIsOnRecord(t *testing.T) {
	n := administered(t, nil)
	want := 0
	for _, path := range adminPaths(t, n) {
		switch path {
		case "/admin/api/identity", "/admin/api/overview", "/admin/api/trend": // show no event
			continue
		}
		if a := do(t, http.MethodDelete, n.url+path, "", bearer(root)...); a.status != http.StatusForbidden {
			want++
		}
	}
	if want < 12 {
		t.Fatalf("root may use %d routes", want)
	}
	eventually(t, func() bool {
		return n.tell(t, `SELECT count(DISTINCT request) FROM outcrier.admin_request WHERE starts_with(request, 'DELETE ')`) == want
	})
}
