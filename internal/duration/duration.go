// Package duration reads durations in the form that settings and requests share.
package duration

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Parse reads a duration as Go writes it, with days of 24 hours in front where there are
// some: "90s", "7d", "1d12h".
func Parse(text string) (time.Duration, error) {
	days, rest, found := strings.Cut(text, "d")
	if !found {
		return time.ParseDuration(text)
	}
	n, err := strconv.ParseFloat(days, 64)
	if err != nil || n < 0 || !(n < float64(math.MaxInt64/(24*time.Hour))) || strings.ContainsAny(days, "+eExXpP_iInN") {
		return 0, fmt.Errorf("not a duration: %q", text)
	}
	d := time.Duration(n * float64(24*time.Hour))
	if rest == "" {
		return d, nil
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 || d+more < 0 {
		return 0, fmt.Errorf("not a duration: %q", text)
	}
	return d + more, nil
}
