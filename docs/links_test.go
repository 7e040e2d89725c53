package docs_test

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
	code = regexp.MustCompile("(?ms)^```.*?^```$|`[^`\n]+`")
	link = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	head = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// TestLinks_LeadSomewhere: to a file that is there, and a heading that it has.
func TestLinks_LeadSomewhere(t *testing.T) {
	links := 0
	for _, file := range documents(t) {
		for _, found := range link.FindAllStringSubmatch(code.ReplaceAllString(text(t, file), ""), -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			links++
			path := file
			if target != "" {
				path = filepath.Join(filepath.Dir(file), target)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s links to %s: %v", file, found[1], err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(text(t, path)), anchor) {
				t.Errorf("%s links to %s, and there is no such heading", file, found[1])
			}
		}
	}
	if links < 40 {
		t.Errorf("only %d links were found", links)
	}
}

// TestReadme_LinksEveryDocument: a document without a link is not found.
func TestReadme_LinksEveryDocument(t *testing.T) {
	all, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, readme := range []string{"../README.md", "../README.zh-CN.md"} {
		for _, file := range all {
			if !strings.Contains(text(t, readme), "(docs/"+file+")") {
				t.Errorf("%s does not link to %s", readme, file)
			}
		}
	}
}

// TestDecisions_AreListedAndHaveTheirParts: each page is in the index, and says which
// alternatives were considered and what would change the decision.
func TestDecisions_AreListedAndHaveTheirParts(t *testing.T) {
	pages, err := filepath.Glob("decisions/0*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no decisions: %v", err)
	}
	index := text(t, "decisions/README.md")
	for _, page := range pages {
		if !strings.Contains(index, "("+filepath.Base(page)+")") {
			t.Errorf("the index does not list %s", page)
		}
		for _, part := range []string{"**Status:**", "## The question", "## Considered", "## Chosen", "## What would change our mind"} {
			if !strings.Contains(text(t, page), part) {
				t.Errorf("%s has no %s", page, part)
			}
		}
	}
}

// TestReadme_IsTheSameInChinese: it has the same headings, links, and blocks of code.
func TestReadme_IsTheSameInChinese(t *testing.T) {
	english, chinese := text(t, "../README.md"), text(t, "../README.zh-CN.md")
	blocks := regexp.MustCompile("(?ms)^```(sh|js|sql|go|json)\n(.*?)^```$")
	comment := regexp.MustCompile(`(?m) +# .*$`)
	for what, parts := range map[string]func(string) []string{
		"headings": func(s string) (levels []string) {
			for _, h := range head.FindAllString(code.ReplaceAllString(s, ""), -1) {
				levels = append(levels, h[:strings.IndexByte(h, ' ')])
			}
			return levels
		},
		"blocks of code": func(s string) (all []string) {
			for _, block := range blocks.FindAllString(s, -1) {
				all = append(all, comment.ReplaceAllString(block, ""))
			}
			return all
		},
		"links": func(s string) (all []string) {
			for _, found := range link.FindAllStringSubmatch(code.ReplaceAllString(s, ""), -1) {
				if !strings.HasPrefix(found[1], "README") {
					all = append(all, found[1])
				}
			}
			slices.Sort(all) // sentences turn around
			return all
		},
		"rows of tables": func(s string) (all []string) {
			for _, row := range regexp.MustCompile(`(?m)^\|.*\|$`).FindAllString(s, -1) {
				all = append(all, strings.Repeat("|", strings.Count(row, "|")))
			}
			return all
		},
	} {
		if a, b := parts(english), parts(chinese); len(a) == 0 || !slices.Equal(a, b) {
			t.Errorf("%s differ:\n%q\n%q", what, a, b)
		}
	}
}

// anchors are what a document's headings are called, as GitHub does.
func anchors(document string) (all []string) {
	for _, h := range head.FindAllStringSubmatch(document, -1) {
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case strings.ContainsRune("`*.,:;!?()[]/'\"“”—&=+", r):
				return -1
			}
			return r
		}, strings.ToLower(h[1])))
	}
	return all
}

// documents are all of ours.
func documents(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && (name == "node_modules" || name != ".." && strings.HasPrefix(name, ".")):
			return fs.SkipDir
		case strings.HasSuffix(name, ".md"):
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func text(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
