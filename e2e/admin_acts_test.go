package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/outcrier/outcrier/outbox/outboxtest"
	"github.com/outcrier/outcrier/sse/ssetest"
)

// Somebody without a mouse searches, reads an event, and ends a stream.
func TestAdmin_WorksByKeyboard(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	s := start(t, "--database-url", database, "--audit")
	db := connect(t, database)
	insert(t, db, "user/1", "audit.approved", `{"title": "first"}`)
	insert(t, db, "user/2", "audit.rejected", `{"title": "second"}`)
	stream := ssetest.Open(t, s.base+"/events?topic=user/1&from=earliest")
	stream.Until("outcrier.live")
	tab := newTab(t)
	desk.as(t, tab, s.base+"/admin")

	press := func(keys ...string) {
		t.Helper()
		for _, key := range keys {
			do(t, tab, chromedp.KeyEvent(key))
		}
	}
	// tabTo presses Tab until an element has the focus, which must show.
	tabTo := func(selector string) {
		t.Helper()
		for range 60 {
			press(kb.Tab)
			if eval[bool](t, tab, fmt.Sprintf(`document.activeElement.matches(%q)`, selector)) {
				if !eval[bool](t, tab, `(() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2; })()`) {
					t.Errorf("the focus on %s does not show", selector)
				}
				return
			}
		}
		t.Fatalf("Tab does not lead to %s", selector)
	}

	press(kb.Tab)
	if skip := eval[string](t, tab, `document.activeElement.id`); skip != "skip" {
		t.Errorf("the first stop is %q, want the skip link", skip)
	}
	press(kb.Enter)
	if on := eval[string](t, tab, `document.activeElement.id`); on != "main" {
		t.Errorf("the skip link leads to %q", on)
	}
	load(t, tab, s.base+"/admin")
	see(t, tab, "main h1")
	tabTo(`#nav a[href="#/history"]`)
	press(kb.Enter)
	see(t, tab, `#search-topic`)
	wait(t, tab, `document.activeElement.tagName === 'H1'`)
	tabTo(`#search-topic`)
	do(t, tab, chromedp.KeyEvent("user/2"))
	press(kb.Enter)
	wait(t, tab, `[...document.querySelectorAll('[data-testid=events] li')].map((li) => li.innerText.includes('audit.rejected')).join() === 'true'`)
	tabTo(`[data-testid=events] a`)
	press(kb.Enter)
	wait(t, tab, `(document.querySelector('[data-testid=payload]')?.textContent ?? '').includes('second')`)

	do(t, tab, chromedp.Navigate(s.base+"/admin#/streams"))
	see(t, tab, `[data-testid=end]`)
	tabTo(`[data-testid=end]`)
	press(kb.Enter)
	see(t, tab, `dialog[open]`)
	press(kb.Escape) // thought better of it
	wait(t, tab, `document.querySelector('dialog') === null`)
	tabTo(`[data-testid=end]`)
	press(kb.Enter)
	see(t, tab, `dialog[open]`)
	screenshot(t, tab, "admin-end-a-stream")
	tabTo(`[data-testid=yes]`)
	press(kb.Enter)
	if e := stream.Until("outcrier.goodbye"); !strings.Contains(e.Data, `"ended"`) {
		t.Errorf("the stream is told %s", e.Data)
	}
	do(t, tab, chromedp.Navigate(s.base+"/admin#/streams?state=ended"))
	wait(t, tab, `(document.querySelector('[data-testid=stream]')?.innerText ?? '').includes('an admin ended it (127.0.0.1)')`)
}

// The catalogue is edited, and a scheduled event cancelled.
func TestAdmin_EditsTheCatalogueAndTheSchedule(t *testing.T) {
	t.Parallel()
	axe := installAxe(t)
	database := outboxtest.URL(t)
	s := start(t, "--database-url", database)
	db := connect(t, database)
	tab := newTab(t)
	desk.as(t, tab, s.base+"/admin#/catalogue")
	see(t, tab, `[data-key="user.logged_in"]`)
	press(t, tab, `[data-testid=new-type]`)
	see(t, tab, `dialog[open]`)
	set := func(name, text string) {
		t.Helper()
		enter(t, tab, fmt.Sprintf(`dialog [name=%s]`, name), text)
	}
	problem := func(says string) {
		t.Helper()
		press(t, tab, `[data-testid=save]`)
		wait(t, tab, fmt.Sprintf(`document.querySelector('dialog .problem').textContent.includes(%q)`, says))
	}
	set("type", "order.packed/50%?x=1")
	set("title", "Order packed")
	set("payload_schema", `{"type": "object", "required"`)
	problem("not JSON")
	set("payload_schema", `{"type": 7}`)
	problem("does not compile")
	set("payload_schema", `{"type": "object", "required": ["order"]}`)
	set("code", "bad code!")
	problem("is not valid")
	axe.check(t, tab, "a type with a problem")
	screenshot(t, tab, "admin-edit-type")
	set("code", "ORDER-1")
	press(t, tab, `[data-testid=save]`)
	see(t, tab, `[data-key="order.packed/50%?x=1"]`)

	press(t, tab, `[data-key="order.packed/50%?x=1"] [data-testid=edit]`)
	see(t, tab, `dialog[open]`)
	if _, err := db.Exec(t.Context(), `UPDATE outcrier.event_type SET title = 'Packed' WHERE code = 'ORDER-1'`); err != nil {
		t.Fatal(err)
	}
	set("title", "Order is packed")
	problem("changed or deleted meanwhile")
	do(t, tab, chromedp.Reload())
	see(t, tab, `[data-key="order.packed/50%?x=1"]`)
	press(t, tab, `[data-key="order.packed/50%?x=1"] [data-testid=edit]`)
	see(t, tab, `dialog[open]`)
	set("title", "Order is packed")
	press(t, tab, `[data-testid=save]`)
	wait(t, tab, `document.querySelector('[data-key="order.packed/50%?x=1"]').innerText.includes('Order is packed')`)
	press(t, tab, `[data-key="order.packed/50%?x=1"] [data-testid=edit]`)
	see(t, tab, `dialog[open]`)
	press(t, tab, `[data-testid=remove]`)
	press(t, tab, `[data-testid=yes]`)
	wait(t, tab, `document.querySelector('[data-key="order.packed/50%?x=1"]') === null`)

	if _, err := db.Exec(t.Context(), `SELECT outcrier.append('a', 't', deliver_at => clock_timestamp() + interval '1 hour')`); err != nil {
		t.Fatal(err)
	}
	do(t, tab, chromedp.Navigate(s.base+"/admin#/scheduled"))
	see(t, tab, `[data-testid=cancel]`)
	press(t, tab, `[data-testid=cancel]`)
	see(t, tab, `dialog[open]`)
	press(t, tab, `[data-testid=yes]`)
	wait(t, tab, `document.querySelector('main').innerText.includes('Nothing is scheduled')`)
	var waiting int
	if err := db.QueryRow(t.Context(), `SELECT count(*) FROM outcrier.scheduled`).Scan(&waiting); err != nil || waiting != 0 {
		t.Errorf("%d are scheduled: %v", waiting, err)
	}
}

// TestAdmin_RunsNothingOfWhatItShows has scripts in all that the page shows: that
// the policy had nothing to refuse is looked for in open.
func TestAdmin_RunsNothingOfWhatItShows(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	s := start(t, "--database-url", database, "--audit", "--node", "amber")
	db := connect(t, database)
	for _, script := range scripts {
		payload, err := json.Marshal(map[string]any{script: script, "__proto__": script})
		if err != nil {
			t.Fatal(err)
		}
		topic := strings.NewReplacer("/", "", "*", "").Replace(script)
		const fillSQL = `SELECT outcrier.append($1, $2, $3::text::json, $2, jsonb_build_object($2::text, $2::text)), outcrier.append($1, $2, $3::text::json, $2, NULL, NULL, clock_timestamp() + interval '1 hour')`
		if _, err := db.Exec(t.Context(), fillSQL, topic, script, string(payload)); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(t.Context(), `INSERT INTO outcrier.event_type (type, title, description, payload_schema) VALUES ($1, $1, $1, jsonb_build_object('description', $1::text))`, script); err != nil {
			t.Fatal(err)
		}
		ssetest.Open(t, s.base+"/events?from=earliest&topic="+url.QueryEscape(topic)).Until("outcrier.live")
	}
	const recordSQL = `
INSERT INTO outcrier.stream (run, stream, node, subject, client_address, topics, types, history, from_position, from_set, position, position_set, position_at, events, last_event, opened_at, closed_at, end_reason)
SELECT 7, n, s, s, s, ARRAY['**'], '{}', history, '0.x', ROW('0', '{}', NULL, NULL, NULL)::outcrier.position_set, '1.x', ROW(pg_current_xact_id(), '{}', NULL, NULL, NULL)::outcrier.position_set, now(), 1, 1, now(), now(), s
FROM outcrier.history_id, unnest($1::text[]) WITH ORDINALITY AS u (s, n)`
	if _, err := db.Exec(t.Context(), recordSQL, scripts); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(t.Context(), `INSERT INTO outcrier.erasure (kind, pattern, events, reason, erased_by) SELECT 'erase', s, 1, s, s FROM unnest($1::text[]) AS s`, scripts); err != nil {
		t.Fatal(err)
	}
	owing := connect(t, database)
	if _, err := owing.Exec(t.Context(), `BEGIN`); err != nil {
		t.Fatal(err)
	}
	if _, err := owing.Exec(t.Context(), `INSERT INTO outbox (topic, type) VALUES ('a', '<img src=x onerror="globalThis.ran = 2">')`); err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprint(len(scripts))
	var types int
	if err := db.QueryRow(t.Context(), `SELECT count(*) FROM outcrier.event_type`).Scan(&types); err != nil {
		t.Fatal(err)
	}
	tab := newTab(t)
	desk.as(t, tab, s.base+"/admin")
	for _, view := range []struct{ place, ready string }{
		{"", `document.querySelectorAll('[data-testid=topics] li').length > 0 && document.querySelectorAll('[data-testid=pending] tbody tr').length > 0`},
		{"streams", `document.querySelectorAll('[data-testid=stream]').length === ` + all},
		{"history", `document.querySelectorAll('[data-testid=events] li').length === ` + all},
		{"history?text=" + url.QueryEscape(scripts[0]), `document.querySelector('[data-testid=sql]').textContent.includes('<script>')`},
		{"event/1", `document.querySelectorAll('[data-testid=receipt]').length === 1 + ` + all + ` && document.querySelectorAll('main h2').length > 2`},
		{"people", `document.querySelectorAll('[data-testid=person]').length === ` + all},
		{"people/" + url.PathEscape(scripts[1]), `document.querySelectorAll('[data-testid=sent]').length === ` + all},
		{"erased", `document.querySelectorAll('[data-testid=erasure]').length === ` + all},
		{"trends?by=topic", `document.querySelectorAll('[data-testid=trend] li').length > 5`},
		{"event/" + url.PathEscape(strings.ReplaceAll(scripts[1], "/", "")), `document.querySelector('.problem') !== null`},
		{"catalogue", fmt.Sprintf(`document.querySelectorAll('[data-testid=types] > li').length === %d`, types)},
		{"scheduled", `document.querySelectorAll('[data-testid=planned]').length === ` + all},
	} {
		load(t, tab, s.base+"/admin#/"+view.place)
		wait(t, tab, view.ready)
		if view.place == "catalogue" {
			press(t, tab, `[data-testid=types] > li:first-child [data-testid=edit]`)
			see(t, tab, `dialog[open]`)
		}
		ran, own := eval[any](t, tab, `globalThis.ran ?? null`), eval[int](t, tab, `document.querySelectorAll('body script, img, iframe, [onload], [onerror], [onfocus], [onmouseover], a[href^="javascript:"]').length`)
		if ran != nil || own != 0 {
			t.Errorf("%s: ran %v, and %d elements are not the page's own", view.place, ran, own)
		}
	}
	screenshot(t, tab, "admin-scripts-are-text")
	response, err := http.Get(s.base + "/admin")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if policy := response.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "require-trusted-types-for") {
		t.Errorf("the policy is %q", policy)
	}
}

// Who leaves a view in the midst of an answer to it has no answer, and no error.
func TestAdmin_AnswerCutShortIsNone(t *testing.T) {
	t.Parallel()
	s := start(t, "--database-url", outboxtest.URL(t))
	tab := newTab(t)
	desk.as(t, tab, s.base+"/admin")
	eval[chromedp.Void](t, tab, `import('/admin/static/api.js').then(async ({ read }) => {
		const real = fetch;
		const headers = new Headers({ 'Content-Type': 'application/json' });
		const never = (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
		const ask = (json, signal) => {
			fetch = async (url, { signal }) => ({ ok: true, status: 200, headers, json: () => json(signal) });
			const asked = read('streams', {}, signal).then((value) => 'answered ' + value, (err) => err.name + ' ' + err.status);
			fetch = real;
			return asked;
		};
		const view = new AbortController();
		setTimeout(() => view.abort(), 50);
		globalThis.said = [await ask(never, view.signal), await ask(() => Promise.reject(new TypeError('broken')), new AbortController().signal)];
	}); undefined`)
	wait(t, tab, `globalThis.said`)
	got, want := eval[[]string](t, tab, `said`), []string{"AbortError undefined", "Error 0"}
	if !slices.Equal(got, want) {
		t.Errorf("an answer that is cut short ends in %q, want %q", got, want)
	}
}

// Whatever was appended is indented at once: a payload of 1 MiB that opens and closes at
// every byte, one that was loaded by hand and nests without end, and a text as long.
func TestPage_IndentsWhateverIsAppended(t *testing.T) {
	t.Parallel()
	s := start(t, "--database-url", outboxtest.URL(t))
	tab := newTab(t)
	desk.as(t, tab, s.base+"/admin")
	eval[chromedp.Void](t, tab, `import('/admin/static/event.js').then(({ indented }) => {
		globalThis.said = [
			'{"a":[1,{},[ ],"]{"],"b":{"c":null}}',
			'[' + '[],'.repeat(349_000) + '0]',
			'['.repeat(9_998) + ']'.repeat(9_998),
			'"' + 'x'.repeat(1_000_000) + '"',
		].map((json) => {
			const text = indented(json);
			return text.length < 200 ? text : `+"`${text.length} ${text.replace(/\\s/g, '') === json}`"+`;
		});
	}).catch((err) => { globalThis.said = [String(err)]; }); undefined`)
	wait(t, tab, `globalThis.said`)
	got := eval[[]string](t, tab, `said`)
	want := []string{"{\n  \"a\": [\n    1,\n    {},\n    [],\n    \"]{\"\n  ],\n  \"b\": {\n    \"c\": null\n  }\n}", "2094007 true", "2591030 true", "1000002 true"}
	if !slices.Equal(got, want) {
		t.Errorf("indented are %.300q, want %.300q", got, want)
	}
}
