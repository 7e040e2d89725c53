package orm

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of README.md")

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const begin, end = "<!-- table -->\n", "<!-- end of the table -->\n"

// compareTable compares the results with the table in README.md, or writes it there.
func compareTable(t *testing.T, results map[string]result) {
	t.Helper()
	var b strings.Builder
	b.WriteString("\n| stack | version | as `outcrier_writer` | as the owner | what it can't |\n|---|---|---|---|---|\n")
	for _, s := range stacks {
		r := results[s.folder]
		fmt.Fprintf(&b, "| [%s](%s) | %s | %s | %s | %s |\n", r.stack, s.folder, r.version,
			outcome(r.passed["writer"], r.skipped), outcome(r.passed["owner"], r.skipped), strings.Join(r.skipped, "; "))
	}
	b.WriteString("\n")
	text := readme(t)
	before, rest, found := strings.Cut(text, begin)
	table, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatal("README.md has no place for the table")
	}
	if withoutVersions(table) == withoutVersions(b.String()) {
		return
	}
	if !*update {
		t.Fatalf("the table of README.md is not what was seen; with -update it is written anew:\n%s", b.String())
	}
	if err := os.WriteFile("README.md", []byte(before+begin+b.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func outcome(passed int, skipped []string) string {
	if passed+len(skipped) == len(scenes) {
		return fmt.Sprintf("pass (%d)", passed)
	}
	return fmt.Sprintf("**%d of %d**", passed, len(scenes)-len(skipped))
}

// Versions are Debian's, or the newest that the lock files allow.
var version = regexp.MustCompile(`(?m)^(\| \[[^|]*\| )[^|]*\|`)

func withoutVersions(table string) string { return version.ReplaceAllString(table, "$1|") }
