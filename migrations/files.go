package migrations

import (
	"cmp"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
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

// names are what a database calls the schema and the view.
type names struct {
	schema outbox.Schema
	// view is "schema"."name", quoted.
	view         string
	payloadLimit int
	// owner is the schema's, if it is another role than the session's: what a migration
	// makes is to be the owner's too.
	owner string
}

// session are the settings of a transaction that changes the schema.
func (n names) session() string {
	if n.owner == "" {
		return sessionSQL + lockTimeoutSQL
	}
	return sessionSQL + lockTimeoutSQL + "SET LOCAL ROLE " + pgx.Identifier{n.owner}.Sanitize() + ";\n"
}

// defaultView is how the migrations' text names the view.
const defaultView = "public.outbox"

var (
	viewInText  = regexp.MustCompile(`\bpublic\.outbox\b`)
	limitInText = regexp.MustCompile(`/\* payload limit \*/ \d+`)
	// What an append may have that needs no closer look.
	plainInText = regexp.MustCompile(`octet_length\(payload\) <= (\d+)`)
)

// rewrite puts the names into a migration's text.
func (n names) rewrite(text string) string {
	if n.view != defaultView && n.view != "" {
		text = viewInText.ReplaceAllLiteralString(text, n.view)
	}
	if n.payloadLimit != 0 && n.payloadLimit != DefaultPayloadLimit {
		text = limitInText.ReplaceAllLiteralString(text, fmt.Sprintf("/* payload limit */ %d", n.payloadLimit))
		text = plainInText.ReplaceAllStringFunc(text, func(plain string) string {
			if limit, _ := strconv.Atoi(plainInText.FindStringSubmatch(plain)[1]); limit <= n.payloadLimit {
				return plain
			}
			return fmt.Sprintf("octet_length(payload) <= %d", n.payloadLimit)
		})
	}
	return n.schema.SQL(text)
}

// schemaName returns the schema's name as the catalogue has it.
func (m Migrations) schemaName() string { return string(cmp.Or(m.Schema, outbox.DefaultSchema)) }

// checkNames reports a name that can't be the schema's or the view's.
func (m Migrations) checkNames() error {
	if err := m.Schema.Check(); err != nil {
		return err
	}
	return CheckView(m.Schema, m.Outbox)
}

// CheckView reports why the view can't have this name, as Migrations.Outbox has it.
func CheckView(schema outbox.Schema, view string) error {
	if view == "" {
		return nil
	}
	in, name := splitView(view)
	if in == "" && strings.Contains(view, ".") || !isName(name) || in != "" && !isName(in) {
		return fmt.Errorf(`view %q: want schema.name, each of 1 to 63 bytes, without control characters and '\%%$`, view)
	}
	if in == (Migrations{Schema: schema}).schemaName() {
		return fmt.Errorf("view %q: want another schema than Outcrier's own, which applications need not see", view)
	}
	return nil
}

// isName reports whether Postgres and the text of the migrations can take a name: it
// stands in string literals, and in the bodies of functions.
func isName(name string) bool {
	return name != "" && len(name) <= 63 && utf8.ValidString(name) && !strings.ContainsAny(name, `'\%$`) && !strings.ContainsFunc(name, unicode.IsControl)
}

// splitView splits the view's name at its last dot.
func splitView(outbox string) (schema, name string) {
	if at := strings.LastIndexByte(outbox, '.'); at >= 0 {
		return outbox[:at], outbox[at+1:]
	}
	return "", outbox
}

// viewName is the name in the form of names.view.
func viewName(schema, name string) string {
	if schema == "public" && name == "outbox" {
		return defaultView
	}
	return pgx.Identifier{schema, name}.Sanitize()
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

// sessionSQL makes a transaction depend on no setting of the role or the database.
const sessionSQL = `SET LOCAL transaction_read_only = off;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL search_path = '';
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL default_table_access_method = heap;
SET LOCAL row_security = off;
SET LOCAL "TimeZone" = 'UTC';
SET LOCAL "DateStyle" = 'ISO, YMD';
SET LOCAL "IntervalStyle" = postgres;
DO $$ BEGIN PERFORM set_config(name, '0', true) FROM pg_settings WHERE name = 'transaction_timeout'; END $$;
`

// lockTimeoutSQL is for goose. While a migration waits for a lock, writers wait for the
// migration.
var lockTimeoutSQL = fmt.Sprintf("SET LOCAL lock_timeout = '%dms';\n", lockTimeout.Milliseconds())
