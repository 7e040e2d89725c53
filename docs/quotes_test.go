package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestAppend_QuotesTheExamples holds each line of an ORM's blocks in append.md to the
// example that the section links to, so that what a reader copies is what the tests run.
func TestAppend_QuotesTheExamples(t *testing.T) {
	_, orms, found := strings.Cut(text(t, "append.md"), "\n## From an ORM\n")
	if !found {
		t.Fatal("there is no section on ORMs")
	}
	orms, _, _ = strings.Cut(orms, "\n## ")
	folder := regexp.MustCompile(`\]\((\.\./examples/orm/[a-z/]+)\)`)
	quoted := regexp.MustCompile("(?ms)^```(?:python|ruby|ts|prisma|go|java|php)\n(.*?)^```$")
	sections := strings.Split(orms, "\n### ")[1:]
	if len(sections) < 12 {
		t.Errorf("there are %d ORMs", len(sections))
	}
	for _, section := range sections {
		name, _, _ := strings.Cut(section, "\n")
		t.Run(name, func(t *testing.T) {
			var source strings.Builder
			for _, link := range folder.FindAllStringSubmatch(section, -1) {
				files, err := filepath.Glob(link[1] + "/*.*")
				deeper, _ := filepath.Glob(link[1] + "/*/*.p*") // a Django app has its models in a package
				if err != nil || len(files) == 0 {
					t.Fatalf("%s has no files: %v", link[1], err)
				}
				for _, file := range append(files, deeper...) {
					content, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					source.Write(content)
				}
			}
			blocks := quoted.FindAllStringSubmatch(section, -1)
			if len(blocks) == 0 {
				t.Error("nothing is quoted")
			}
			for _, block := range blocks {
				for line := range strings.Lines(block[1]) {
					if line = strings.TrimSpace(line); !strings.Contains(source.String(), line) {
						t.Errorf("not in the example: %s", line)
					}
				}
			}
		})
	}
}

// TestBridge_QuotesTheExamples holds each line of a recipe to the script that the tests run.
func TestBridge_QuotesTheExamples(t *testing.T) {
	scripts, err := filepath.Glob("../examples/bridge/*.sh")
	if err != nil || len(scripts) != 3 {
		t.Fatalf("the scripts are %q: %v", scripts, err)
	}
	document := text(t, "bridge.md")
	for _, script := range scripts {
		_, recipe, _ := strings.Cut(text(t, script), "\nexec ")
		if !strings.Contains(document, "```sh\nexec "+recipe+"```") {
			t.Errorf("bridge.md does not quote %s", script)
		}
	}
}
