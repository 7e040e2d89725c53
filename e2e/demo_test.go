package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// of is a selector within a person's desk.
func of(person, selector string) string {
	return fmt.Sprintf(`.pane[data-person=%s] %s`, person, selector)
}

func liveOf(person string) string { return of(person, `[data-testid=status][data-status=live]`) }

// wide has room for all desks.
var wide = look{1440, 900, "light", "en"}

// openDesks opens the page with three people on it.
func openDesks(t *testing.T, tab context.Context, base string) {
	t.Helper()
	do(t, tab, chromedp.Navigate(base+"/"))
	lookAtToasts(t, tab)
	for _, person := range []string{"ada", "rita", "tom"} {
		see(t, tab, liveOf(person))
	}
}

// lookAtToasts has a toast stay that goes after some seconds, as when a person looks at it.
func lookAtToasts(t *testing.T, tab context.Context) {
	t.Helper()
	eval[chromedp.Void](t, tab, `new MutationObserver(() => document.querySelectorAll('.toast').forEach((toast) => toast.dispatchEvent(new Event('mouseenter'))))
		.observe(document.body, { childList: true, subtree: true })`)
}

func click(t *testing.T, tab context.Context, person, selector string) {
	t.Helper()
	press(t, tab, of(person, selector))
}

func fill(t *testing.T, tab context.Context, person, selector, text string) {
	t.Helper()
	enter(t, tab, of(person, selector), text)
}

// TestDemo_SubmitApproveTrade has a purchase go from desk to desk, each of which hears
// of it by its own stream, and ends in the details of the trade. The action offered for
// an event is the catalogue's, also after an edit.
func TestDemo_SubmitApproveTrade(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	s := start(t, "--database-url", database)
	if _, err := connect(t, database).Exec(t.Context(), `UPDATE outcrier.event_type SET action = 'contact_support' WHERE type = 'audit.approved'`); err != nil {
		t.Fatal(err)
	}
	tab := newTab(t)
	wide.emulate(t, tab)
	openDesks(t, tab, s.base)
	fill(t, tab, "ada", `[data-testid=submit-title]`, "Winter blend")
	click(t, tab, "ada", `[data-testid=submit-button]`)
	see(t, tab, of("ada", `[data-testid=items] [data-status=submitted]`))
	click(t, tab, "rita", `[data-testid=queue] [data-testid=approve]`)
	see(t, tab, of("ada", `[data-testid=items] .chip[data-status=approved]`))
	see(t, tab, of("rita", `[data-testid=decided] [data-status=approved]`))
	see(t, tab, of("ada", `.toast [data-action=contact_support]`))
	click(t, tab, "tom", `[data-testid=ready] [data-testid=trade]`)
	see(t, tab, of("ada", `[data-testid=items] .chip[data-status=traded]`))
	see(t, tab, of("ada", `[data-testid=trades] [data-trade]`))
	for person, types := range map[string]string{
		"ada": "audit.submitted,audit.approved,trade.executed,info.updated", "rita": "audit.submitted,audit.approved,info.updated", "tom": "audit.approved,trade.executed",
	} {
		wait(t, tab, fmt.Sprintf("[...document.querySelectorAll(`%s`)].map((li) => li.dataset.type).join() === '%s'", of(person, `[data-testid=timeline] [data-id]`), types))
	}
	// What the catalogue says to do: show details.
	click(t, tab, "ada", `.toast [data-action=show_details]`)
	wait(t, tab, "document.querySelector(`[data-testid=sql]`)?.textContent.startsWith('BEGIN;')")
	sql := textOf(t, tab, `[data-testid=sql]`)
	for _, part := range []string{"UPDATE demo_item SET status = 'traded'", "INSERT INTO outbox", "('user/ada', 'trade.executed'", "('trades/COFFEE', 'trade.executed'", "COMMIT;"} {
		if !strings.Contains(sql, part) {
			t.Errorf("the SQL lacks %q: %s", part, sql)
		}
	}
	if text := textOf(t, tab, `dialog pre:not([data-testid=sql])`); !strings.Contains(text, `"title": "Winter blend"`) {
		t.Errorf("the details are %q", text)
	}
	press(t, tab, `[data-testid=close]`)
	wait(t, tab, `document.querySelector('dialog') === null`)
}

// TestDemo_LockedOut has Ada type three wrong PINs, ask for help as the catalogue
// says, be unlocked by Rita, and sign in again as it says then.
func TestDemo_LockedOut(t *testing.T) {
	t.Parallel()
	s := start(t, "--database-url", outboxtest.URL(t))
	tab := newTab(t)
	wide.emulate(t, tab)
	openDesks(t, tab, s.base)
	for n := range 3 {
		fill(t, tab, "ada", `[data-testid=pin]`, "0000")
		click(t, tab, "ada", `[data-testid=login]`)
		if n < 2 {
			wait(t, tab, fmt.Sprintf("document.querySelector(`%s`).textContent.includes('tries left: %d')", of("ada", `[data-form=login] .wrong`), 2-n))
		}
	}
	see(t, tab, of("ada", `[data-testid=account][data-state=locked]`))
	click(t, tab, "ada", `.toast[data-severity=error] [data-action=contact_support]`)
	wait(t, tab, fmt.Sprintf("document.querySelector(`%s`)?.textContent.includes('asks for help')", of("rita", `[data-testid=locked] [data-person=ada] .left`)))
	see(t, tab, of("rita", `[data-testid=timeline] [data-type="support.requested"]`))
	click(t, tab, "rita", `[data-testid=locked] [data-person=ada] [data-testid=unlock]`)
	see(t, tab, of("ada", `[data-testid=account][data-state=out]`)) // drawn a turn after the toast
	click(t, tab, "ada", `.toast [data-action=sign_in_again]`)
	wait(t, tab, fmt.Sprintf("document.activeElement === document.querySelector(`%s`)", of("ada", `[data-testid=pin]`)))
	fill(t, tab, "ada", `[data-testid=pin]`, "1815")
	click(t, tab, "ada", `[data-testid=login]`)
	see(t, tab, of("ada", `[data-testid=account][data-state=in]`))
	if eval[bool](t, tab, fmt.Sprintf("document.querySelector(`%s`) !== null", of("rita", `[data-action=sign_in_again]`))) {
		t.Error("Rita is asked to sign in again, for Ada")
	}
}

// TestDemo_Maintenance announces a window. Its begin and its end are scheduled events;
// in between the market is shut, and a purchase that was refused then is tried again
// afterwards.
func TestDemo_Maintenance(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	s := start(t, "--database-url", database)
	db := connect(t, database)
	tab := newTab(t)
	wide.emulate(t, tab)
	openDesks(t, tab, s.base)
	fill(t, tab, "ada", `[data-testid=submit-title]`, "Pods for the pastry school")
	click(t, tab, "ada", `[data-testid=submit-button]`)
	click(t, tab, "rita", `[data-testid=queue] [data-testid=approve]`)
	see(t, tab, of("tom", `[data-testid=ready] [data-testid=trade]`))

	fill(t, tab, "rita", `[data-testid=maintenance-starts]`, "86400")
	fill(t, tab, "rita", `[data-testid=maintenance-lasts]`, "86400")
	click(t, tab, "rita", `[data-testid=maintenance-button]`)
	for _, person := range []string{"ada", "rita", "tom"} {
		see(t, tab, of(person, `[data-testid=maintenance] [data-state=announced]`))
	}
	// Once all have seen that, it is brought forward.
	const forwardSQL = `
WITH m AS (UPDATE demo_maintenance SET starts_at = clock_timestamp() + interval '2 seconds' RETURNING starts_at)
UPDATE outcrier.scheduled SET deliver_at = m.starts_at FROM m WHERE payload ->> 'state' = 'started'`
	if brought, err := db.Exec(t.Context(), forwardSQL); err != nil || brought.RowsAffected() != 1 {
		t.Fatalf("%s: %v", brought, err)
	}
	for _, person := range []string{"ada", "rita", "tom"} {
		see(t, tab, of(person, `[data-testid=maintenance] [data-state=started]`))
	}
	told := rows(t, database, "public/announcements")
	var due bool
	if len(told) != 2 {
		t.Fatalf("there are %d announcements, want 2", len(told))
	}
	if err := db.QueryRow(t.Context(), `SELECT $1 >= starts_at FROM demo_maintenance`, told[1].CreatedAt).Scan(&due); err != nil || !due {
		t.Errorf("the second announcement came before it was due: %v", err)
	}

	click(t, tab, "tom", `[data-testid=ready] [data-testid=trade]`)
	see(t, tab, of("tom", `.toast [data-action=retry]`))
	if _, err := db.Exec(t.Context(), `UPDATE demo_maintenance SET ends_at = clock_timestamp()`); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(t.Context(), `UPDATE outcrier.scheduled SET deliver_at = clock_timestamp()`); err != nil {
		t.Fatal(err)
	}
	wait(t, tab, fmt.Sprintf("document.querySelector(`%s`) === null", of("tom", `[data-testid=maintenance] li`)))
	click(t, tab, "tom", `.toast [data-action=retry]`)
	see(t, tab, of("ada", `[data-testid=trades] [data-trade]`))
	wait(t, tab, fmt.Sprintf("document.querySelector(`%s`) === null", of("tom", `[data-action=retry]`)))
}

// TestDemo_CutNetwork cuts Ada off by the switch on her desk. What she then missed
// comes on her return: marked, in order, once, and all that SQL says.
func TestDemo_CutNetwork(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	s := start(t, "--database-url", database)
	db := connect(t, database)
	tab := newTab(t)
	wide.emulate(t, tab)
	openDesks(t, tab, s.base)
	listed := func(which string) []string {
		t.Helper()
		return eval[[]string](t, tab, fmt.Sprintf("[...document.querySelectorAll(`%s`)].map((li) => li.dataset.id)", of("ada", "[data-testid=timeline] [data-id]"+which)))
	}
	price(t, db, "COCOA")
	wait(t, tab, fmt.Sprintf("document.querySelectorAll(`%s`).length === 1", of("ada", "[data-testid=timeline] [data-id]")))
	click(t, tab, "ada", `[data-testid=network]`)
	see(t, tab, of("ada", `[data-testid=status][data-status=cut]`))
	fill(t, tab, "ada", `[data-testid=submit-title]`, "Not now")
	click(t, tab, "ada", `[data-testid=submit-button]`)
	wait(t, tab, fmt.Sprintf("document.querySelector(`%s`)?.textContent.includes('nothing was sent')", of("ada", ".toast")))
	for range 12 {
		price(t, db, "VANILLA")
		insert(t, db, "user/ada", "user.logged_out", `{"person":"ada","signed_in_at":null,"failed_logins":0,"locked_until":null}`)
		insert(t, db, "user/bo", "user.logged_out", `{"person":"bo"}`)
	}
	price(t, db, "VANILLA")
	// Once Rita has heard of the last, the server has it all, and Ada would too.
	wait(t, tab, fmt.Sprintf("document.querySelectorAll(`%s`).length === 14", of("rita", "[data-testid=timeline] [data-id]")))
	if had := listed(""); len(had) != 1 {
		t.Errorf("cut off, Ada was given %v", had)
	}
	if eval[bool](t, tab, fmt.Sprintf("document.querySelector(`%s`) !== null", of("ada", ".mark"))) {
		t.Error("that she cut herself off is told as a mark on the stream")
	}

	// By keyboard, this time.
	eval[chromedp.Void](t, tab, fmt.Sprintf("document.querySelector(`%s`).focus()", of("ada", `[data-testid=network]`)))
	do(t, tab, chromedp.KeyEvent(" "))
	see(t, tab, liveOf("ada"))
	see(t, tab, of("ada", `[data-testid=timeline] .caught-up`))
	var want []string
	for _, r := range rows(t, database, "%") {
		if r.Topic == "user/ada" || r.Topic == "public/prices" {
			want = append(want, strconv.FormatInt(r.ID, 10))
		}
	}
	if got := listed(""); len(want) != 26 || !slices.Equal(got, want) {
		t.Errorf("Ada was given %v, want %v", got, want)
	}
	if got := listed("[data-replayed]"); !slices.Equal(got, want[1:]) {
		t.Errorf("marked as missed are %v, want %v", got, want[1:])
	}
	if got := textOf(t, tab, of("ada", "[data-testid=missed]")); got != "25" {
		t.Errorf("the desk says that %s were missed", got)
	}
	price(t, db, "COCOA")
	wait(t, tab, fmt.Sprintf("document.querySelectorAll(`%s`).length === 27", of("ada", "[data-testid=timeline] [data-id]")))
	if got := listed("[data-replayed]"); len(got) != 25 {
		t.Errorf("live again, %d are marked as missed", len(got))
	}
}

// TestDemo_Refreshes changes prices by events without the prices: the catalogue's
// action is to refresh.
func TestDemo_Refreshes(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	s := start(t, "--database-url", database)
	tab := newTab(t)
	wide.emulate(t, tab)
	openDesks(t, tab, s.base)
	click(t, tab, "tom", `[data-testid=sync]`)
	const was = "COFFEE 41850,VANILLA 19900,COCOA 68200,PEPPER 2460"
	const priceSQL = `SELECT string_agg(symbol || ' ' || price_cents, ',' ORDER BY title) FROM demo_symbol`
	want, db := was, connect(t, database)
	testkit.Eventually(t, "the prices have changed", func() bool {
		if err := db.QueryRow(t.Context(), priceSQL).Scan(&want); err != nil {
			t.Fatal(err)
		}
		return want != was
	})
	for _, person := range []string{"ada", "rita", "tom"} {
		wait(t, tab, fmt.Sprintf("[...document.querySelectorAll(`%s`)].map((li) => li.dataset.symbol + ' ' + li.querySelector('strong').textContent.replace(/[^0-9]/g, '')).join() === '%s'", of(person, "[data-testid=prices] li"), want))
	}
}

// TestDemo_SpeaksBothLanguages switches to Chinese in the middle of a story. The
// timeline is rewritten in Chinese, and the choice is kept.
func TestDemo_SpeaksBothLanguages(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	s := start(t, "--database-url", database)
	tab := newTab(t)
	wide.emulate(t, tab)
	openDesks(t, tab, s.base)
	price(t, connect(t, database), "COCOA")
	const first = `[data-testid=timeline] [data-id] .what`
	see(t, tab, of("ada", first))
	if text := textOf(t, tab, of("ada", first)); !strings.Contains(text, "Ghana cocoa is now at") {
		t.Errorf("in English the timeline says %q", text)
	}
	insert(t, connect(t, database), "user/ada", "account.locked", `{"person":"ada","signed_in_at":null,"failed_logins":3,"locked_until":"2026-11-22T02:00:00Z"}`)
	see(t, tab, of("ada", ".toast [data-action=contact_support]"))
	press(t, tab, `[data-testid=language]`)
	if text := textOf(t, tab, of("ada", ".toast")); !strings.Contains(text, "账户已锁定") || !strings.Contains(text, "联系支持") {
		t.Errorf("in Chinese the toast says %q", text)
	}
	if text := textOf(t, tab, of("ada", first)); !strings.Contains(text, "加纳可可现价") {
		t.Errorf("in Chinese the timeline says %q", text)
	}
	click(t, tab, "ada", `[data-testid=submit-button]`)
	wait(t, tab, fmt.Sprintf("document.querySelector(`%s`).textContent === '请填写用途。'", of("ada", "[data-form=ask] .wrong")))
	press(t, tab, `[data-testid=language]`)
	wait(t, tab, fmt.Sprintf("document.querySelector(`%s`).textContent === 'Say what the purchase is for.'", of("ada", "[data-form=ask] .wrong")))
	press(t, tab, `[data-testid=language]`)
	wait(t, tab, fmt.Sprintf("document.querySelector(`%s`).textContent === '请填写用途。'", of("ada", "[data-form=ask] .wrong")))
	// Nothing on the page is left in English, but names and what stands in the table.
	const english = `[...document.querySelectorAll('.work h3, .work button, .work label > span, .tour li, .pill, .hint, [data-testid=account]')].filter((e) => e.checkVisibility() && !/[\u4e00-\u9fff]/.test(e.innerText) && !['PIN'].includes(e.innerText)).map((e) => e.innerText).join('|')`
	if left := eval[string](t, tab, english); left != "" {
		t.Errorf("in English is left %q", left)
	}
	openDesks(t, tab, s.base)
	if lang := eval[string](t, tab, `document.documentElement.lang`); lang != "zh-CN" {
		t.Errorf("after a reload the page is in %q", lang)
	}
	// Somebody else's browser speaks Chinese from the start.
	other := newTab(t)
	call(t, other, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{
		UserAgent: eval[string](t, other, `navigator.userAgent`), AcceptLanguage: "zh-CN,zh"})
	do(t, other, chromedp.Navigate(s.base+"/p/tom"))
	see(t, other, live)
	if text := textOf(t, other, `.pane [data-testid=sync]`); text != "导入价目表" {
		t.Errorf("a Chinese browser shows %q", text)
	}
}
