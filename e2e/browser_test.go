package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/outcrier/outcrier/internal/testkit"
)

// newTab starts Chromium, which ends with the test, and returns its tab.
func newTab(t *testing.T) context.Context {
	t.Helper()
	program := testkit.Program(t, "chromium", "chromium-browser", "google-chrome")
	// chromedp's defaults: headless, a profile of its own, and no background
	// networking, sync or first run.
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true), chromedp.WindowSize(1280, 1000))
	// Not t.Context, which ends before Cleanup: first the tabs, then the browser.
	browser, closeBrowser := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(closeBrowser)
	return open(t, browser, chromedp.WithErrorf(t.Logf))
}

// newProfile is a tab in the same browser that shares nothing with the other.
func newProfile(t *testing.T, tab context.Context) context.Context {
	t.Helper()
	return open(t, tab, chromedp.WithNewBrowserContext())
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
	return tab
}

func do(t *testing.T, tab context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, testkit.Deadline)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// eval is the value of a JavaScript expression in a tab.
func eval[T any](t *testing.T, tab context.Context, expression string) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, testkit.Deadline)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%.200s: %v", expression, err)
	}
	return value
}

// see waits until an element is there.
func see(t *testing.T, tab context.Context, selector string) {
	t.Helper()
	testkit.Eventually(t, "the page shows "+selector, func() bool {
		return eval[bool](t, tab, "document.querySelector(`"+selector+"`) !== null")
	})
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

func use(t *testing.T, tab context.Context, selector, act string) {
	t.Helper()
	expression := fmt.Sprintf(`(() => {
		const element = document.querySelector(%s);
		if (!element || element.matches(':disabled')) return false;
		element.scrollIntoView({ block: 'center', behavior: 'instant' });
		const box = element.getClientRects()[0];
		if (!box || !element.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2))) return false;
		element.focus();
		%s;
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

// screenshot keeps a picture of the tab.
func screenshot(t *testing.T, tab context.Context, name string) {
	t.Helper()
	dir := os.Getenv("OUTCRIER_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	png, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}
