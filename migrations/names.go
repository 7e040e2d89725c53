package migrations

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
)

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

// identifier returns the schema's name as SQL has it.
func (m Migrations) identifier() string { return pgx.Identifier{m.schemaName()}.Sanitize() }

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
