package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/debugger"
	emulation "github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/outcrier/outcrier/internal/testkit"
)

// browser is one of those that the module is tested in. Its tabs share a profile.
type browser interface {
	open(t *testing.T, url string) tab
}

// tabs opens tabs of a browser, and keeps those that a situation has left for the next one: a new
// tab costs a process.
type tabs struct {
	browser
	left []tab
}

func (b *tabs) open(t *testing.T, url string) tab {
	t.Helper()
	last := len(b.left) - 1
	if last < 0 {
		return b.browser.open(t, url)
	}
	in := b.left[last]
	b.left = b.left[:last]
	in.navigate(t, url)
	return in
}

// tab is a page in a browser.
type tab interface {
	navigate(t *testing.T, url string)
	back(t *testing.T)
	// eval is the value of a JavaScript expression, awaited, as JSON.
	eval(t *testing.T, expression string) string
	// offline has the browser say that there is no network, and behave so.
	offline(t *testing.T, is bool)
	close(t *testing.T)
}

// value is what an expression in a tab gives.
func value[T any](t *testing.T, in tab, expression string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(in.eval(t, expression)), &v); err != nil {
		t.Fatalf("%.200s: %v", expression, err)
	}
	return v
}

// chromium is driven by chromedp. Its tabs last as long as t.
type chromium struct {
	t     *testing.T
	first context.Context
}

func newChromium(t *testing.T) chromium {
	t.Helper()
	return chromium{t, newTab(t)}
}

// newWholeChromium starts one that keeps pages for the way back, if that of all tests doesn't.
func newWholeChromium(t *testing.T) chromium {
	t.Helper()
	if testkit.Long() {
		return newChromium(t)
	}
	first, stop := startChromium(t, true)
	t.Cleanup(stop)
	return chromium{t, first}
}

func (c chromium) open(t *testing.T, url string) tab {
	t.Helper()
	tab := chromiumTab{open(c.t, c.first)}
	tab.navigate(t, url)
	return tab
}

type chromiumTab struct{ ctx context.Context }

func (c chromiumTab) navigate(t *testing.T, url string) {
	t.Helper()
	do(t, c.ctx, chromedp.Navigate(url))
}

func (c chromiumTab) back(t *testing.T) {
	t.Helper()
	// There is no load to wait for, if the page was kept.
	do(t, c.ctx, func(ctx context.Context, target *chromedp.Target) (none chromedp.Void, err error) {
		history, err := cdp.Call(ctx, target, page.GetNavigationHistory, cdp.Empty{})
		if err == nil {
			_, err = cdp.Call(ctx, target, page.NavigateToHistoryEntry, page.NavigateToHistoryEntryParams{EntryID: history.Entries[history.CurrentIndex-1].ID})
		}
		return none, err
	})
	testkit.Eventually(t, "the page is back", func() bool {
		path, err := chromedp.Run(c.ctx, chromedp.Evaluate[string]("location.pathname"))
		return err == nil && path == "/page"
	})
}

func (c chromiumTab) offline(t *testing.T, is bool) {
	t.Helper()
	do(t, c.ctx, func(ctx context.Context, target *chromedp.Target) (none chromedp.Void, err error) {
		conditions := &emulation.Conditions{Offline: is, DownloadThroughput: -1, UploadThroughput: -1}
		_, err = cdp.Call(ctx, target, emulation.EmulateNetworkConditionsByRule, emulation.EmulateNetworkConditionsByRuleParams{
			MatchedNetworkConditions: []*emulation.Conditions{conditions},
		})
		if err == nil {
			_, err = cdp.Call(ctx, target, emulation.OverrideNetworkState, emulation.OverrideNetworkStateParams{
				Offline: is, DownloadThroughput: -1, UploadThroughput: -1,
			})
		}
		return none, err
	})
}

func (c chromiumTab) eval(t *testing.T, expression string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, testkit.Deadline)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](fmt.Sprintf("(async () => JSON.stringify(await (%s)) ?? 'null')()", expression), chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%.200s: %v", expression, err)
	}
	return text
}

// pause has the page do nothing, as one that is busy, until resume.
func (c chromiumTab) pause(t *testing.T) (resume func()) {
	t.Helper()
	call(t, c.ctx, debugger.Enable, debugger.EnableParams{})
	c.eval(t, "void setTimeout(() => { debugger; })")
	return func() {
		t.Helper()
		call(t, c.ctx, debugger.Disable, cdp.Empty{})
	}
}

func (c chromiumTab) close(t *testing.T) {
	t.Helper()
	do(t, c.ctx, func(ctx context.Context, target *chromedp.Target) (none chromedp.Void, err error) {
		_, err = cdp.Call(ctx, target, page.Close, cdp.Empty{})
		return none, err
	})
}
