package outbox

import (
	"strconv"
	"time"

	"github.com/outcrier/outcrier/outbox/internal/database"
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
		database.ArrayLiteral(versions), database.ArrayLiteral(c.topics), database.ArrayLiteral(c.types), database.ArrayLiteral(c.payloads), database.ArrayLiteral(c.sources),
		orNone(c.headers, headers), orNone(c.keys, keys), orNone(c.due, due),
	}
}

// orNone returns NULL where no draft has a value, so that the append stays simple.
func orNone[T any](values []*T, texts []string) any {
	for _, v := range values {
		if v != nil {
			return database.ArrayLiteral(texts)
		}
	}
	return nil
}
