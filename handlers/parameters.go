package handlers

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// parameters parses the query, and refuses unknown parameters, and repeated ones unless they
// are lists. echo's own parser drops malformed ones.
func parameters(c echo.Context, known []string, lists ...string) (url.Values, error) {
	query, err := url.ParseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("the query is not well-formed: %w", err)
	}
	for name, values := range query {
		switch {
		case !slices.Contains(known, name) && len(known) == 0:
			return nil, wrong(name, "unknown query parameter %.100q; none is allowed", name)
		case !slices.Contains(known, name):
			return nil, wrong(name, "unknown query parameter %.100q; allowed are %s", name, strings.Join(known, ", "))
		case len(values) > 1 && !slices.Contains(lists, name):
			return nil, wrong(name, "query parameter %s is given %d times, allowed is once", name, len(values))
		}
	}
	return query, nil
}

// queryOf parses the query, and refuses unknown and repeated parameters.
func queryOf(c echo.Context, known ...string) (url.Values, error) {
	query, err := parameters(c, known)
	if err != nil {
		return nil, badRequest(err)
	}
	return query, nil
}

// choice reads a parameter that has two values; without it, it is the first of them.
func choice(query url.Values, name, first, second string) (isSecond bool, err error) {
	switch given := query.Get(name); given {
	case "", first:
		return false, nil
	case second:
		return true, nil
	default:
		return false, fault(http.StatusBadRequest, fmt.Sprintf("%s %.100q is not known; allowed are %s and %s", name, given, first, second))
	}
}

// whole parses a whole number that is not negative; 0 if the text is empty.
func whole(name, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, fault(http.StatusBadRequest, fmt.Sprintf("%s must be a whole number, not %.100q", name, text))
	}
	return n, nil
}

// wrong returns an error about a parameter.
func wrong(parameter, format string, values ...any) error {
	return about{fmt.Errorf(format, values...), parameter, ""}
}

// number parses a whole number within bounds.
func number(text string, otherwise, least, most int) (int, error) {
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("must be a whole number from %d to %d, not %.100q", least, most, text)
	}
	return n, nil
}

// boundedDuration parses a duration up to most; "0" needs no unit.
func boundedDuration(text string, otherwise, most time.Duration) (time.Duration, error) {
	if text == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > most {
		return 0, fmt.Errorf("must be a duration from 0 to %s, like 25s, not %.100q", most, text)
	}
	return d, nil
}

// moment parses a time; zero if the text is empty.
func moment(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := parseTime(text)
	if err != nil {
		return at, fault(http.StatusBadRequest, fmt.Sprintf("%s must be an RFC 3339 time like 2026-11-22T02:00:00Z, not %.100q", name, text))
	}
	return at, nil
}

// parseTime parses a time of RFC 3339. In a query "+" stands for a blank: in
// 2026-11-22T02:00:00+01:00 too, where nobody encoded it.
func parseTime(text string) (time.Time, error) {
	return time.Parse(time.RFC3339Nano, strings.Replace(text, " ", "+", 1))
}
