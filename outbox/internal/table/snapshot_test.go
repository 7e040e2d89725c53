package table

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseSnapshot_ListsTransactionsInProgress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		xip := rapid.SliceOf(rapid.Uint64Range(1, math.MaxInt64)).Draw(t, "xip")
		text := fmt.Sprintf("3:%d:%s", uint64(math.MaxInt64), strings.Trim(strings.Join(strings.Fields(fmt.Sprint(xip)), ","), "[]"))
		got, err := ParseSnapshot(text)
		slices.Sort(xip)
		if err != nil || got.Min != 3 || got.Max != math.MaxInt64 || !slices.Equal(got.InProgress, xip) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	})
}

func FuzzParseSnapshot(f *testing.F) {
	for _, text := range []string{"", "3:3:", "3:9:4,5", "3:9:5,4", "1:2", "a:b:c", "1:2:-3", "1:2:99999999999999999999"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSnapshot(text)
		if err == nil && (strings.Count(text, ":") != 2 || !slices.IsSorted(s.InProgress)) {
			t.Errorf("%q is taken for %v", text, s)
		}
	})
}
