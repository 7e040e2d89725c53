package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestWorkflows_CallTheMakefile: a forge runs what anybody can run, on the Go of go.mod,
// and no action that can change under its name.
func TestWorkflows_CallTheMakefile(t *testing.T) {
	makefile := text(t, "../Makefile")
	files, err := filepath.Glob("../.github/workflows/*.yml")
	if err != nil || len(files) < 2 {
		t.Fatalf("workflows are %q: %v", files, err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(text(t, "../go.mod"))[1]
	pinned := regexp.MustCompile(`^[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	targets := 0
	for _, file := range files {
		workflow := text(t, file)
		for _, step := range regexp.MustCompile(`run: make ([a-z-]+)`).FindAllStringSubmatch(workflow, -1) {
			targets++
			if !regexp.MustCompile(`(?m)^` + step[1] + `:`).MatchString(makefile) {
				t.Errorf("%s runs make %s, which is no target", file, step[1])
			}
		}
		for _, action := range regexp.MustCompile(`uses: (.*)`).FindAllStringSubmatch(workflow, -1) {
			if !pinned.MatchString(action[1]) {
				t.Errorf("%s uses %s: want a commit, and its version behind it", file, action[1])
			}
		}
		for _, of := range regexp.MustCompile(`(?:go-version: '|golang:)(\d+\.\d+)`).FindAllStringSubmatch(workflow, -1) {
			if of[1] != version {
				t.Errorf("%s has Go %s, go.mod %s", file, of[1], version)
			}
		}
	}
	if targets < 8 {
		t.Errorf("only %d targets are run", targets)
	}
	for line := range strings.Lines(text(t, "../.github/CODEOWNERS")) {
		path, _, _ := strings.Cut(line, " ")
		if !strings.HasPrefix(path, "/") {
			continue
		}
		if _, err := os.Stat("../" + path); err != nil {
			t.Errorf("CODEOWNERS: %v", err)
		}
	}
}
