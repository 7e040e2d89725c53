package outbox_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/outcrier/outcrier/outbox"
)

func TestPattern_IsCoveredOnlyWhenAllItsTopicsAre(t *testing.T) {
	for _, test := range []struct {
		asked   outbox.Pattern
		granted string
		want    bool
	}{
		{"user/42", "user/42", true},
		{"user/42", "user/43", false},
		{"user/42", "User/42", false},
		{"user/42", "", false},
		{"user/42", "user/*", true},
		{"user/42", "*/42", true},
		{"user/42", "user", false},
		{"user/42", "user/42/*", false},
		{"user/42", "user/42/**", true},
		{"user/42", "user/**", true},
		{"user/42", "**", true},
		{"user/*", "user/42", false},
		{"user/*", "user/*", true},
		{"user/*", "*/*", true},
		{"user/*", "*/42", false},
		{"user/*", "user/**", true},
		{"*/42", "user/*", false},
		{"*/42", "*/*", true},
		{"*", "**", true},
		{"*", "*/*", false},
		{"user/42/**", "user/42/**", true},
		{"user/42/**", "user/**", true},
		{"user/42/**", "user/*/**", true},
		{"user/42/**", "user/42", false},
		{"user/42/**", "user/42/*", false},
		{"user/42/**", "user/42/*/**", false}, // user/42 itself
		{"user/42/*/**", "user/42/**", true},
		{"user/**", "user/*/**", false},
		{"user/*/**", "user/**", true},
		{"user/*/**", "user/42/**", false},
		{"user/42/**", "user/421/**", false},
		{"**", "**", true},
		{"**", "*/**", true}, // a topic has a segment
		{"*/**", "**", true},
		{"**", "*", false},
		{"**", "*/*/**", false},
		{"**", "a/**", false},

		// Together.
		{"a/**", "a a/*/**", true},
		{"a/**", "a a/* a/*/*/**", true},
		{"a/**", "a a/*/*/**", false}, // a/x
		{"a/**", "a/* a/*/*/**", false},
		{"a/**", "a a/* a/*/*", false},
		{"a/**", "a a/b/** a/*/**", true},
		{"a/**", "a a/b/**", false},
		{"a/b/**", "a/* */b/*/**", true},
		{"**", "* */*/**", true},
		{"a/**", "a/** a/*/**", true},
		{"a/b/**", "a a/b/*/**", false}, // a/b
		{"**", "a/** */*/**", false},    // b
		{"**", "* a/* */*/**", true},
		{"a/*", "a/b a/c a/d", false},
		{"a/*", "a/b a/*", true},
		{"*/b", "a/b c/b", false},
	} {
		var granted []outbox.Pattern
		for text := range strings.FieldsSeq(test.granted) {
			granted = append(granted, outbox.Pattern(text))
		}
		for _, p := range append(granted, test.asked) {
			if _, err := outbox.ParsePattern(string(p)); err != nil {
				t.Error(err)
			}
		}
		if got := test.asked.CoveredBy(granted...); got != test.want {
			t.Errorf("%s covered by %s: %v", test.asked, granted, got)
		}
	}
}

// topicsTo are all topics of up to depth segments, each an a, a b, or a segment
// that no pattern below names.
func topicsTo(depth int) []string {
	all, last := []string(nil), []string{""}
	for range depth {
		var next []string
		for _, topic := range last {
			for _, segment := range []string{"a", "b", "x"} {
				next = append(next, strings.TrimPrefix(topic+"/"+segment, "/"))
			}
		}
		all, last = append(all, next...), next
	}
	return all
}

// uncovered finds a topic of p that is none of the granted, if there is one.
func uncovered(p outbox.Pattern, granted []outbox.Pattern, topics []string) (topic string, found bool) {
	i := slices.IndexFunc(topics, func(topic string) bool {
		return p.Match(topic) && !slices.ContainsFunc(granted, func(g outbox.Pattern) bool { return g.Match(topic) })
	})
	if i < 0 {
		return "", false
	}
	return topics[i], true
}

// Patterns of up to four segments differ, if at all, on a topic of at most five.
func TestPattern_IsCoveredAsEnumerationSays(t *testing.T) {
	topics := topicsTo(5)
	pattern := rapid.Custom(func(t *rapid.T) outbox.Pattern {
		segments := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*", "*"}), 0, 3).Draw(t, "segments")
		if len(segments) == 0 || rapid.Bool().Draw(t, "rest") {
			segments = append(segments, "**")
		}
		return outbox.Pattern(strings.Join(segments, "/"))
	})
	seen := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		asked, granted := pattern.Draw(t, "asked"), rapid.SliceOfN(pattern, 0, 6).Draw(t, "granted")
		topic, found := uncovered(asked, granted, topics)
		if got := asked.CoveredBy(granted...); got == found {
			t.Fatalf("%s covered by %s: %v, uncovered topic %q", asked, granted, got, topic)
		}
		seen[found]++
	})
	if seen[true] < 10 || seen[false] < 10 {
		t.Errorf("chance drew %d covered and %d not", seen[false], seen[true])
	}
}

// Every pattern of up to three segments by every two others: what chance might
// not meet.
func TestPattern_IsCoveredAsEnumerationSaysOfAllSmallOnes(t *testing.T) {
	topics := topicsTo(4)
	all, last := []outbox.Pattern{"**"}, []string{""}
	for depth := range 3 {
		var next []string
		for _, p := range last {
			for _, segment := range []string{"a", "*"} {
				next = append(next, strings.TrimPrefix(p+"/"+segment, "/"))
			}
		}
		for _, p := range next {
			all = append(all, outbox.Pattern(p))
			if depth < 2 {
				all = append(all, outbox.Pattern(p+"/**"))
			}
		}
		last = next
	}
	for _, asked := range all {
		for i, one := range all {
			for _, two := range all[:i+1] { // in one order, and the other below
				topic, found := uncovered(asked, []outbox.Pattern{one, two}, topics)
				if asked.CoveredBy(one, two) == found || asked.CoveredBy(two, one) == found {
					t.Errorf("%s covered by %s and %s: %v, uncovered topic %q", asked, one, two, !found, topic)
				}
			}
		}
	}
}

func FuzzPattern_CoveredBy(f *testing.F) {
	f.Add("a>", "a,a*>,b")
	f.Add(">", "*,**,***>")
	f.Add("a*b>", "*a*,a>,>")
	topics := topicsTo(6)
	// Every text is a pattern: a byte for a segment, and a final ">" for "**".
	decode := func(text string) outbox.Pattern {
		var segments []string
		for _, b := range []byte(text[:min(len(text), 4)]) {
			segments = append(segments, []string{"a", "b", "*"}[b%3])
		}
		if len(segments) == 0 || strings.HasSuffix(text, ">") {
			segments = append(segments, "**")
		}
		return outbox.Pattern(strings.Join(segments, "/"))
	}
	f.Fuzz(func(t *testing.T, asked, list string) {
		var granted []outbox.Pattern
		for text := range strings.SplitSeq(list, ",") {
			granted = append(granted, decode(text))
		}
		topic, found := uncovered(decode(asked), granted, topics)
		if got := decode(asked).CoveredBy(granted...); got == found {
			t.Fatalf("%s covered by %s: %v, uncovered topic %q", decode(asked), granted, got, topic)
		}
	})
}

// What a hostile client can ask of a large token: 256 patterns of 255 bytes, each
// read to its end for each of 256 granted ones that differ at the very end.
func BenchmarkPattern_CoveredByWorst(b *testing.B) {
	var asked, granted []outbox.Pattern
	for i := range 256 {
		deep := strings.Repeat("*/", 124)
		asked = append(asked, outbox.Pattern(fmt.Sprintf("%s%02x/**", deep, i)))
		granted = append(granted, outbox.Pattern(fmt.Sprintf("%sx%02x/**", deep[:246], i)))
	}
	for _, p := range slices.Concat(asked, granted) {
		if _, err := outbox.ParsePattern(string(p)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range asked {
			if p.CoveredBy(granted...) {
				b.Fatal("covered")
			}
		}
	}
}
