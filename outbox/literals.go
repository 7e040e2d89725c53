package outbox

import (
	"strconv"
	"strings"
	"time"
)

// literals returns appendSQL's arguments as text, which every driver passes on unchanged.
// Instead of NULL, whose meaning depends on the caller's array_nulls, they have the values
// that an append treats as missing.
func (c *columns) literals(passed []int64) []any {
	headers, keys, due := make([]string, len(c.headers)), make([]string, len(c.keys)), make([]string, len(c.due))
	for i := range c.topics {
		headers[i], due[i] = "null", "1970-01-01T00:00:00Z"
		if c.headers[i] != nil {
			headers[i] = *c.headers[i]
		}
		if c.keys[i] != nil {
			keys[i] = *c.keys[i]
		}
		if c.due[i] != nil {
			due[i] = c.due[i].UTC().Format(time.RFC3339Nano)
		}
	}
	versions := make([]string, len(passed))
	for i, version := range passed {
		versions[i] = strconv.FormatInt(version, 10)
	}
	return []any{
		arrayLiteral(versions), arrayLiteral(c.topics), arrayLiteral(c.types), arrayLiteral(c.payloads), arrayLiteral(c.sources),
		orNone(c.headers, headers), orNone(c.keys, keys), orNone(c.due, due),
	}
}

// orNone returns NULL where no draft has a value, so that the append stays simple.
func orNone[T any](values []*T, texts []string) any {
	for _, v := range values {
		if v != nil {
			return arrayLiteral(texts)
		}
	}
	return nil
}

// arrayLiteral writes texts as Postgres reads an array (manual, 8.15.6): each in
// quotes, so that none is NULL and nothing is stripped.
func arrayLiteral(texts []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, text := range texts {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		b.WriteString(arrayEscapes.Replace(text))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

var arrayEscapes = strings.NewReplacer(`"`, `\"`, `\`, `\\`)
