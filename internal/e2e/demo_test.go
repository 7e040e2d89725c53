package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// of is a selector within a person's desk.
func of(person, selector string) string {
	return fmt.Sprintf(`.pane[data-person=%s] %s`, person, selector)
}

func liveOf(person string) string { return of(person, `[data-testid=status][data-status=live]`) }

// openDesks opens the page with three people on it.
func openDesks(t *testing.T, tab context.Context, base string) {
	t.Helper()
	do(t, tab, chromedp.Navigate(base+"/"))
	for _, person := range []string{"ada", "rita", "tom"} {
		see(t, tab, liveOf(person))
	}
}

// wait waits for a JavaScript expression to be true.
func wait(t *testing.T, tab context.Context, expression string) {
	t.Helper()
	eventually(t, expression, func() bool { return eval[bool](t, tab, expression) })
}

func click(t *testing.T, tab context.Context, person, selector string) {
	t.Helper()
	see(t, tab, of(person, selector))
	eval[chromedp.Void](t, tab, fmt.Sprintf("document.querySelector(`%s`).scrollIntoView({block: 'center'})", of(person, selector)))
	do(t, tab, chromedp.Click(of(person, selector), chromedp.NodeVisible))
}

func fill(t *testing.T, tab context.Context, person, selector, text string) {
	t.Helper()
	eval[chromedp.Void](t, tab, fmt.Sprintf("document.querySelector(`%s`).scrollIntoView({block: 'center'})", of(person, selector)))
	do(t, tab, chromedp.SetValue(of(person, selector), text, chromedp.NodeVisible))
}

func textOf(t *testing.T, tab context.Context, selector string) string {
	t.Helper()
	return eval[string](t, tab, fmt.Sprintf("document.querySelector(`%s`).innerText", selector))
}

// TestDemo_SubmitApproveTrade has a purchase go from desk to desk, each of which
// hears of it by its own stream, and ends in the details of the trade.
func TestDemo_SubmitApproveTrade(t *testing.T) {
	s := start(t, "--database-url", outboxtest.URL(t))
	tab := newTab(t)
	sight{1440, 900, "light", "en"}.on(t, tab)
	openDesks(t, tab, s.base)
	fill(t, tab, "ada", `[data-testid=submit-title]`, "Winter blend")
	click(t, tab, "ada", `[data-testid=submit-button]`)
	see(t, tab, of("ada", `[data-testid=items] [data-status=submitted]`))
	click(t, tab, "rita", `[data-testid=queue] [data-testid=approve]`)
	see(t, tab, of("ada", `[data-testid=items] .chip[data-status=approved]`))
	see(t, tab, of("rita", `[data-testid=decided] [data-status=approved]`))
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
	see(t, tab, `dialog[open] pre`)
	if text := textOf(t, tab, `dialog pre`); !slices.Contains([]bool{true}, len(text) > 20) {
		t.Errorf("the details are %q", text)
	}
	screenshot(t, tab, "demo-details")
	do(t, tab, chromedp.Click(`[data-testid=close]`))
}

// TestDemo_LooksGood is all states, in each width, scheme and language.
func TestDemo_LooksGood(t *testing.T) {
	source := readAxe(t)
	s := start(t, "--database-url", outboxtest.URL(t))
	tab := newTab(t)
	all := func(state string) {
		t.Helper()
		for _, language := range []string{"en", "zh"} {
			if got := eval[string](t, tab, `document.documentElement.lang`); got[:2] != language {
				do(t, tab, chromedp.Click(`[data-testid=language]`))
			}
			for _, scheme := range []string{"light", "dark"} {
				for _, width := range []int64{390, 820, 1440} {
					l := sight{width, map[int64]int64{390: 844, 820: 1180, 1440: 900}[width], scheme, "en"}
					l.on(t, tab)
					l.language = language
					if width != 820 {
						accessible(t, tab, source, state+"-"+l.String())
					}
					screenshot(t, tab, "demo-"+state+"-"+l.String())
				}
				for _, width := range []int64{320, 360, 390, 700, 900, 1100, 1280, 1600} {
					sight{width, 900, scheme, "en"}.on(t, tab)
					if wide := eval[int](t, tab, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
						t.Errorf("%s in %s: it is %d px too wide for %d", state, language, wide, width)
					}
				}
			}
		}
		sight{1440, 900, "light", "en"}.on(t, tab)
	}
	sight{1440, 900, "light", "en"}.on(t, tab)
	openDesks(t, tab, s.base)
	all("empty")
	_ = strconv.Itoa
}
