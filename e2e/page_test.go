package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

const live = `[data-testid=status][data-status=live]`

// TestPage_NeverMissesAnEvent watches Ada's page while Rita approves in a
// browser of her own, while the network is cut, and while the server is killed.
func TestPage_NeverMissesAnEvent(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	s := start(t, "--database-url", database, "--retry", "300ms")
	net := newNetwork(t, s.base)
	ada := newTab(t)
	rita := newTab(t)
	do(t, ada, chromedp.Navigate(net.base+"/p/ada"))
	do(t, rita, chromedp.Navigate(s.base+"/p/rita"))
	see(t, ada, live)
	see(t, rita, live)

	const title = "Über-Röstung <b>№ 1</b> 🎈"
	use(t, ada, `[data-testid=submit-title]`, "")
	do(t, ada, chromedp.KeyEvent(title)) // keys, as a person types
	press(t, ada, `[data-testid=submit-button]`)
	see(t, rita, `[data-testid=queue] [data-testid=approve]`)
	screenshot(t, rita, "1-rita-is-asked")
	press(t, rita, `[data-testid=approve]`)
	see(t, ada, `[data-testid=items] [data-status=approved]`)
	see(t, ada, `[data-testid=timeline] [data-type="audit.approved"]`)
	if got := eval[string](t, ada, `document.querySelector('[data-testid=items] strong').textContent`); got != title {
		t.Errorf("Ada's page shows the item as %q, want %q", got, title)
	}
	screenshot(t, ada, "2-ada-sees-the-approval")

	w := &watched{tab: ada, database: database, db: connect(t, database)}
	w.away(t, "3-network-cut", net.cut, net.breakUp, net.mend)
	do(t, ada, chromedp.Navigate(s.base+"/p/ada")) // nothing between
	see(t, ada, live)
	w.away(t, "4-server-killed", func() { s.kill() }, func(string) {}, func() { s.restart(t) })
}

// watched is a person's page, and what should stand on it.
type watched struct {
	tab      context.Context
	database string
	db       *pgx.Conn
}

// away cuts the page off, appends events that it misses, lets it back, and checks that
// its timeline shows them once, by id, after the events that it had. Once the last
// missed event is committed, notice is called with its id, and has the page notice that
// it is cut off.
func (w *watched) away(t *testing.T, name string, cut func(), notice func(id string), mend func()) {
	t.Helper()
	before := rows(t, w.database, "%")
	// A transaction that has appended before, and commits while the page is away.
	late, err := w.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	price(t, late.Conn(), "PEPPER")
	other := connect(t, w.database)
	shown := len(w.ids(t))
	price(t, other, "COCOA")
	seen := w.until(t, shown+1)

	cut()
	if err := late.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		price(t, other, "VANILLA")
		insert(t, other, "user/ada", "user.logged_in", `{"person":"ada","signed_in_at":"2026-11-22T02:00:00Z","failed_logins":0,"locked_until":null}`)
		insert(t, other, "user/bo", "user.logged_in", `{"person":"bo"}`)
	}
	price(t, other, "VANILLA")
	var missed []string
	for _, r := range rows(t, w.database, "%")[len(before):] {
		id := strconv.FormatInt(r.ID, 10)
		if (r.Topic == "user/ada" || strings.HasPrefix(r.Topic, "public/")) && !slices.Contains(seen, id) {
			missed = append(missed, id)
		}
	}
	notice(missed[len(missed)-1])
	wait(t, w.tab, fmt.Sprintf("document.querySelector(%s) === null", literal(t, live)))
	screenshot(t, w.tab, name)
	if got := w.ids(t); !slices.Equal(got, seen) {
		t.Errorf("%s: the page shows %v, want what it had, %v: it was not cut off", name, got, seen)
	}

	mend()
	see(t, w.tab, live)
	price(t, other, "COFFEE") // live again, and behind all others
	want := slices.Concat(seen, missed)
	got := w.until(t, len(want)+1)
	if got = got[:len(got)-1]; !slices.Equal(got, want) {
		t.Errorf("%s: the page shows\n%v, want\n%v", name, got, want)
	}
	if got := eval[string](t, w.tab, `document.querySelector('[data-testid=missed]').textContent`); got != strconv.Itoa(len(missed)) {
		t.Errorf("%s: the page says that %s were missed, want %d", name, got, len(missed))
	}
	if text := textOf(t, w.tab, `[data-testid=timeline]`); strings.Contains(text, "NaN") {
		t.Errorf("%s: the timeline has a time that is no number:\n%s", name, text)
	}
	screenshot(t, w.tab, name+"-and-back")
}

// ids are those on the timeline, in its order.
func (w *watched) ids(t *testing.T) []string {
	t.Helper()
	return eval[[]string](t, w.tab, `[...document.querySelectorAll('[data-testid=timeline] [data-id]')].map((li) => li.dataset.id)`)
}

// until waits for n entries on the timeline.
func (w *watched) until(t *testing.T, n int) (ids []string) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("the timeline has %d entries", n), func() bool {
		ids = w.ids(t)
		return len(ids) >= n
	})
	return ids
}

// price appends the event by which everyone learns of a new price.
func price(t *testing.T, db *pgx.Conn, symbol string) {
	t.Helper()
	const priceSQL = `
		WITH p AS (
			UPDATE demo_symbol SET previous_cents = price_cents, price_cents = price_cents + 1 WHERE symbol = $1
			RETURNING symbol, title, unit, price_cents, previous_cents
		)
		INSERT INTO outbox (topic, type, payload) SELECT 'public/prices', 'info.updated', row_to_json(p) FROM p`
	if _, err := db.Exec(t.Context(), priceSQL, symbol); err != nil {
		t.Fatal(err)
	}
}
