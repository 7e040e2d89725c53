package migrations

import (
	"embed"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
)

//go:embed 0*.sql
var files embed.FS

// chapter is one migration.
type chapter struct {
	version int64
	file    string
	// text is the file's statements with their comments, without goose's annotations.
	text string
}

// chapters lists the migrations in the order of their versions.
var chapters = func() []chapter {
	var all []chapter
	names, _ := fs.Glob(files, "0*.sql") // sorted; the pattern is valid
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			panic("migrations: the name of " + name + " does not begin with a number")
		}
		text, _ := files.ReadFile(name) // embedded
		all = append(all, chapter{version, name, withoutAnnotations(string(text))})
	}
	return all
}()

// Newest returns the version of the newest migration that this program has.
func Newest() int64 { return chapters[len(chapters)-1].version }

const annotation = "-- +goose "

func withoutAnnotations(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, annotation+"Down") {
			break
		}
		if !strings.HasPrefix(line, annotation) {
			b.WriteString(line)
		}
	}
	return strings.TrimSpace(b.String()) + "\n"
}

// made matches the objects that a migration makes in the schema.
var made = regexp.MustCompile(`(?m)^CREATE (?:OR REPLACE )?(?:TABLE|SEQUENCE|VIEW|FUNCTION|PROCEDURE|TYPE) outcrier\.(\w+)`)

// makes returns the name of the first object that the migration makes, "" for none. A
// migration is one transaction, so all of its objects exist when one does.
func (c chapter) makes() string {
	found := made.FindStringSubmatch(c.text)
	if found == nil {
		return ""
	}
	return found[1]
}

// statements returns the chapter's statements that match, in their order. A statement
// begins and ends at a line's ends, and its body is quoted by $$.
func (c chapter) statements(match *regexp.Regexp) []string {
	var found []string
	var statement strings.Builder
	quoted := false
	for line := range strings.Lines(c.text) {
		if statement.Len() == 0 && (strings.HasPrefix(line, "--") || strings.TrimSpace(line) == "") {
			continue
		}
		statement.WriteString(line)
		if strings.Count(line, "$$")%2 == 1 {
			quoted = !quoted
		}
		if !quoted && strings.HasSuffix(strings.TrimSpace(line), ";") {
			if match.MatchString(statement.String()) {
				found = append(found, statement.String())
			}
			statement.Reset()
		}
	}
	return found
}

// chosen returns the statements of all chapters that match.
func chosen(match *regexp.Regexp) (found []string) {
	for _, c := range chapters {
		found = append(found, c.statements(match)...)
	}
	return found
}

// rewritten serves the migrations with the names of a database, each of them beginning
// with the settings that it depends on.
type rewritten struct {
	fs.FS
	names
}

func (r rewritten) Open(name string) (fs.File, error) {
	file, err := r.FS.Open(name)
	if err != nil || path.Ext(name) != ".sql" {
		return file, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	first := fmt.Sprintf("%sUp\n%sStatementBegin\n%s%sStatementEnd\n", annotation, annotation, r.session(), annotation)
	return memoryFile{info, strings.NewReader(strings.Replace(r.rewrite(string(text)), annotation+"Up\n", first, 1))}, nil
}

// memoryFile is a file whose content was changed in memory.
type memoryFile struct {
	info fs.FileInfo
	*strings.Reader
}

func (f memoryFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f memoryFile) Close() error               { return nil }
