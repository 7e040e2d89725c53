package e2e

import (
	"context"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// pictures returns the folder that keeps pictures of the pages; "" for none.
func pictures() string { return os.Getenv("OUTCRIER_SCREENSHOTS") }

// looks returns how a page is looked at: in few ways, and in every way where pictures are kept.
func looks(few ...look) []look {
	if pictures() == "" {
		return few
	}
	var all []look
	for _, language := range []string{"en", "zh"} {
		for _, scheme := range []string{"light", "dark"} {
			all = append(all, look{390, 844, scheme, language}, look{820, 1180, scheme, language}, look{1440, 900, scheme, language})
		}
	}
	return all
}

var unfit = regexp.MustCompile(`[^A-Za-z0-9]+`)

// screenshot keeps a picture of the whole page, where pictures are kept.
func screenshot(t *testing.T, tab context.Context, name string) {
	t.Helper()
	if pictures() == "" {
		return
	}
	// A frame more: the page may have been given another size just now.
	eval[chromedp.Void](t, tab, `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))`)
	png, err := chromedp.Run(tab, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(pictures(), strings.Trim(unfit.ReplaceAllString(name, "-"), "-")+".png"), png, 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}

// everyLook keeps pictures of the state that the admin page is in, in every look. ready is true
// when it is in that state again after a change of the language.
func everyLook(t *testing.T, tab context.Context, name, ready string) {
	t.Helper()
	for _, l := range looks() {
		if lang := eval[string](t, tab, `document.documentElement.lang`); lang[:2] != l.language {
			press(t, tab, `#language`)
		}
		wait(t, tab, ready)
		l.emulate(t, tab)
		fits(t, tab, name+" in "+l.String())
		screenshot(t, tab, name+"-"+l.String())
	}
	desk.emulate(t, tab)
	if lang := eval[string](t, tab, `document.documentElement.lang`); lang != "en" {
		press(t, tab, `#language`)
		wait(t, tab, ready)
	}
}

// fits fails for a page that scrolls sideways.
func fits(t *testing.T, tab context.Context, name string) {
	t.Helper()
	if wide := eval[int](t, tab, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
		t.Errorf("%s: the page is %d px too wide", name, wide)
	}
}

var ofLook = regexp.MustCompile(`^(.+)-(\d+-(?:light|dark)-(?:en|zh))\.png$`)

// sheet shows all pictures on one page, the looks of a state side by side.
var sheet = template.Must(template.New("sheet").Parse(`<!doctype html><meta charset="utf-8"><title>Outcrier's pages</title>
<style>body { font: 14px sans-serif; background: #888 } section { display: flex; gap: 1rem; align-items: start; overflow-x: auto } figure { margin: 0 } img { width: 22rem }</style>
{{range .}}<h2>{{.Name}}</h2><section>{{range .Files}}<figure><a href="{{.}}"><img loading="lazy" src="{{.}}" alt=""></a><figcaption>{{.}}</figcaption></figure>{{end}}</section>
{{end}}`))

// layOut writes index.html beside the pictures of a folder.
func layOut(folder string) error {
	if folder == "" {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.png"))
	if err != nil {
		return err
	}
	type group struct {
		Name  string
		Files []string
	}
	var groups []group
	for _, file := range files { // in the order of their names
		file = filepath.Base(file)
		name := strings.TrimSuffix(file, ".png")
		if found := ofLook.FindStringSubmatch(file); found != nil {
			name = found[1]
		}
		if len(groups) == 0 || groups[len(groups)-1].Name != name {
			groups = append(groups, group{Name: name})
		}
		last := &groups[len(groups)-1]
		last.Files = append(last.Files, file)
	}
	var page strings.Builder
	if err := sheet.Execute(&page, groups); err != nil {
		return fmt.Errorf("lay out the pictures: %w", err)
	}
	return os.WriteFile(filepath.Join(folder, "index.html"), []byte(page.String()), 0o644)
}
