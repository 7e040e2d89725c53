package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	cookies "github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// An admin finds a person, sees what they were sent and why not, and acts: sends an event
// again, redacts and erases, publishes, exports, and keeps somebody out.
func TestAdmin_FindsAPersonAndActs(t *testing.T) {
	t.Parallel()
	axe := installAxe(t)
	database := outboxtest.URL(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("correct horse battery staple, 32 bytes and more"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startAs(t, "serve", "--dev", "--audit", "--node", "amber", "--database-url", database, "--jwt-secret-file", secret)
	token := func(args ...string) string {
		minted, err := exec.Command(binary(t), append([]string{"token", "--jwt-secret-file", secret}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(minted))
	}
	db := connect(t, database)
	insert(t, db, "user/ann", "audit.approved", `{"submission": 7}`)
	insert(t, db, "user/bob", "account.locked", `{"secret": "bob@example.com"}`)
	stream := ssetest.Open(t, s.base+"/events?topic=user/ann&from=earliest", "Authorization", "Bearer "+token("--subject", "ann", "--subscribe", "user/ann"))
	stream.Until("outcrier.live")

	tab := newTab(t)
	desk.as(t, tab, s.base+"/admin#/event/1")
	enter(t, tab, `[data-testid=token]`, token("--admin", "--subject", "root"))
	press(t, tab, `[data-testid=sign-in]`)
	shows := func(text string) {
		t.Helper()
		wait(t, tab, fmt.Sprintf(`document.body.innerText.includes(%q)`, text))
	}
	click := func(selector string) {
		t.Helper()
		press(t, tab, selector)
	}
	fill := func(selector, text string) {
		t.Helper()
		enter(t, tab, selector, text)
	}
	shows("Sent to")
	see(t, tab, `#leave:not([hidden])`) // also on a page that was not reached from the overview

	// Who was sent what, and why not.
	click(`#nav a[href="#/people"]`)
	fill(`[data-testid=prefix]`, "an")
	click(`main form button`)
	click(`[data-testid=person] a[href="#/people/ann"]`)
	see(t, tab, `[data-testid=sent]`)
	axe.check(t, tab, "a person")
	why := func(id int, says string) {
		t.Helper()
		fill(`input[name=event]`, fmt.Sprint(id))
		click(`[data-testid=ask-why]`)
		shows(says)
	}
	why(1, "Yes: event 1 was sent to ann.")
	why(2, "none of the streams asked for topic user/bob")
	why(99, "No event 99 is held")
	screenshot(t, tab, "admin-why")

	// Search, look at one of the events, and be back where one was.
	click(`#nav a[href="#/history"]`)
	fill(`#search-topic`, "user/*")
	fill(`#search-from`, "2h")
	click(`[data-testid=search]`)
	wait(t, tab, `location.hash.includes('from=2h')`)
	wait(t, tab, `document.querySelectorAll('[data-testid=events] li').length === 2`)
	wait(t, tab, `(document.querySelector('[data-testid=csv]')?.href ?? '').includes('topic=user')`) // comes after the events
	csv := eval[string](t, tab, `fetch(document.querySelector('[data-testid=csv]').href).then((answer) => answer.text())`)
	if !strings.HasPrefix(csv, "id,created_at,topic,type,source,headers,publisher,payload\n2,") || strings.Count(strings.TrimSpace(csv), "\n") != 2 {
		t.Errorf("the file has %q", csv)
	}
	click(`[data-id="1"] a`)
	shows("Event 1")
	press(t, tab, `main p a`)
	wait(t, tab, `document.querySelector('#search-topic')?.value === 'user/*' && document.querySelectorAll('[data-testid=events] li').length === 2`)

	// Send it again, to one person.
	click(`[data-id="2"] a`)
	click(`[data-testid=again]`)
	axe.check(t, tab, "send again")
	fill(`dialog [name=topic]`, "user//ann")
	click(`dialog [data-testid=do]`)
	shows("is not valid")
	fill(`dialog [name=topic]`, "user/ann")
	click(`dialog [data-testid=do]`)
	shows("Event 3")
	noticed(t, tab, "It is sent again, as event 3.")
	shows("Copy of")
	if e := stream.Until("account.locked"); !strings.Contains(e.Data, `"resentof":"2"`) || !strings.Contains(e.Data, `"id":"3"`) {
		t.Errorf("ann is sent %+v", e)
	}

	// Redact and erase, with a reason.
	click(`[data-testid=redact]`)
	wait(t, tab, `document.querySelector('dialog [name=payload]')?.selectionStart === 0`) // a long one is read from its start
	fill(`dialog [name=payload]`, `{"n": 12345678901234567890`)
	fill(`dialog [name=reason]`, "request 7")
	click(`dialog [data-testid=do]`)
	shows("The payload is not JSON")
	fill(`dialog [name=payload]`, `{"n": 12345678901234567890}`)
	click(`dialog [data-testid=do]`)
	wait(t, tab, `(document.querySelector('[data-testid=payload]')?.textContent ?? '').includes('12345678901234567890')`)
	do(t, tab, chromedp.Navigate(s.base+"/admin#/history"))
	fill(`[data-testid=event-id]`, "2")
	click(`form.open button`)
	click(`[data-testid=erase]`)
	click(`dialog [data-testid=do]`) // without a reason it stays
	see(t, tab, `dialog[open]`)
	fill(`dialog [name=reason]`, "entered by mistake")
	click(`dialog [data-testid=do]`)
	wait(t, tab, `document.querySelectorAll('[data-testid=erasure]').length === 2`)
	noticed(t, tab, "Events erased: 1.")
	shows("entered by mistake")
	axe.check(t, tab, "erased")
	screenshot(t, tab, "admin-erased")

	// Events that were sent to nobody.
	click(`#nav a[href="#/history"]`)
	click(`[data-testid=publish]`)
	fill(`dialog [name=topic]`, "nobody/follows")
	click(`dialog [data-testid=do]`)
	noticed(t, tab, "is published.")
	wait(t, tab, `document.querySelector('main dd a')?.textContent === 'nobody/follows'`)
	wait(t, tab, `document.querySelector('[data-testid=publisher]')?.textContent === 'root'`)
	published := eval[string](t, tab, `location.hash.split('/').pop()`)
	click(`#nav a[href="#/history"]`)
	click(`[data-testid=unsent]`)
	click(`[data-testid=search]`)
	wait(t, tab, `location.hash.includes('unsent=true')`)
	click(`[data-testid=follow]`) // that ann was sent hers is on record some seconds later
	wait(t, tab, `[...document.querySelectorAll('[data-testid=events] li')].map((li) => li.dataset.id).join() === '`+published+`'`)

	// Keep somebody out.
	do(t, tab, chromedp.Navigate(s.base+"/admin#/people/ann"))
	click(`[data-testid=keep-out]`)
	fill(`dialog [name=reason]`, "left the company")
	click(`dialog [data-testid=do]`)
	if e := stream.Until("outcrier.goodbye"); !strings.Contains(e.Data, "token_revoked") {
		t.Errorf("ann is told %s", e.Data)
	}
	noticed(t, tab, "The tokens of ann are revoked.")

	// Who did all that, with which result.
	click(`#nav a[href="#/requests"]`)
	fill(`[data-testid=by-about]`, "ann")
	click(`[data-testid=acts]`)
	click(`[data-testid=filter]`)
	wait(t, tab, `location.hash.includes('about=ann') && [...document.querySelectorAll('[data-testid=request]')].map((row) => row.innerText.includes('revoke tokens') && row.innerText.includes('root') && row.innerText.includes('done')).join() === 'true'`)
	if tall := eval[int](t, tab, `document.querySelector('.top').offsetHeight - document.querySelector('#nav').offsetHeight`); tall > 30 {
		t.Errorf("at 1280 px the bar at the top is %d px higher than its places: it is not one line", tall)
	}
	screenshot(t, tab, "admin-requests")

	var by string
	if err := db.QueryRow(t.Context(), `SELECT string_agg(DISTINCT split_part(erased_by, ' for ', 2), ' ') || ' ' || (SELECT revoked_by FROM outcrier.revoked) FROM outcrier.erasure`).Scan(&by); err != nil || by != "root root" {
		t.Errorf("on record is %q %v", by, err)
	}
}

// The page says that a token has expired, and goes on where one was.
func TestAdmin_SaysThatTheTokenExpired(t *testing.T) {
	t.Parallel()
	axe := installAxe(t)
	database := outboxtest.URL(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("correct horse battery staple, 32 bytes and more"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startAs(t, "serve", "--dev", "--database-url", database, "--jwt-secret-file", secret)
	mint := func(args ...string) string {
		minted, err := exec.Command(binary(t), append([]string{"token", "--jwt-secret-file", secret, "--admin", "--subject", "root"}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(minted))
	}
	tab := newTab(t)
	give := func(token string) {
		t.Helper()
		enter(t, tab, `[data-testid=token]`, token)
		press(t, tab, `[data-testid=sign-in]`)
	}
	desk.as(t, tab, s.base+"/admin#/history?topic=a")
	give(mint("--ttl", "1h"))
	see(t, tab, `#leave:not([hidden])`)
	// More than an hour later the browser has dropped the cookie.
	call(t, tab, cookies.ClearBrowserCookies, cdp.Empty{})
	eval[chromedp.Void](t, tab, `Date.now = ((now) => () => now() + 4000_000)(Date.now)`)
	press(t, tab, `[data-testid=follow]`)
	wait(t, tab, `document.querySelector('main').innerText.includes('Your token expired at')`)
	if says := eval[string](t, tab, `document.querySelector('.problem').textContent`); !strings.Contains(says, " UTC") {
		t.Errorf("the time has no zone: %s", says)
	}
	axe.check(t, tab, "expired")
	if says := eval[string](t, tab, `notices.join()`); says != "" {
		t.Errorf("the page says beside it: %s", says)
	}
	everyLook(t, tab, "admin-expired", `document.querySelector('.problem').textContent !== ''`)
	give(mint())
	wait(t, tab, `document.querySelector('#search-topic')?.value === 'a'`)
}
