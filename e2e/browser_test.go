package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	stdlog "log"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/css"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	traffic "github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"github.com/outcrier/outcrier/internal/testkit"
)

// one is the Chromium of all tests. The first that needs it starts it, and TestMain ends it.
var one struct {
	mu    sync.Mutex
	tab   context.Context
	close func()
}

// newTab opens a tab in a profile of its own, which shares nothing with other tabs. Both are gone
// when the test ends.
func newTab(t *testing.T) context.Context {
	t.Helper()
	return open(t, started(t), chromedp.WithNewBrowserContext())
}

// started returns a tab of the browser of all tests.
func started(t *testing.T) context.Context {
	t.Helper()
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.tab == nil || one.tab.Err() != nil {
		one.tab, one.close = startChromium(t, testkit.Long())
	}
	return one.tab
}

// startChromium starts Chromium, and returns a tab of it and what ends it. Unless the whole of it is
// asked for, that is the shell where it is installed: Chromium without its windows and what belongs to
// them. It costs less than half, and keeps no pages for the way back.
func startChromium(t *testing.T, whole bool) (tab context.Context, stop func()) {
	t.Helper()
	names := []string{"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"}
	if whole {
		names = append(names[1:], names[0])
	}
	program := testkit.Program(t, names...)
	// chromedp's defaults: headless, a profile of its own, and no background
	// networking, sync or first run. Of the features to disable the last is ours: a spare
	// process for the next page, which costs as much as one that is used.
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true), chromedp.WindowSize(1280, 1000),
		chromedp.Flag("disable-features", "Translate,BlinkGenPropertyTrees,SpareRendererForSitePerProcess"),
		chromedp.Flag("force-prefers-reduced-motion", true)) // pages that stand still are not drawn sixty times a second
	allocator, free := chromedp.NewExecAllocator(context.Background(), options...)
	tab, closeTab := chromedp.NewContext(allocator, chromedp.WithErrorf(stdlog.Printf))
	stop = func() { closeTab(); free() }
	if err := chromedp.Do(tab); err != nil { // the browser lives as long as this context
		stop()
		t.Fatal(err)
	}
	return tab, stop
}

// closeBrowser ends the browser, if there is one.
func closeBrowser() {
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.close != nil {
		one.close()
	}
}

func open(t *testing.T, parent context.Context, options ...chromedp.ContextOption) context.Context {
	t.Helper()
	tab, closeTab := chromedp.NewContext(parent, append(options, chromedp.WithListener(func(ev any) {
		switch e := ev.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("a script failed: %v", &chromedp.ExceptionError{ExceptionDetails: e.ExceptionDetails})
		case *log.EventEntryAdded:
			if e.Entry.Source == log.EntrySourceSecurity {
				t.Errorf("the browser refused something: %s", e.Entry.Text)
			}
		}
	}))...)
	t.Cleanup(closeTab)
	if err := chromedp.Do(tab); err != nil { // the tab lives as long as this context
		t.Fatal(err)
	}
	ignoreUnread(t, tab)
	// Tests run beside each other: each tab takes itself for the one that is looked at.
	call(t, tab, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	return tab
}

// ignoreUnread ends what chromedp asks of each tab and no test reads: to report changes of the
// document, all that is loaded, each event of a stream, and what other tabs do.
func ignoreUnread(t *testing.T, tab context.Context) {
	t.Helper()
	call(t, tab, css.Disable, cdp.Empty{})
	call(t, tab, dom.Disable, cdp.Empty{})
	call(t, tab, traffic.Disable, cdp.Empty{})
	call(t, tab, target.SetAutoAttach, target.SetAutoAttachParams{})
	call(t, tab, target.SetDiscoverTargets, target.SetDiscoverTargetsParams{})
}

func do(t *testing.T, tab context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, testkit.Deadline)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// load loads a page, also where the tab shows another view of it. A browser that only goes to another
// view loads nothing, and about:blank in between would cost a process for each of the two.
func load(t *testing.T, tab context.Context, address string) {
	t.Helper()
	page, _, _ := strings.Cut(address, "#")
	if on, _, _ := strings.Cut(eval[string](t, tab, `location.href`), "#"); on != page {
		do(t, tab, chromedp.Navigate(address))
		return
	}
	eval[chromedp.Void](t, tab, fmt.Sprintf(`history.replaceState(null, '', %s)`, literal(t, address)))
	do(t, tab, chromedp.Reload())
}

// eval is the value of a JavaScript expression in a tab, now: see wait for what is not there yet.
func eval[T any](t *testing.T, tab context.Context, expression string) T {
	t.Helper()
	value, err := evaluate[T](tab, expression)
	if err != nil {
		t.Fatalf("%.200s: %v", expression, err)
	}
	return value
}

func evaluate[T any](tab context.Context, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(tab, testkit.Deadline)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// wait waits until a JavaScript expression is true. What it looks at may not be there yet, or not
// any more while the page draws it anew: while the expression throws, it is not true.
func wait(t *testing.T, tab context.Context, expression string) {
	t.Helper()
	script := fmt.Sprintf(`(() => { try { return (%s) ? '' : 'it is not'; } catch (err) { return String(err); } })()`, expression)
	for began := time.Now(); ; testkit.Pause(began) {
		why, err := evaluate[string](tab, script)
		var mistake *chromedp.ExceptionError
		switch {
		case err == nil && why == "":
			return
		case errors.As(err, &mistake):
			t.Fatalf("%s: %v", expression, err)
		case err != nil:
			why = err.Error() // a page that gives way to another
		}
		if time.Since(began) > testkit.Deadline || tab.Err() != nil {
			t.Fatalf("not within %v: %s: %s", testkit.Deadline, expression, why)
		}
	}
}

// see waits until an element is there.
func see(t *testing.T, tab context.Context, selector string) {
	t.Helper()
	wait(t, tab, fmt.Sprintf("document.querySelector(%s) !== null", literal(t, selector)))
}

// textOf waits until an element is there, and returns its text.
func textOf(t *testing.T, tab context.Context, selector string) string {
	t.Helper()
	var text *string
	testkit.Eventually(t, "the page shows "+selector, func() bool {
		text = eval[*string](t, tab, fmt.Sprintf("document.querySelector(%s)?.innerText ?? null", literal(t, selector)))
		return text != nil
	})
	return *text
}

// press waits until a person could press an element, which nothing covers, and presses it
// in the same turn of the page's script: a page that draws it anew between the two would
// lose the click.
func press(t *testing.T, tab context.Context, selector string) {
	t.Helper()
	use(t, tab, selector, "element.click()")
}

// enter gives a field a text as if a person had typed it, and leaves the field.
func enter(t *testing.T, tab context.Context, selector, text string) {
	t.Helper()
	use(t, tab, selector, fmt.Sprintf(`element.value = %s;
		for (const name of ['input', 'change']) element.dispatchEvent(new Event(name, { bubbles: true }))`, literal(t, text)))
}

// use does so. What leads to another view of the page has led there when it returns: the address
// changes at once, and the view in a later turn, until when the one before could be used in vain.
func use(t *testing.T, tab context.Context, selector, act string) {
	t.Helper()
	expression := fmt.Sprintf(`(async () => {
		const element = document.querySelector(%s);
		if (!element || element.matches(':disabled')) return false;
		element.scrollIntoView({ block: 'center', behavior: 'instant' });
		const box = element.getClientRects()[0];
		if (!box || !element.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2))) return false;
		element.focus();
		const before = location.href;
		const led = new Promise((done) => addEventListener('hashchange', done, { once: true }));
		%s;
		if (location.href !== before) await led;
		return true;
	})()`, literal(t, selector), act)
	testkit.Eventually(t, "a person can use "+selector, func() bool { return eval[bool](t, tab, expression) })
}

// literal is a text as JavaScript writes it.
func literal(t *testing.T, text string) string {
	t.Helper()
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(quoted)
}
