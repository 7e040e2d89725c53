package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// gallery looks at the page of the demo in its states.
type gallery struct {
	tab context.Context
	axe axe
}

// state looks at a state in light and dark, in both languages and at each width, for
// findings of axe that are serious and for anything too wide. With screenshots to be
// kept it looks at all combinations, else at two extremes, or two pairs in make test-long.
func (g gallery) state(t *testing.T, name string) {
	t.Helper()
	few := []look{{390, 844, "dark", "en"}, {1440, 900, "light", "zh"}}
	if testkit.Long() {
		few = []look{{390, 844, "dark", "en"}, {1440, 900, "light", "en"}, {390, 844, "light", "zh"}, {1440, 900, "dark", "zh"}}
	}
	for _, l := range looks(few...) {
		if lang := eval[string](t, g.tab, `document.documentElement.lang`); lang[:2] != l.language {
			press(t, g.tab, `[data-testid=language]`)
		}
		l.emulate(t, g.tab)
		for _, width := range []int64{320, 360, 700, 1100, 1280, 1600, l.width} {
			resize(t, g.tab, width, l.height)
			fits(t, g.tab, fmt.Sprintf("%s in %s for %d px", name, l.language, width))
		}
		g.axe.check(t, g.tab, name+"-"+l.String())
		screenshot(t, g.tab, "demo-"+name+"-"+l.String())
	}
	wide.emulate(t, g.tab)
	press(t, g.tab, `[data-testid=language]`)
}

// TestDemo_IsReadableInAllStates looks at the desks with nothing on them, busy, cut
// off, caught up and locked out.
func TestDemo_IsReadableInAllStates(t *testing.T) {
	t.Parallel()
	database := outboxtest.URL(t)
	address, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	between := newNetwork(t, "http://"+address.Host) // the server and its Postgres
	address.Host = strings.TrimPrefix(between.base, "http://")
	s := start(t, "--database-url", address.String())
	db := connect(t, database)
	tab := newTab(t)
	g := gallery{tab, installAxe(t)}
	wide.emulate(t, tab)
	openDesks(t, tab, s.base)
	g.state(t, "empty")

	// A morning's work, by the API.
	post := func(person, path, body string) {
		t.Helper()
		response, err := http.Post(s.base+"/api/demo/people/"+person+"/"+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode >= 500 {
			t.Fatalf("%s %s: %s", person, path, response.Status)
		}
	}
	for i, wish := range []string{"Winter blend", "Dark 72 % couverture", "Pods for the pastry school", "Black pepper, whole, for the tasting menu of the third week", "Single origin, washed", "Truffle season", "Espresso for the corner bar"} {
		post("ada", "items", fmt.Sprintf(`{"title": %q, "symbol": %q, "quantity": %d}`, wish, []string{"COFFEE", "COCOA", "VANILLA", "PEPPER"}[i%4], 5+17*i))
	}
	post("bo", "items", `{"title": "Nibs for the granola people", "symbol": "COCOA", "quantity": 40}`)
	post("rita", "items/1/approve", `{"note": "Good price, go."}`)
	post("rita", "items/2/approve", "")
	post("rita", "items/3/reject", `{"note": "We still have plenty."}`)
	post("rita", "items/4/approve", "")
	post("tom", "items/1/trade", "")
	post("tom", "items/2/trade", "")
	post("tom", "sync", "")
	post("rita", "maintenance", `{"note": "Scales are calibrated", "starts_in": 3600, "lasts": 600}`)
	for range 3 {
		post("cleo", "login", `{"pin": "0000"}`)
	}
	post("ada", "login", `{"pin": "1815"}`)
	see(t, tab, of("ada", `[data-testid=account][data-state=in]`))
	see(t, tab, of("rita", `[data-testid=locked] [data-person=cleo]`))
	g.state(t, "busy")

	click(t, tab, "ada", `[data-testid=network]`)
	see(t, tab, of("ada", `[data-testid=status][data-status=cut]`))
	post("rita", "items/5/approve", "")
	post("rita", "items/6/reject", `{"note": "Ask again after the harvest."}`)
	post("tom", "items/5/trade", "")
	price(t, db, "VANILLA")
	g.state(t, "offline")
	click(t, tab, "ada", `[data-testid=network]`)
	see(t, tab, of("ada", `[data-testid=timeline] .caught-up`))
	g.state(t, "caught-up")

	post("ada", "logout", "")
	for range 3 {
		post("ada", "login", `{"pin": "0000"}`)
	}
	see(t, tab, of("ada", `.toast [data-action=contact_support]`))
	g.state(t, "locked")
	click(t, tab, "ada", `[data-testid=timeline] [data-type="account.locked"] .id`)
	see(t, tab, `dialog[open]`)
	g.axe.check(t, tab, "details")
	for _, l := range looks() {
		l.emulate(t, tab)
		screenshot(t, tab, fmt.Sprintf("demo-details-%d-%s", l.width, l.scheme))
	}
	press(t, tab, `[data-testid=close]`)
	if pictures() != "" {
		post("rita", "maintenance", `{"note": "The market rests", "starts_in": 5, "lasts": 3600}`)
		see(t, tab, of("ada", `[data-testid=maintenance] [data-state=started]`))
		click(t, tab, "rita", `[data-testid=maintenance-button]`) // without a duration, and then with a wrong one
		fill(t, tab, "rita", `[data-testid=maintenance-starts]`, "1")
		click(t, tab, "ada", `[data-testid=submit-button]`)
		see(t, tab, of("ada", `[data-testid=submit-title][aria-invalid]`))
		g.state(t, "maintenance-and-mistakes")
		between.shut()
		fill(t, tab, "ada", `[data-testid=submit-title]`, "Too late")
		click(t, tab, "ada", `[data-testid=submit-button]`)
		see(t, tab, of("ada", `.toast[data-severity=error]`))
		g.state(t, "database-down")
		do(t, tab, chromedp.Reload())
		see(t, tab, `.nobody h1`)
		screenshot(t, tab, "demo-no-page-without-a-database")
		between.mend()
		openDesks(t, tab, s.base)
		s.kill()
		see(t, tab, of("ada", `[data-testid=status][data-status=waiting]`))
		g.state(t, "server-down")
		s.restart(t)
	}
	wide.emulate(t, tab)
	do(t, tab, chromedp.Navigate(s.base+"/p/rita"))
	see(t, tab, live)
	g.state(t, "alone")
	if pictures() != "" {
		do(t, tab, chromedp.Navigate(s.base+"/p/nobody-of-that-name"))
		for _, l := range looks() {
			l.emulate(t, tab)
			screenshot(t, tab, fmt.Sprintf("demo-nobody-%d-%s", l.width, l.scheme))
		}
	}
}
