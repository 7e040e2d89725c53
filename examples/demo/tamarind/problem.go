package tamarind

import (
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Problem is why the business says no: the caller's doing, in words for the
// person at the screen. In JSON it is a problem document (RFC 9457). Any other
// error of this package is the system's fault, not the caller's.
type Problem struct {
	// Status is the HTTP status that fits: 400, 401, 403, 404, 409, 413, 422, 423
	// or 503.
	Status int
	// Detail is one sentence, fit to be shown as it is.
	Detail string
	// Code and Values are the same for those who have words of their own, as the
	// page has in other languages: Values are what Detail was made with, in order.
	Code   string
	Values []any
	// Field names the input at fault as in the JSON body; empty when it is
	// not about one.
	Field string
	// Told says that an event tells the same, so that a page need not.
	Told bool
}

func (p *Problem) Error() string { return p.Detail }

func problem(status int, code, format string, args ...any) *Problem {
	return &Problem{Status: status, Code: code, Values: args, Detail: fmt.Sprintf(format, args...)}
}

func invalid(field, code, format string, args ...any) *Problem {
	p := problem(http.StatusUnprocessableEntity, code, format, args...)
	p.Field = field
	return p
}

// line is text as one line of at most limit characters, without the space
// around it.
func line(field, text string, limit int) (string, error) {
	text = strings.TrimSpace(text)
	if n := utf8.RuneCountInString(text); n > limit {
		return "", invalid(field, "too_long", "The %s has %d characters; at most %d fit.", field, n, limit)
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		return "", invalid(field, "not_one_line", "The %s must be one line without control characters.", field)
	}
	return text, nil
}
