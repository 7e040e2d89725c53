package handlers_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/outbox/admin"
)

// scraped stands in for the metrics.
var scraped = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	_, _ = w.Write([]byte("outcrier_up 1\n"))
})

// granting is a token with some grants of admins and nothing else.
func granting(grants ...auth.Grant) []string {
	return bearer(must(auth.Mint(tokenKey, auth.Claims{Subject: "oncall", Grants: grants}, time.Hour)))
}

// Each operation of the admin API is had with one of the grants that openapi.yaml names
// for it, and with no other.
func TestGrants_EachOperationNeedsItsOwn(t *testing.T) {
	t.Parallel()
	n := administered(t, func(n *node) { n.metrics = http.NotFoundHandler() })
	doc, err := described()
	if err != nil {
		t.Fatal(err)
	}
	example := strings.NewReplacer("{id}", "1", "{run}", "1", "{stream}", "1", "{type}", "user.logged_in")
	operations := 0
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			named, is := operation.Extensions["x-grants"].([]any)
			if strings.HasPrefix(path, "/admin/api/") != is {
				t.Errorf("%s %s names grants: %v", method, path, is)
			}
			if !is {
				continue
			}
			operations++
			for _, grant := range auth.Grants() {
				a := do(t, method, n.url+example.Replace(path), `{}`, append(granting(grant), "Content-Type", "application/json")...)
				if slices.Contains(named, any(string(grant))) {
					if a.status == http.StatusForbidden || a.status == http.StatusUnauthorized {
						t.Errorf("%s %s with %s: %d %s", method, path, grant, a.status, a.body)
					}
					continue
				}
				a.wantProblem(t, http.StatusForbidden, fmt.Sprint(named[0]))
				var problem handlers.Problem
				if err := json.Unmarshal([]byte(a.body), &problem); err != nil || len(problem.Grants) != len(named) || string(problem.Grants[0]) != named[0] {
					t.Errorf("%s %s with %s names %v, want %v", method, path, grant, problem.Grants, named)
				}
			}
		}
	}
	if operations < 13 {
		t.Errorf("only %d operations name grants", operations)
	}
	// Any other path of the API would be one that the file does not name.
	for _, path := range adminPaths(t, n) {
		if a := do(t, "PATCH", n.url+path, "", granting(auth.Grants()...)...); a.status != http.StatusMethodNotAllowed {
			t.Errorf("PATCH %s: %d", path, a.status)
		}
	}
}

// What scrapes metrics reads no payload: the one grant is not the other.
func TestGrants_MetricsNeedTheirsAlone(t *testing.T) {
	t.Parallel()
	n := administered(t, func(n *node) {
		n.metrics = scraped
	})
	n.add(t, "secret")
	if a := do(t, "GET", n.url+"/metrics", "", granting(auth.GrantMetrics)...); a.status != 200 || a.body != "outcrier_up 1\n" {
		t.Errorf("%d %s", a.status, a.body)
	}
	do(t, "GET", n.url+"/metrics", "", granting(auth.GrantRead, auth.GrantOperate, auth.GrantCatalogue, auth.GrantErase)...).wantProblem(t, 403, "metrics")
	for _, path := range adminPaths(t, n) {
		a := do(t, "GET", n.url+path, "", granting(auth.GrantMetrics)...)
		if strings.Contains(a.body, "secret") || a.status == 200 && !strings.HasSuffix(path, "/identity") {
			t.Errorf("GET %s: %d %s", path, a.status, a.body)
		}
	}
	do(t, "GET", n.events("topic=secret"), "", granting(auth.Grants()...)...).wantProblem(t, 403, "secret")
	do(t, "GET", n.url+"/catalogue", "", granting(auth.GrantMetrics)...).wantProblem(t, 403, "read or catalogue")
}

// The page learns what its identity may do, and so shows nothing that will not work.
func TestGrants_ThePageIsToldThem(t *testing.T) {
	t.Parallel()
	n := administered(t, nil)
	for _, test := range []struct {
		headers []string
		grants  []auth.Grant
	}{
		{bearer(root), auth.Grants()},
		{granting(auth.GrantErase, auth.GrantRead), []auth.Grant{auth.GrantErase, auth.GrantRead}},
	} {
		for _, path := range []string{"identity", "overview"} {
			var who handlers.Whoami
			a := do(t, "GET", n.url+"/admin/api/"+path, "", test.headers...)
			if err := json.Unmarshal([]byte(a.body), &who); err != nil || !slices.Equal(who.Grants, test.grants) || who.Subject == "" || who.Expires == nil {
				t.Errorf("%s: %d %s: %v", path, a.status, a.body, err)
			}
		}
	}
	open := newNode(t, func(n *node) { n.admin = admin.New(n.pool) })
	if a := do(t, "GET", open.url+"/admin/api/identity", ""); a.status != 200 || !strings.Contains(a.body, `"grants":["metrics","read","operate","catalogue","erase"]`) {
		t.Errorf("where no token is needed: %d %s", a.status, a.body)
	}
}
