package e2e

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// look is how somebody looks at the page.
type look struct {
	width, height    int64
	scheme, language string
}

func (l look) String() string { return fmt.Sprintf("%d-%s-%s", l.width, l.scheme, l.language) }

// desk and phone are where the page is used most; the others are its limits.
var (
	desk  = look{1280, 900, "light", "en"}
	phone = look{390, 844, "dark", "zh"}
)

// as has a tab look so at an address. The language is the browser's.
func (l look) as(t *testing.T, tab context.Context, address string) {
	t.Helper()
	l.emulate(t, tab)
	call(t, tab, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{
		UserAgent: eval[string](t, tab, `navigator.userAgent`), AcceptLanguage: map[string]string{"en": "en-GB,en", "zh": "zh-CN,zh"}[l.language]})
	load(t, tab, address)
	see(t, tab, "main h1")
	// What the page says in passing is kept for noticed.
	eval[chromedp.Void](t, tab, `(() => {
		globalThis.notices = [];
		new MutationObserver((changes) => changes.forEach(({ addedNodes }) => notices.push(...[...addedNodes].map((node) => node.textContent))))
			.observe(document.querySelector('#notice'), { childList: true });
	})()`)
}

// noticed waits until the page says, or has said, something in passing.
func noticed(t *testing.T, tab context.Context, says string) {
	t.Helper()
	wait(t, tab, fmt.Sprintf(`notices.some((text) => text.includes(%s))`, literal(t, says)))
}

// emulate is as, on the page that the tab is on.
func (l look) emulate(t *testing.T, tab context.Context) {
	t.Helper()
	resize(t, tab, l.width, l.height)
	call(t, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}}})
}

// resize gives the page another size.
func resize(t *testing.T, tab context.Context, width, height int64) {
	t.Helper()
	call(t, tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 500})
}

// call sends a command of the DevTools protocol.
func call[P, R any](t *testing.T, tab context.Context, command cdp.Command[P, R], params P) {
	t.Helper()
	if _, err := chromedp.Call(tab, command, params); err != nil {
		t.Fatal(err)
	}
}

// busyOutbox fills an outbox with what the views show, and leaves a transaction
// open that owes an event.
func busyOutbox(t *testing.T, database string) *pgx.Conn {
	t.Helper()
	db := connect(t, database)
	const fillSQL = `
INSERT INTO outbox (topic, type, payload, source, headers)
SELECT format('user/%s', n % 7), (ARRAY['audit.approved', 'trade.executed', 'user.logged_in', 'account.locked', 'system.maintenance', 'order.packed'])[1 + n % 6],
	json_build_object('submission', n, 'title', 'Kaffee für Größe ' || n, 'note', repeat('咖啡 ', n % 9), 'price_cents', n * 1299, 'tags', json_build_array('a', n)),
	'/desk', CASE WHEN n % 5 = 0 THEN jsonb_build_object('traceparent', format('00-4bf92f3577b34da6a3ce929d0e0e47%s-00f067aa0ba902b7-01', 10 + n % 90)) END
FROM generate_series(1, 230) AS n`
	const planSQL = `
SELECT outcrier.append('public/announcements', 'system.maintenance', json_build_object('hour', n), '/ops', NULL, NULL, clock_timestamp() + n * interval '37 minutes')
FROM generate_series(1, 4) AS n`
	const eraseSQL = `SELECT outcrier.erase('gone/**', 'account closed'), outcrier.redact(3, '{"submission": 3}', 'request 2026-118')`
	// Two people, as the audit of another node has them.
	const peopleSQL = `
INSERT INTO outcrier.stream (run, stream, node, subject, client_address, topics, types, history, from_position, from_set, position, position_set, position_at, events, last_event, opened_at, closed_at, end_reason)
SELECT 7, n, 'birch', (ARRAY['ann', 'bob/7'])[n], '192.0.2.' || n, ARRAY['user/' || n, 'public/**'], '{}', history, '0.x', ROW('0', '{}', NULL, NULL, NULL)::outcrier.position_set, '1.x',
	ROW(pg_current_xact_id(), '{}', NULL, NULL, NULL)::outcrier.position_set, now(), 33, 230, now() - interval '2 hours', now() - interval '1 minute', 'left'
FROM outcrier.history_id, generate_series(1, 2) AS n`
	// It is not sure that what ann was sent arrived.
	const perhapsSQL = `
UPDATE outcrier.stream SET sure_set = ROW('0', '{}', NULL, NULL, NULL)::outcrier.position_set WHERE subject = 'ann'`
	const requestsSQL = `
INSERT INTO outcrier.admin_request (requested_at, node, subject, client_address, request, question, outcome) VALUES
	(now() - interval '3 hours', 'birch', 'rita', '192.0.2.9', 'GET /admin/api/people/sent', '{"subject": "ann", "topic": "user/1"}', '{"status": 200}'),
	(now() - interval '2 hours', 'birch', 'rita', '192.0.2.9', 'POST /admin/api/history/:id/again', '{"id": "7"}', '{"status": 201, "done": {"what": "send an event again", "event": 7, "topic": "user/1", "id": 88}}'),
	(now() - interval '1 hour', 'birch', 'omar', '192.0.2.8', 'POST /admin/api/erasures', '{}', '{"status": 403, "why": "the admin grant erase is needed, and not granted"}'),
	(now(), 'birch', 'omar', '192.0.2.8', 'DELETE /admin/api/streams', '{"subject": "bob/7"}', NULL)`
	const publishedSQL = `
INSERT INTO outcrier.publication (id, publisher, client_address)
SELECT id, 'shop', '192.0.2.7' FROM outcrier.event WHERE id % 3 = 0 UNION ALL SELECT id, 'shop', '192.0.2.7' FROM outcrier.scheduled`
	for _, sql := range []string{`SELECT outcrier.settle()`, `INSERT INTO outbox (topic, type) VALUES ('gone/1', 't')`, fillSQL, planSQL, eraseSQL, peopleSQL, requestsSQL, perhapsSQL, publishedSQL} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	owing := connect(t, database)
	if _, err := owing.Exec(t.Context(), `BEGIN`); err != nil {
		t.Fatal(err)
	}
	insert(t, owing, "user/3", "audit.submitted", `{"late": true}`)
	return db
}

// adminViews are the views, each with a selector that matches when it is ready.
var adminViews = map[string]string{
	"":                   `document.querySelectorAll('.plot svg').length === 3 && document.querySelectorAll('[data-testid=nodes] tbody tr').length === 1 && document.querySelectorAll('[data-testid=pending] tbody tr').length > 0`,
	"streams":            `document.querySelectorAll('[data-testid=stream]').length === 3`,
	"history":            `document.querySelectorAll('[data-testid=events] li').length === 50 && document.querySelectorAll('[data-testid=publisher]').length > 10`,
	"event/7":            `document.querySelectorAll('[data-testid=receipt]').length > 0 && document.querySelector('[data-testid=payload]').textContent.includes('submission')`,
	"people":             `document.querySelectorAll('[data-testid=person]').length === 2`,
	"people/ann":         `document.querySelectorAll('[data-testid=sent]').length > 0`,
	"trends":             `document.querySelectorAll('[data-testid=trend] li').length === 6 && document.querySelector('.plot svg') !== null`,
	"erased":             `document.querySelectorAll('[data-testid=erasure]').length === 2`,
	"catalogue":          `document.querySelectorAll('[data-testid=types] > li').length >= 8`,
	"requests?acts=true": `document.querySelectorAll('[data-testid=request]').length === 3`,
	"scheduled":          `document.querySelectorAll('[data-testid=planned]').length === 4 && document.querySelectorAll('a[href="#/people/shop"]').length === 4 && document.querySelector('main').innerText.includes('public/announcements')`,
}

// cutHints are the placeholders that have no room in their fields.
const cutHints = `[...document.querySelectorAll('main input[placeholder]')].filter((input) => {
	const style = getComputedStyle(input), pen = document.createElement('canvas').getContext('2d');
	pen.font = style.font;
	return input.offsetParent && pen.measureText(input.placeholder).width > input.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
}).map((input) => input.placeholder)`

// hereIsSeen is true when the bar of places shows the present one whole.
const hereIsSeen = `(() => {
	const bar = document.querySelector('#nav').getBoundingClientRect(), here = document.querySelector('#nav [aria-current]').getBoundingClientRect();
	return here.left >= bar.left && here.right <= bar.right;
})()`

// Every view shows what there is, at each width, in light in English and dark in Chinese
// (in make test-long in all four), without a serious finding of axe and without scrolling sideways.
func TestAdmin_ShowsWhatThereIs(t *testing.T) {
	t.Parallel()
	axe := installAxe(t)
	database := outboxtest.URL(t)
	busyOutbox(t, database)
	s := start(t, "--database-url", database, "--audit", "--node", "amber")
	for _, query := range []string{"topic=user/*&from=earliest", "topic=user/3&topic=public/**&type=audit.*", "topic=**"} {
		ssetest.Open(t, s.base+"/events?"+query).Until("outcrier.live")
	}
	tab := newTab(t)
	for _, l := range []look{desk, phone} {
		l.as(t, tab, s.base+"/admin") // once: axe stays in the page
		for view, ready := range adminViews {
			l.emulate(t, tab)
			do(t, tab, chromedp.Navigate(s.base+"/admin#/"+view))
			wait(t, tab, ready)
			if lang := eval[string](t, tab, `document.documentElement.lang`); !strings.HasPrefix(lang, l.language) {
				t.Errorf("%s: the page is in %s", view, lang)
			}
			few := []look{l}
			if testkit.Long() {
				few = []look{{l.width, l.height, "dark", l.language}, {l.width, l.height, "light", l.language}}
			}
			for _, shown := range looks(few...) {
				if shown.language != l.language {
					continue
				}
				shown.emulate(t, tab)
				name := "admin-" + cmp.Or(view, "overview") + "-" + shown.String()
				axe.check(t, tab, name)
				screenshot(t, tab, name)
			}
			for _, width := range []int64{320, 360, 390, 700, 1000, 1280, 1600} {
				resize(t, tab, width, l.height)
				fits(t, tab, fmt.Sprintf("%s in %s for %d px", view, l.language, width))
				wait(t, tab, hereIsSeen)
				if cut := eval[[]string](t, tab, cutHints); len(cut) > 0 {
					t.Errorf("%s in %s: at %d px the hints %q are cut off", view, l.language, width, cut)
				}
			}
		}
	}
	if pictures() != "" {
		portrayDialogs(t, tab, s.base)
	}
}

// portrayDialogs keeps pictures of what the page asks before it acts.
func portrayDialogs(t *testing.T, tab context.Context, base string) {
	t.Helper()
	for _, dialog := range []struct{ name, view, opens string }{
		{"again", "event/7", `[data-testid=again]`},
		{"redact", "event/7", `[data-testid=redact]`},
		{"erase", "event/7", `[data-testid=erase]`},
		{"erase-topics", "erased", `[data-testid=erase-topics]`},
		{"publish", "history", `[data-testid=publish]`},
		{"end", "streams", `[data-testid=end]`},
		{"end-all", "people/ann", `[data-testid=end-all]`},
		{"keep-out", "people/ann", `[data-testid=keep-out]`},
		{"new-type", "catalogue", `[data-testid=new-type]`},
		{"edit-type", "catalogue", `[data-testid=edit]`},
		{"cancel", "scheduled", `[data-testid=cancel]`},
	} {
		language := ""
		for _, l := range looks() {
			if l.language != language {
				l.as(t, tab, base+"/admin#/"+dialog.view)
				press(t, tab, dialog.opens)
				see(t, tab, `dialog[open]`)
				language = l.language
			}
			l.emulate(t, tab)
			fits(t, tab, dialog.name+" in "+l.String())
			screenshot(t, tab, "dialog-"+dialog.name+"-"+l.String())
		}
	}
}

// What a view says when there is nothing to show, or no answer.
func TestAdmin_SaysThatThereIsNothing(t *testing.T) {
	t.Parallel()
	axe := installAxe(t)
	database := outboxtest.URL(t)
	// Between the server and its Postgres.
	address, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	between := newNetwork(t, "http://"+address.Host)
	address.Host = strings.TrimPrefix(between.base, "http://")
	s := start(t, "--database-url", address.String(), "--audit=false")
	db := connect(t, database)
	tab := newTab(t)
	for view, says := range map[string]string{
		"streams": "--audit", "history": "INSERT INTO outbox", "scheduled": "Nothing is scheduled", "event/99": "No event 99 is held",
		"history?text=nowhere": "No event matches", "history?topic=a//b": "empty segments are not allowed", "": "without --audit", "people": "without --audit",
		"trends": "No event matches", "erased": "Nothing was erased", "history?from=soon": "is not a time", "people/ann?from=soon": "is not a time",
		"requests": "nodes keep them with --audit",
	} {
		desk.as(t, tab, s.base+"/admin#/"+view)
		wait(t, tab, fmt.Sprintf(`document.querySelector('main').innerText.includes(%q)`, says))
		everyLook(t, tab, "empty-"+cmp.Or(view, "overview"), `[...document.querySelectorAll('main .loading')].every((each) => each.offsetParent === null)`)
	}
	desk.as(t, tab, s.base+"/admin")
	see(t, tab, `#state[data-state=live]`)
	if _, err := db.Exec(t.Context(), `ALTER TABLE outcrier.scheduled RENAME TO elsewhere`); err != nil {
		t.Fatal(err)
	}
	see(t, tab, `#state[data-state=database]`)
	see(t, tab, `#trouble:not(:empty)`)
	if _, err := db.Exec(t.Context(), `ALTER TABLE outcrier.elsewhere RENAME TO scheduled`); err != nil {
		t.Fatal(err)
	}
	see(t, tab, `#state[data-state=live]`)
	for _, view := range []string{"", "scheduled"} { // shown before, and shown for the first time
		between.shut()
		do(t, tab, chromedp.Navigate(s.base+"/admin#/"+view))
		troubled(t, tab, axe, "database", view)
		between.mend()
		see(t, tab, `#state[data-state=live]`)
		wait(t, tab, `document.querySelector('#trouble').textContent === ''`)
		s.kill()
		troubled(t, tab, axe, "offline", view)
		s.restart(t)
		see(t, tab, `#state[data-state=live]`)
		wait(t, tab, `document.querySelector('#trouble').textContent === ''`)
	}
}

// troubled waits until a view says what is not there.
func troubled(t *testing.T, tab context.Context, axe axe, state, view string) {
	t.Helper()
	const says = `document.querySelector('#trouble').textContent !== ''`
	see(t, tab, `#state[data-state=`+state+`]`)
	wait(t, tab, says)
	// Only what was read is the last known state, and is to come in some seconds.
	if claims := eval[string](t, tab, `document.querySelector('main .loading') === null ? '' : document.body.innerText`); strings.Contains(claims, "last known state") || strings.Contains(claims, "in ten seconds") {
		t.Errorf("%s of %q: nothing was read, and the page says %s", state, view, claims)
	}
	name := "admin-" + state + "-" + cmp.Or(view, "overview")
	axe.check(t, tab, name)
	everyLook(t, tab, name, says)
}

// The page asks for a token, checks it, keeps it, and removes it on sign-out.
func TestAdmin_SignsInAndOut(t *testing.T) {
	t.Parallel()
	axe := installAxe(t)
	database := outboxtest.URL(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("correct horse battery staple, 32 bytes and more"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startAs(t, "serve", "--dev", "--database-url", database, "--jwt-secret-file", secret)
	token := func(args ...string) string {
		minted, err := exec.Command(binary(t), append([]string{"token", "--jwt-secret-file", secret, "--subject", "ann"}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(minted))
	}
	tab := newTab(t)
	give := func(text string) {
		t.Helper()
		enter(t, tab, `[data-testid=token]`, text)
		press(t, tab, `[data-testid=sign-in]`)
	}
	for _, l := range []look{phone, {1280, 900, "dark", "en"}, desk} {
		l.as(t, tab, s.base+"/admin#/history")
		see(t, tab, `[data-testid=token]`)
		axe.check(t, tab, "signed out")
	}
	const asks = `document.querySelector('[data-testid=token]') !== null`
	everyLook(t, tab, "admin-signed-out", asks)
	for _, text := range []string{"hello", "no.token.atall"} {
		give(text)
		wait(t, tab, `document.querySelector('.problem').textContent.includes('well-formed JWT')`)
	}
	screenshot(t, tab, "admin-sign-in-refused")
	give(token("--subscribe", "**"))
	wait(t, tab, `document.querySelector('main').innerText.includes('has no admin grants')`)
	axe.check(t, tab, "no admin")
	everyLook(t, tab, "admin-no-admin", asks)
	give(token("--admin"))
	see(t, tab, `.search`) // where they wanted to go
	see(t, tab, `#state[data-state=live]`)
	if cookie := eval[string](t, tab, `document.cookie`); cookie != "" {
		t.Errorf("a script can read %q", cookie)
	}
	do(t, tab, chromedp.Navigate(s.base+"/admin#/"))
	see(t, tab, `#leave:not([hidden])`)
	press(t, tab, `#leave`)
	see(t, tab, `[data-testid=token]`)
	do(t, tab, chromedp.Reload())
	see(t, tab, `[data-testid=token]`)
}

// axe finds what keeps people from using a page.
type axe string

// installAxe gets npm's axe-core.
func installAxe(t *testing.T) axe {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(npmInstall(t, "axe"), "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	return axe(source)
}

// check fails for findings on the page that are serious or critical.
func (a axe) check(t *testing.T, tab context.Context, name string) {
	t.Helper()
	if !eval[bool](t, tab, `'axe' in globalThis`) {
		eval[chromedp.Void](t, tab, string(a)+`;void 0`)
	}
	type violation struct {
		ID, Impact, Help string
		Nodes            []string
	}
	for _, v := range eval[[]violation](t, tab, `axe.run(document, {resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']}).then((found) =>
		found.violations.map((v) => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.slice(0, 5).map((n) => n.html.slice(0, 200) + ' ' + (n.any[0]?.message ?? ''))})))`) {
		if v.Impact == "serious" || v.Impact == "critical" {
			t.Errorf("%s: axe finds %s (%s): %s\n%s", name, v.ID, v.Impact, v.Help, strings.Join(v.Nodes, "\n"))
		} else {
			t.Logf("%s: axe: %s (%s): %s %q", name, v.ID, v.Impact, v.Help, v.Nodes)
		}
	}
}
