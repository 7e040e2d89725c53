// Package docs holds the documents to the code.
package docs

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
	named    = regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`")
	declared = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z]\w*)\(`)
)

// What several places tell alike is the same in each.
func TestDocuments_AgreeWithEachOther(t *testing.T) {
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	reliability := read("reliability.md")
	_, deploy, _ := strings.Cut(reliability, "## Drain and deploy")
	shipped := read("../deploy/systemd/outcrier.service") + read("../deploy/kubernetes/deployment.yaml")
	snippet := regexp.MustCompile(`(?m)^    .+$`).FindAllString(deploy, -1)
	if len(snippet) < 8 {
		t.Errorf("only %q are shown", snippet)
	}
	for _, line := range snippet {
		if !strings.Contains(shipped, strings.TrimSpace(line)+"\n") {
			t.Errorf("reliability.md shows %q, which is not what we ship", line)
		}
	}
	// Each reason for which a stream can end is in the metrics' table.
	_, reasons, _ := strings.Cut(read("client.md"), "the server is about to end the stream: ")
	reasons, _, _ = strings.Cut(reasons, ". ")
	found := regexp.MustCompile("`\\w+`").FindAllString(reasons, -1)
	if len(found) < 8 {
		t.Errorf("client.md has only the reasons %q", found)
	}
	for _, reason := range found {
		turnedAway := slices.Contains([]string{"`too_many`", "`too_fast`", "`keys_unavailable`", "`unavailable`"}, reason)
		if !turnedAway && !regexp.MustCompile("outcrier_streams_ended_total.*"+reason).MatchString(read("metrics.md")) {
			t.Errorf("metrics.md lacks the reason %s", reason)
		}
	}
	_, shared, _ := strings.Cut(read("../handlers/openapi.yaml"), "Pages of the origins in")
	shared, _, _ = strings.Cut(shared, ";")
	for _, path := range regexp.MustCompile(`(?m)^\t"(/\w+)": `).FindAllStringSubmatch(read("../handlers/origin.go"), -1) {
		if !strings.Contains(shared, "`"+path[1]+"`") {
			t.Errorf("openapi.yaml does not say that %s is shared with other origins", path[1])
		}
	}
}

// Every test that a document names is there, and every attack has one.
func TestAttacks_EachNamesATestThatThereIs(t *testing.T) {
	tests := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && (name == "node_modules" || name != ".." && strings.HasPrefix(name, ".")):
			return fs.SkipDir
		case strings.HasSuffix(name, "_test.go"):
			source, err := os.ReadFile(path)
			for _, found := range declared.FindAllStringSubmatch(string(source), -1) {
				tests[found[1]] = true
			}
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	documents, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	attacks := 0
	for _, document := range documents {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			names := named.FindAllStringSubmatch(line, -1)
			for _, name := range names {
				if !tests[name[1]] {
					t.Errorf("%s names %s, which is no test", document, name[1])
				}
			}
			row := strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| attack |")
			if document == "attacks.md" && row {
				attacks++
				if len(names) == 0 {
					t.Errorf("no test: %s", line)
				}
			}
		}
	}
	if attacks < 40 {
		t.Errorf("%d attacks are told of, want 40 at least", attacks)
	}
	for name := range tests {
		if strings.HasPrefix(name, "Fuzz") && !strings.Contains(string(must(os.ReadFile("attacks.md"))), "`"+name+"`") && !internal[name] {
			t.Errorf("attacks.md does not name %s", name)
		}
	}
}

// internal are fuzz targets of what no attacker reaches.
var internal = map[string]bool{"FuzzParseSnapshot": true, "FuzzParseType": true}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
