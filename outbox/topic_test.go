package outbox_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/internal/database"
	"github.com/outcrier/outcrier/outbox/internal/sqltest"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

func TestPattern_Matches(t *testing.T) {
	for pattern, test := range map[outbox.Pattern]struct{ yes, no []string }{
		"user/42":    {[]string{"user/42"}, []string{"user", "user/4", "user/421", "user/42/a", "User/42", "a/user/42"}},
		"user/*":     {[]string{"user/42", "user/é"}, []string{"user", "user/42/a", "users/42"}},
		"*/42":       {[]string{"user/42"}, []string{"42", "user/42/42", "a/b/42"}},
		"user/**":    {[]string{"user", "user/42", "user/42/a"}, []string{"users", "users/42", "a/user"}},
		"user/*/**":  {[]string{"user/42", "user/42/a/b"}, []string{"user", "users/42"}},
		"*":          {[]string{"user"}, []string{"user/42"}},
		"**":         {[]string{"user", "user/42", "a/b/c/d"}, nil},
		"*/**":       {[]string{"user", "user/42"}, nil},
		"a.c/[x]+":   {[]string{"a.c/[x]+"}, []string{"abc/[x]+", "a.c/x", "a.c/xx"}},
		`back\slash`: {[]string{`back\slash`}, []string{"backslash", `back\\slash`}},
		"(a|b)/$^{}": {[]string{"(a|b)/$^{}"}, []string{"a/$^{}", "(a|b)/"}},
	} {
		if _, err := outbox.ParsePattern(string(pattern)); err != nil {
			t.Error(err)
		}
		for _, topic := range slices.Concat(test.yes, test.no) {
			if got, want := pattern.Match(topic), slices.Contains(test.yes, topic); got != want {
				t.Errorf("%s matches %s: %v", pattern, topic, got)
			}
		}
	}
}

func TestParsePattern_SaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "empty",
		"/":                        "empty segments",
		"/a":                       "empty segments",
		"a/":                       "empty segments",
		"a//b":                     "empty segments",
		"**/a":                     `only as the last segment`,
		"a/**/":                    `only as the last segment`,
		"a*":                       "whole segment",
		"a/b*c":                    "whole segment",
		"***":                      "whole segment",
		"a\nb":                     "control characters",
		"a\x00":                    "control characters",
		"a\u0085":                  "control characters",
		"a\x7f":                    "control characters",
		"a\xff":                    "UTF-8",
		strings.Repeat("a", 256):   "at most 255",
		strings.Repeat("é/", 80):   "empty segments",
		strings.Repeat("é", 128):   "at most 255",
		strings.Repeat("\xff", 99): "UTF-8",
	} {
		if _, err := outbox.ParsePattern(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want something about %s", text, err, want)
		}
	}
	if _, err := outbox.ParsePattern(strings.Repeat("a", 255)); err != nil {
		t.Error(err)
	}
}

var segment = rapid.SampledFrom([]string{"a", "b", "ab", "a.", `\`, "é", "$", "(a", "[^/]"})

func drawTopic(t *rapid.T) string {
	return strings.Join(rapid.SliceOfN(segment, 1, 4).Draw(t, "topic"), "/")
}

func drawPattern(t *rapid.T) outbox.Pattern {
	segments := rapid.SliceOfN(rapid.OneOf(segment, rapid.Just("*")), 0, 3).Draw(t, "pattern")
	if len(segments) == 0 || rapid.Bool().Draw(t, "rest") {
		segments = append(segments, "**")
	}
	return outbox.Pattern(strings.Join(segments, "/"))
}

func TestPattern_MatchesAsItsRegexpDoes(t *testing.T) {
	pool := outboxtest.New(t)
	rapid.Check(t, func(t *rapid.T) {
		pattern, topic := drawPattern(t), drawTopic(t)
		if parsed, err := outbox.ParsePattern(string(pattern)); parsed != pattern || err != nil {
			t.Fatalf("%s: %v", pattern, err)
		}
		want := pattern.Match(topic)
		if got := patternRegexp(pattern).MatchString(topic); got != want {
			t.Errorf("Go: %s ~ %s: %v, Match says %v", topic, patternRegexp(pattern), got, want)
		}
		low, high, bounded := pattern.Bounds()
		var got, like, within bool
		err := pool.QueryRow(t.Context(), `SELECT topic ~ $2, topic LIKE $3, topic >= $4 AND topic < $5
			FROM (SELECT $1::text COLLATE "C" AS topic) AS t`, topic, patternRegexp(pattern).String(), database.Like(pattern), low, high).Scan(&got, &like, &within)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("Postgres: %s ~ %s: %v, Match says %v", topic, patternRegexp(pattern), got, want)
		}
		if want && !like {
			t.Errorf("Postgres: %s is not LIKE %s, and Match says it is %s", topic, database.Like(pattern), pattern)
		}
		if want && bounded && !within {
			t.Errorf("Postgres: %s is not between %s and %s, and Match says it is %s", topic, low, high, pattern)
		}
	})
}

// patternRegexp is another way to write a pattern.
func patternRegexp(p outbox.Pattern) *regexp.Regexp {
	var b strings.Builder
	for i, segment := range strings.Split(string(p), "/") {
		if segment == "**" {
			if i == 0 {
				return regexp.MustCompile(`^.*$`)
			}
			b.WriteString("(/.*)?")
			continue
		}
		if i > 0 {
			b.WriteByte('/')
		}
		if segment == "*" {
			b.WriteString("[^/]+")
		} else {
			b.WriteString(regexp.QuoteMeta(segment))
		}
	}
	return regexp.MustCompile("^" + b.String() + "$")
}

func TestFilter_SelectsByTopicAndType(t *testing.T) {
	for name, test := range map[string]struct {
		filter outbox.Filter
		want   bool
	}{
		"no topics":                   {outbox.Filter{}, false},
		"no types":                    {outbox.Filter{Topics: []outbox.Pattern{"user/42"}}, true},
		"another topic":               {outbox.Filter{Topics: []outbox.Pattern{"user/43"}}, false},
		"the second topic":            {outbox.Filter{Topics: []outbox.Pattern{"user/43", "user/*"}}, true},
		"the type":                    {outbox.Filter{Topics: []outbox.Pattern{"**"}, Types: []string{"audit.approved"}}, true},
		"a prefix":                    {outbox.Filter{Topics: []outbox.Pattern{"**"}, Types: []string{"trade.*", "audit.*"}}, true},
		"every type":                  {outbox.Filter{Topics: []outbox.Pattern{"**"}, Types: []string{"*"}}, true},
		"another type":                {outbox.Filter{Topics: []outbox.Pattern{"**"}, Types: []string{"audit.rejected"}}, false},
		"a type that begins the same": {outbox.Filter{Topics: []outbox.Pattern{"**"}, Types: []string{"audit"}}, false},
	} {
		if got := test.filter.Match("user/42", "audit.approved"); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func FuzzParsePattern(f *testing.F) {
	for _, text := range []string{"a", "a/b", "*", "**", "a/*/**", "a//b", "a/", "***", "a\x00", "\xff", "a\u0085b", `\`, "("} {
		f.Add(text, "a/b")
	}
	f.Fuzz(func(t *testing.T, text, topic string) {
		p, err := outbox.ParsePattern(text)
		if err != nil {
			return
		}
		if string(p) != text || len(text) > 255 || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("%q is taken", text)
		}
		if p.Exact() && !p.Match(text) {
			t.Errorf("%q does not match itself", text)
		}
		re := patternRegexp(p)
		// Topics are patterns without "*".
		if _, err := outbox.ParsePattern(topic); err == nil && !strings.Contains(topic, "*") && re.MatchString(topic) != p.Match(topic) {
			t.Errorf("%q on %q: Match says %v, %s not", p, topic, p.Match(topic), re)
		}
	})
}

func FuzzParseType(f *testing.F) {
	for _, text := range []string{"", "a", "a.*", "*", "a*b", "a\n", "\xff", "a\u009f", strings.Repeat("é", 128)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := outbox.ParseType(text)
		valid := text != "" && len(text) <= 255 && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl) &&
			!strings.Contains(strings.TrimSuffix(text, "*"), "*")
		if valid != (err == nil) || valid && got != text || err != nil && !strings.Contains(err.Error(), "type") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	})
}

func TestSQLMatches_IsThePatterns(t *testing.T) {
	pool := outboxtest.New(t)
	segment := rapid.SampledFrom([]string{"a", "b", "ab", "é", "A", ".", "a.b", "a+", "[ab]", "(a|b)", `\`, `\a`, `\d`, "$", "^a", "{1}", "a?", "(?i)a", "%", "_", " "})
	topic := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(segment, 1, 4).Draw(t, "segments"), "/")
	})
	pattern := rapid.Custom(func(t *rapid.T) string {
		text := strings.Join(rapid.SliceOfN(rapid.OneOf(segment, rapid.Just("*")), 0, 4).Draw(t, "segments"), "/")
		if text == "" || rapid.Bool().Draw(t, "rest") {
			text = strings.TrimPrefix(text+"/**", "/")
		}
		return text
	})
	rapid.Check(t, func(r *rapid.T) {
		patterns := rapid.SliceOfN(pattern, 20, 20).Draw(r, "patterns")
		topics := rapid.SliceOfN(topic, 20, 20).Draw(r, "topics")
		got := sqltest.Ask[bool](t, pool, `SELECT outcrier.matches(topic, pattern) FROM unnest($1::text[]) WITH ORDINALITY AS p(pattern, i)
			CROSS JOIN unnest($2::text[]) WITH ORDINALITY AS t(topic, j) ORDER BY i, j`, patterns, topics)
		for i, text := range patterns {
			if _, err := outbox.ParsePattern(text); err != nil {
				r.Fatal(err)
			}
			for j, topic := range topics {
				if want := outbox.Pattern(text).Match(topic); got[i*len(topics)+j] != want {
					r.Fatalf("%s matches %s: SQL says %v, Go %v", text, topic, !want, want)
				}
			}
		}
	})
}
