package outbox

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"
)

// Schema is the name of the schema that an outbox lives in: the value of --schema at
// migrate. The zero value is the default, "outcrier".
type Schema string

// DefaultSchema is the schema that our SQL is written for.
const DefaultSchema Schema = "outcrier"

// maxNameBytes is Postgres's limit on names (NAMEDATALEN - 1): it cuts longer ones.
const maxNameBytes = 63

// Check returns why the name can't be an outbox's schema, nil if it can. Names stand in
// constants of SQL too, and in the bodies of functions, where some characters would
// mean something else.
func (s Schema) Check() error {
	name := string(s.orDefault())
	switch {
	case len(name) > maxNameBytes:
		return fmt.Errorf("schema %q: %d bytes long, at most %d are allowed", cut(name, 100), len(name), maxNameBytes)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("schema %q: control characters and invalid UTF-8 are not allowed", name)
	case strings.ContainsAny(name, `'\%$`):
		return fmt.Errorf(`schema %q: "'", "\", "%%" and "$" are not allowed`, name)
	case strings.HasPrefix(name, "pg_"):
		return fmt.Errorf("schema %q: names that begin with pg_ are Postgres's own", name)
	case name == "public":
		return errors.New(`schema "public": the outbox needs a schema of its own`)
	}
	return nil
}

func (s Schema) orDefault() Schema {
	if s == "" {
		return DefaultSchema
	}
	return s
}

// named is the schema's name where SQL has it: before an object, or after SCHEMA.
var named = regexp.MustCompile(`\boutcrier\.[a-z_][a-z0-9_]*|\bSCHEMA (?:IF (?:NOT )?EXISTS )?outcrier\b`)

// settings and types of events have "outcrier." in their name whatever the schema.
var reserved = []string{"outcrier.notify", "outcrier.erased", "outcrier.redacted", "outcrier.reset", "outcrier.revocation"}

// rewritten are the queries of other schemas than the default one. Queries are
// constants, or put together from a few; maxRewritten bounds the rest.
var rewritten struct {
	sync.Map
	size atomic.Int64
}

type schemaQuery struct {
	schema Schema
	query  string
}

const maxRewritten = 10_000

// SQL returns a query that is written for the default schema ("SELECT … FROM
// outcrier.event") as it is for this one. The setting outcrier.notify and the
// reserved types of events, in quotes, stay. It panics for a name that Check refuses.
func (s Schema) SQL(query string) string {
	if s.orDefault() == DefaultSchema {
		return query
	}
	key := schemaQuery{s, query}
	if known, ok := rewritten.Load(key); ok {
		return known.(string)
	}
	text := s.rewrite(query)
	if rewritten.size.Add(1) <= maxRewritten {
		rewritten.Store(key, text)
	}
	return text
}

func (s Schema) rewrite(query string) string {
	if err := s.Check(); err != nil {
		panic(err) // a name that is not checked could inject SQL
	}
	quoted := `"` + strings.ReplaceAll(string(s), `"`, `""`) + `"`
	var text strings.Builder
	end := 0
	for _, at := range named.FindAllStringIndex(query, -1) {
		name := query[at[0]:at[1]]
		if isReserved(name, query[:at[0]], query[at[1]:]) {
			continue
		}
		text.WriteString(query[end:at[0]])
		if _, object, found := strings.Cut(name, "."); found {
			text.WriteString(quoted + "." + object)
		} else {
			text.WriteString(strings.TrimSuffix(name, string(DefaultSchema)) + quoted)
		}
		end = at[1]
	}
	text.WriteString(query[end:])
	return text.String()
}

// isReserved reports whether a name, between the SQL before and after it, is a setting's or
// a type's.
func isReserved(name, before, behind string) bool {
	for _, r := range reserved {
		if name == r {
			return strings.HasSuffix(before, "'") && strings.HasPrefix(behind, "'") ||
				strings.HasSuffix(before, "SET ") || strings.HasSuffix(before, "SET LOCAL ")
		}
	}
	return false
}
