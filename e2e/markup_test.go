package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// scripts run in a page that takes them for markup, each by a way of its own.
var scripts = []string{
	`<script>globalThis.ran = 1</script>`,
	`<img src=x onerror="globalThis.ran = 2">`,
	`"><svg onload="globalThis.ran = 3">`,
	`' onmouseover='globalThis.ran = 4' autofocus onfocus='globalThis.ran = 4`,
	`javascript:globalThis.ran = 5`,
	`</textarea></title></style></script><script>globalThis.ran = 6</script>`,
	`${globalThis.ran = 7}{{globalThis.ran = 7}}`,
	`<iframe srcdoc="<script>parent.ran = 8</script>"></iframe>`,
	"\u202e<a href=javascript:globalThis.ran=9 id=status>x</a>",
}

// TestPage_RunsNothingOfWhatEventsSay appends events whose payloads, types and
// topics are scripts, and looks for what they did to the pages that show them.
// That the policy of the page had nothing to refuse is looked for in open.
func TestPage_RunsNothingOfWhatEventsSay(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	s := start(t, "--database-url", database)
	db := connect(t, database)
	ada := newTab(t)
	rita, tom := newTab(t), newTab(t)
	do(t, ada, chromedp.Navigate(s.base+"/p/ada"))
	do(t, rita, chromedp.Navigate(s.base+"/p/rita"))
	do(t, tom, chromedp.Navigate(s.base+"/p/tom"))
	see(t, ada, live)
	see(t, rita, live)
	see(t, tom, live)

	for i, script := range scripts {
		payload := func(more map[string]any) string {
			all := map[string]any{
				"id": script, "item": script, "submitter": script, "reviewer": script, "trader": script, "person": script, "by": script,
				"title": script, "note": script, "symbol": script, "unit": script, "status": script, "state": script, "quantity": 10, "price_cents": 100,
				"what": "trade", "about": script, "rows": script, "until": script,
				"previous_cents": 90, "failed_logins": script, "submitted_at": "2026-11-22T02:00:00Z", "reviewed_at": "2026-11-22T02:00:00Z",
				"executed_at": "2026-11-22T02:00:00Z", "starts_at": "2026-11-22T02:00:00Z", "ends_at": "2026-11-22T03:00:00Z", "locked_until": "2026-11-22T02:00:00Z",
				"__proto__": map[string]string{"onclick": script},
			}
			for name, value := range more {
				all[name] = value
			}
			text, err := json.Marshal(all)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		for _, kind := range []string{"audit.approved", "audit.rejected", "trade.executed", "info.updated", "user.logged_in", "user.login_failed", "account.locked", "account.unlocked", "client.error", "support.requested", "data.synced"} {
			insert(t, db, "user/ada", kind, payload(nil))
		}
		insert(t, db, "reviewers", "audit.submitted", payload(map[string]any{"id": 1000 + i, "status": "submitted"}))
		insert(t, db, "traders", "audit.approved", payload(map[string]any{"id": 1000 + i, "status": "approved"}))
		insert(t, db, "public/announcements", "system.maintenance", payload(map[string]any{"id": fmt.Sprint("x", i), "state": "announced"}))
		if !strings.Contains(script, "*") {
			insert(t, db, "user/ada", script, payload(nil))
		}
		insert(t, db, "user/ada", "user.logged_out", payload(map[string]any{"person": "ada"}))
	}
	last := fmt.Sprintf(`document.querySelectorAll('[data-testid=timeline] [data-type="user.logged_out"]').length === %d`, len(scripts))
	testkit.Eventually(t, "Ada's page shows them all", func() bool { return eval[bool](t, ada, last) })
	testkit.Eventually(t, "Rita's page shows them all", func() bool {
		return eval[int](t, rita, `document.querySelectorAll('[data-testid=queue] [data-testid=approve]').length`) == len(scripts)
	})
	testkit.Eventually(t, "Tom's page shows them all", func() bool {
		return eval[int](t, tom, `document.querySelectorAll('[data-testid=ready] [data-testid=trade]').length`) == len(scripts)
	})
	if turned := eval[int](t, ada, `[...document.querySelectorAll('.what, .toast')].filter((e) => /[\u202a-\u202e]/.test(e.textContent)).length`); turned > 0 {
		t.Errorf("%d sentences let a payload turn the direction of the page's words", turned)
	}
	screenshot(t, ada, "5-scripts-are-text")
	for _, tab := range []struct {
		name string
		ran  any
		own  int
	}{
		{"Ada", eval[any](t, ada, `globalThis.ran ?? null`), eval[int](t, ada, foreignNodes)},
		{"Rita", eval[any](t, rita, `globalThis.ran ?? null`), eval[int](t, rita, foreignNodes)},
		{"Tom", eval[any](t, tom, `globalThis.ran ?? null`), eval[int](t, tom, foreignNodes)},
	} {
		if tab.ran != nil || tab.own != 0 {
			t.Errorf("on %s's page ran %v, and %d elements are not its own", tab.name, tab.ran, tab.own)
		}
	}

	// What the server answers by itself, opened as a page.
	for _, path := range []string{
		"/%3Cscript%3EglobalThis.ran=1%3C/script%3E", "/p/%3Cscript%3EglobalThis.ran=1%3C/script%3E",
		"/events?topic=a&%3Cscript%3EglobalThis.ran=1%3C/script%3E=1", "/events?topic=%3Cscript%3EglobalThis.ran=1%3C/script%3E/", "/api/demo/people/%3Cscript%3EglobalThis.ran=1%3C/script%3E/state",
	} {
		do(t, ada, chromedp.Navigate(s.base+path))
		if ran := eval[any](t, ada, `globalThis.ran ?? document.scripts[0]?.outerHTML ?? null`); ran != nil {
			t.Errorf("%s: %v", path, ran)
		}
		response, err := http.Get(s.base + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if policy := response.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: the policy is %q", path, policy)
		}
	}
}

// foreignNodes counts what no page of the demo makes.
const foreignNodes = `document.querySelectorAll('body script, img, iframe, textarea, [onload], [onerror], [onfocus], [onmouseover], a[href^="javascript:"]').length`
