package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// TestBrowser_KeepsOtherPagesOut signs in by cookie on a page that is allowed, and
// looks at what a page of another origin gets by that cookie. Both are of the same
// site, since ports don't count there: SameSite does not keep it out.
func TestBrowser_KeepsOtherPagesOut(t *testing.T) {
	t.Parallel()
	tab := newTab(t)
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>a page</title>")
	})
	friend, evil := httptest.NewServer(page), httptest.NewServer(page)
	defer friend.Close()
	defer evil.Close()
	database := outboxtest.URL(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("correct horse battery staple, 32 bytes and more"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startAs(t, "serve", "--dev", "--database-url", database, "--jwt-secret-file", secret, "--allow-origin", friend.URL)
	minted, err := exec.Command(binary(t), "token", "--jwt-secret-file", secret, "--subject", "ann", "--subscribe", "a", "--publish", "a").Output()
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(string(minted))
	db := connect(t, database)

	// What a page can try, as JavaScript that ends with a word.
	const script = `(async () => {
		const base = %[1]q, how = %[2]q;
		try {
			switch (how) {
			case 'sign in': return String((await fetch(base + '/session', {method: 'POST', credentials: 'include', headers: {Authorization: 'Bearer ' + %[3]q}})).status);
			case 'sign out': return String((await fetch(base + '/session', {method: 'DELETE', credentials: 'include'})).status);
			case 'poll': return await (await fetch(base + '/events?topic=a&wait=0&from=earliest', {credentials: 'include', headers: {Accept: 'application/json'}})).text();
			case 'append': return String((await fetch(base + '/events', {method: 'POST', credentials: 'include', headers: {'Content-Type': 'application/json'}, body: '{"topic":"a","type":"t"}'})).status);
			case 'append as text': return String((await fetch(base + '/events', {method: 'POST', mode: 'no-cors', credentials: 'include', body: '{"topic":"a","type":"t"}'})).type);
			case 'stream': return await new Promise((done) => {
				const stream = new EventSource(base + '/events?topic=a&from=earliest', {withCredentials: true});
				stream.addEventListener('secret', (e) => { stream.close(); done(e.data); });
				stream.onerror = () => { if (stream.readyState === EventSource.CLOSED) done('closed'); };
			});
			case 'socket': case 'socket by token': return await new Promise((done) => {
				const socket = new WebSocket(base.replace('http', 'ws') + '/events?topic=a&from=earliest', how === 'socket' ? [] : ['outcrier', 'bearer.' + %[3]q]);
				socket.onmessage = ({data}) => { if (JSON.parse(data).event.type === 'secret') { socket.close(); done(socket.protocol + data); } };
				socket.onclose = () => done('closed');
			});
			}
		} catch (err) { return err.name; }
	})()`
	try := func(how string) string {
		t.Helper()
		return eval[string](t, tab, fmt.Sprintf(script, s.base, how, token))
	}
	insert(t, db, "a", "secret", `"hunter2"`)

	do(t, tab, chromedp.Navigate(friend.URL))
	for _, step := range []struct{ how, want string }{{"poll", "401"}, {"socket", "closed"}, {"socket by token", `outcrier{"position":"`}, {"sign in", "204"}, {"poll", "hunter2"}, {"stream", "hunter2"}, {"socket", "hunter2"}, {"append", "201"}} {
		if got := try(step.how); !strings.Contains(got, step.want) {
			t.Errorf("the page that is allowed: %s: %s, want %s", step.how, got, step.want)
		}
	}
	do(t, tab, chromedp.Navigate(evil.URL))
	for _, step := range []struct{ how, want string }{{"poll", "TypeError"}, {"stream", "closed"}, {"socket", "closed"}, {"socket by token", "closed"}, {"append", "TypeError"}, {"append as text", "TypeError"}, {"sign in", "TypeError"}, {"sign out", "TypeError"}} {
		if got := try(step.how); got != step.want {
			t.Errorf("another page: %s: %s, want %s", step.how, got, step.want)
		}
	}
	if stored := len(rows(t, database, "a")); stored != 2 {
		t.Errorf("%d events are stored, want 2", stored)
	}
	do(t, tab, chromedp.Navigate(friend.URL))
	for _, step := range []struct{ how, want string }{{"poll", "hunter2"}, {"sign out", "204"}, {"poll", "401"}, {"stream", "closed"}, {"socket", "closed"}} {
		if got := try(step.how); !strings.Contains(got, step.want) {
			t.Errorf("the page that is allowed, again: %s: %s, want %s", step.how, got, step.want)
		}
	}
}
