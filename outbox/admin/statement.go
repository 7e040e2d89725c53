package admin

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/outcrier/outcrier/outbox"
)

// statement is SQL that is run with parameters, and shown to people with their
// values in it.
type statement struct {
	sql  strings.Builder
	args []any
}

// add appends SQL in which each ? stands for the next value.
func (s *statement) add(sql string, values ...any) {
	for part := range strings.SplitAfterSeq(sql, "?") {
		text, value := strings.CutSuffix(part, "?")
		s.sql.WriteString(text)
		if value {
			s.args = append(s.args, values[0])
			values = values[1:]
			s.sql.WriteString("$" + strconv.Itoa(len(s.args)))
		}
	}
}

// subject adds the condition that a subject is this one or, with a final "*", begins with the
// text before that; none for "".
func (s *statement) subject(subject string) {
	if prefix, ok := strings.CutSuffix(subject, "*"); ok {
		s.add(" AND subject >= ? AND starts_with(subject, ?)", prefix, prefix)
	} else if subject != "" {
		s.add(" AND subject = ?", subject)
	}
}

var parameter = regexp.MustCompile(`\$[0-9]+`)

// copied returns the statement for psql, on a schema. Its text is ours, so a $ in it is a
// parameter; the text of values is not searched for parameters.
func (s *statement) copied(schema outbox.Schema) string {
	return parameter.ReplaceAllStringFunc(schema.SQL(s.sql.String()), func(name string) string {
		n, _ := strconv.Atoi(name[1:]) // digits
		return literal(s.args[n-1])
	})
}

// literal writes a value as a constant of Postgres.
func literal(value any) string {
	switch v := value.(type) {
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case time.Time:
		return quote(v.UTC().Format("2006-01-02T15:04:05.999999Z07:00"))
	case string:
		return quote(v)
	}
	panic(fmt.Sprintf("no literal for %T", value)) // a statement of ours has no other
}

// quote writes a string constant that means the same whatever
// standard_conforming_strings is set to (Postgres manual, 4.1.2.2), as
// quote_literal does.
func quote(text string) string {
	quoted := "'" + strings.ReplaceAll(text, "'", "''") + "'"
	if strings.Contains(text, `\`) {
		return " E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// likeContains returns the pattern of LIKE that matches values that contain text.
func likeContains(text string) string {
	return "%" + likeLiteral.Replace(text) + "%"
}

var likeLiteral = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// plainText returns an error for a text that Postgres can't hold, or that is too long.
func plainText(name, text string, most int) error {
	switch {
	case len(text) > most:
		return fmt.Errorf("%s is %d bytes long, at most %d are allowed", name, len(text), most)
	case !utf8.ValidString(text):
		return errors.New(name + " is not valid UTF-8")
	case strings.Contains(text, "\x00"):
		return errors.New(name + " holds a NUL character, which no event can")
	}
	return nil
}
