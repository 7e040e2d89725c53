// Package units reads durations and sizes in the form that settings and requests share.
package units

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration reads a duration as Go writes it, with days of 24 hours in front where there are
// some: "90s", "7d", "1d12h".
func Duration(text string) (time.Duration, error) {
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

// Bytes reads a number of bytes: "65536", "512KiB", "4MiB", "1GiB".
func Bytes(text string) (int64, error) {
	digits, factor := text, int64(1)
	for suffix, bytes := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if rest, is := strings.CutSuffix(text, suffix); is {
			digits, factor = rest, bytes
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return 0, fmt.Errorf("not a number of bytes: %q", text)
	}
	return n * factor, nil
}
