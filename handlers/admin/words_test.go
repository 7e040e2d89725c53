package admin

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	entry = regexp.MustCompile(`(?m)^  (\w+): (['"].*['"]),$`)
	hole  = regexp.MustCompile(`\{\w+\}`)
	said  = regexp.MustCompile(`\bt\('(\w+)'`)
	// composed is a name that is put together, of a part that is known before or behind one
	// that is not.
	composed = regexp.MustCompile("`(\\w*)\\$\\{[^}]*\\}(\\w*)`")
)

var (
	pattern = regexp.MustCompile(`(?m)^  \[/(\^.*\$)/, '(.+)'\],$`)
	fault   = regexp.MustCompile(`fault\(http\.Status\w+, "([^"]+)"\)|Detail: "([^"]+)"|invalid\("([^"]+)"\)`)
)

// TestProblems_AreKnownInChinese: each sentence of the admin's API and of signing in that
// has no values in it is in Chinese too.
func TestProblems_AreKnownInChinese(t *testing.T) {
	source, err := fs.ReadFile(static, "static/problems.js")
	if err != nil {
		t.Fatal(err)
	}
	var known []*regexp.Regexp
	for _, found := range pattern.FindAllStringSubmatch(string(source), -1) {
		known = append(known, regexp.MustCompile(found[1]))
	}
	files, err := filepath.Glob("../admin*.go")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, "../session.go", "../body.go", "../../auth/refusal.go", "../../auth/session.go", "../../auth/auth.go", "../../auth/claims.go")
	sentences := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range fault.FindAllStringSubmatch(string(source), -1) {
			sentences++
			detail := found[1] + found[2] + found[3]
			if !slices.ContainsFunc(known, func(p *regexp.Regexp) bool { return p.MatchString(detail) }) {
				t.Errorf("%s: no Chinese for %q", file, detail)
			}
		}
	}
	if sentences < 20 || len(known) < 30 {
		t.Errorf("only %d sentences and %d patterns were found", sentences, len(known))
	}
}

// words are a language's sentences, by name.
func words(t *testing.T, file string) map[string]string {
	t.Helper()
	source, err := fs.ReadFile(static, file)
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]string{}
	for _, found := range entry.FindAllStringSubmatch(string(source), -1) {
		if _, twice := words[found[1]]; twice {
			t.Errorf("%s has %s twice", file, found[1])
		}
		words[found[1]] = found[2]
	}
	return words
}

// Each sentence is there in both languages, with the same values, and is said
// somewhere.
func TestWords_AreTheSameInBothLanguages(t *testing.T) {
	en, zh := words(t, "static/en.js"), words(t, "static/zh.js")
	if len(en) < 100 {
		t.Fatalf("only %d sentences were found", len(en))
	}
	for name, text := range en {
		other, ok := zh[name]
		if !ok {
			t.Errorf("%s is not in Chinese", name)
			continue
		}
		holes, others := hole.FindAllString(text, -1), hole.FindAllString(other, -1)
		slices.Sort(holes)
		slices.Sort(others)
		if !slices.Equal(holes, others) {
			t.Errorf("%s has the values %q in English, %q in Chinese", name, holes, others)
		}
	}
	for name := range zh {
		if _, ok := en[name]; !ok {
			t.Errorf("%s is not in English", name)
		}
	}
	var all strings.Builder
	files, err := fs.Glob(static, "static/*.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "static/page.html") {
		if file == "static/en.js" || file == "static/zh.js" {
			continue
		}
		source, err := fs.ReadFile(static, file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(source)
	}
	for _, found := range said.FindAllStringSubmatch(all.String(), -1) {
		if _, ok := en[found[1]]; !ok {
			t.Errorf("%s is said, and is no sentence", found[1])
		}
	}
	together := composed.FindAllStringSubmatch(all.String(), -1)
	for name := range en {
		if slices.ContainsFunc(together, func(parts []string) bool {
			return parts[1]+parts[2] != "" && strings.HasPrefix(name, parts[1]) && strings.HasSuffix(name, parts[2])
		}) {
			continue
		}
		if !strings.Contains(all.String(), `'`+name+`'`) && !strings.Contains(all.String(), `"`+name+`"`) {
			t.Errorf("%s is never said", name)
		}
	}
}
