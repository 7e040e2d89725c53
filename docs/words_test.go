package docs_test

import (
	"cmp"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// habits are phrases that make a comment slow to read, and how often each may be in the
// comments of Go code, tests included, per 1,000 words. Each has uses that are literally
// right, so none is forbidden. The comments of River, pgx, LiteFS, Mercure, Centrifuge, NATS
// and go-sse have at most 0.2 of each of the first three.
var habits = []struct {
	name    string
	pattern *regexp.Regexp
	most    float64
}{
	{`"what is …" in place of a noun`, regexp.MustCompile(`\b[Ww]hat (?:is|was|has|had|are|were|comes|came|it)\b`), 0.3},
	{`"tells whether" in place of "reports whether"`, regexp.MustCompile(`\b[Tt]ells? (?:whether|what|how|of)\b`), 0.1},
	// A stream that has not kept up is behind: that is a state, and does not count.
	{"whoever, nobody, anew, beside, behind, save", regexp.MustCompile(`\b(?:[Ww]hoever|[Nn]obody|[Aa]new|[Bb]eside|[Bb]ehind (?:an?|the|its?|them|that|this)|[Ss]ave)\b`), 0.3},
	{`"told" and "given" in place of "receives" or "position"`, regexp.MustCompile(`\b(?:[Tt]old|[Gg]iven)\b`), 0.3},
}

// TestComments_ReadPlainly: the comments keep to subject, verb and object.
func TestComments_ReadPlainly(t *testing.T) {
	words, found := 0, make([][]string, len(habits))
	for path, text := range comments(t) {
		words += len(strings.Fields(text))
		for i, habit := range habits {
			for _, at := range habit.pattern.FindAllStringIndex(text, -1) {
				around := text[max(0, at[0]-40):min(len(text), at[1]+40)]
				found[i] = append(found[i], fmt.Sprintf("%s: …%s…", path, strings.ToValidUTF8(around, "")))
			}
		}
	}
	if words < 60_000 {
		t.Fatalf("only %d words of comments were found", words)
	}
	for i, habit := range habits {
		if per := 1000 * float64(len(found[i])) / float64(words); per > habit.most {
			slices.SortFunc(found[i], func(a, b string) int { return cmp.Compare(a, b) })
			t.Errorf("%s: %.2f per 1,000 words of comments, at most %.2f are allowed:\n\t%s", habit.name, per, habit.most, strings.Join(found[i], "\n\t"))
		}
	}
}

// comments returns the comments of each Go file as one line.
func comments(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && (name == "node_modules" || name == "testdata" || path != ".." && strings.HasPrefix(name, ".")):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		var b strings.Builder
		for _, group := range parsed.Comments {
			b.WriteString(group.Text())
		}
		all[strings.TrimPrefix(filepath.ToSlash(path), "../")] = strings.Join(strings.Fields(b.String()), " ")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
