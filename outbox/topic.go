package outbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Pattern selects topics: a topic itself, or one with "*" for one segment or a final "**"
// for the rest, which may be empty. "user/42/**" is user/42 and all topics below it; "**"
// is all topics.
type Pattern string

const maxTopicBytes = 255

// ParsePattern checks what a client asks for. The limits are a topic's own, see
// Draft.
func ParsePattern(text string) (Pattern, error) {
	fault := func(what string) (Pattern, error) {
		return "", fmt.Errorf("topic %q: %s", cut(text, 100), what)
	}
	switch {
	case text == "":
		return "", errors.New("topic is empty")
	case len(text) > maxTopicBytes:
		return fault(fmt.Sprintf("%d bytes long, at most %d are allowed", len(text), maxTopicBytes))
	case !utf8.ValidString(text):
		return fault("not valid UTF-8")
	case strings.ContainsFunc(text, unicode.IsControl):
		return fault("control characters are not allowed")
	}
	for segment, rest := range segments(text) {
		switch {
		case segment == "":
			return fault(`empty segments are not allowed: no "/" at the start, the end, or doubled`)
		case segment == "**" && rest != "":
			return fault(`"**" is allowed only as the last segment`)
		case segment != "*" && segment != "**" && strings.Contains(segment, "*"):
			return fault(`"*" must be a whole segment`)
		}
	}
	return Pattern(text), nil
}

// segments yields each segment with what follows it, without the "/" between.
func segments(text string) func(yield func(segment, rest string) bool) {
	return func(yield func(string, string) bool) {
		for more := true; more; {
			var segment string
			segment, text, more = strings.Cut(text, "/")
			rest := text
			if more && rest == "" {
				rest = "/" // an empty last segment follows
			}
			if !yield(segment, rest) {
				return
			}
		}
	}
}

// Exact reports whether the pattern is one topic.
func (p Pattern) Exact() bool { return !strings.Contains(string(p), "*") }

// Match reports whether a topic is one of the pattern's.
func (p Pattern) Match(topic string) bool {
	pattern, more := string(p), true
	for more {
		var want, have string
		var topicMore bool
		want, pattern, more = strings.Cut(pattern, "/")
		if want == "**" {
			return true
		}
		have, topic, topicMore = strings.Cut(topic, "/")
		if want != "*" && want != have {
			return false
		}
		if !topicMore {
			return !more || pattern == "**"
		}
	}
	return false
}

// CoveredBy reports whether every topic of p is one of a granted pattern's; several may
// cover p together, as "user" and "user/*/**" cover "user/**". It is exact for topics of
// any length: it ignores that a topic has at most 255 bytes, so a pattern that is covered
// only because of this limit does not count as covered. All must be as ParsePattern
// returned them. It reads each granted pattern once, and allocates at most a slice of 129
// bools.
func (p Pattern) CoveredBy(granted ...Pattern) bool {
	// The patterns name finitely many segments, so p has a topic whose wildcards stand for
	// segments that no pattern names. Only wildcards match those, and wildcards match all
	// other segments too: a pattern that covers this topic covers all topics of its length.
	// "*" serves as such a segment, since no topic has it.
	prefix, open := strings.CutSuffix(string(p), "/**")
	if p == "**" {
		prefix, open = "", true
	}
	if !open {
		return slices.ContainsFunc(granted, func(g Pattern) bool { return g.Match(prefix) })
	}
	// It remains to cover every number of segments after the prefix: from 0 on, or from 1
	// where there is no prefix, since a topic has at least one segment.
	least := 0
	if prefix == "" {
		least = 1
	}
	const most = maxTopicBytes/2 + 1
	var exact [most + 1]bool // the numbers that a pattern without "**" covers
	from := most + 1         // the numbers from here on are covered
	for _, g := range granted {
		switch n, rest, ok := g.following(prefix); {
		case ok && rest:
			from = min(from, n)
		case ok && n <= most:
			exact[n] = true
		}
	}
	for from > least && from <= most && exact[from-1] {
		from--
	}
	return from <= least
}

// following returns how many segments, none of them named by p, must follow prefix in a topic
// of p: n, or with rest n or more; not ok if there is no such number. A "*" in prefix is a
// segment that p does not name.
func (p Pattern) following(prefix string) (n int, rest, ok bool) {
	pattern, more := string(p), true
	have, haveMore := "", prefix != ""
	for more {
		var want string
		want, pattern, more = strings.Cut(pattern, "/")
		if want == "**" {
			return n, true, true
		}
		if haveMore {
			have, prefix, haveMore = strings.Cut(prefix, "/")
		} else {
			have = "*"
			n++
		}
		if want != "*" && want != have {
			return 0, false, false
		}
	}
	return n, false, !haveMore
}

// Bounds returns a range of topics, in the order of bytes, that has all topics of the
// pattern: from low on and below high. A pattern that begins with "*" has none.
func (p Pattern) Bounds() (low, high string, bounded bool) {
	head, _, _ := strings.Cut(string(p), "*")
	if head == "" {
		return "", "", false
	}
	stem := strings.TrimSuffix(head, "/")
	if strings.HasSuffix(string(p), "/**") && len(p) == len(head)+2 {
		return stem, stem + "0", true // which follows "/"
	}
	return head, stem + "0", true
}

// Filter selects the events of one reader.
type Filter struct {
	// Topics are the selected topics. None selects nothing.
	Topics []Pattern
	// Types are the selected types, each exact or a prefix with a final "*"; none selects
	// all.
	Types []string
	// Since, when not zero, leaves older events out of a replay.
	Since time.Time
}

// Match reports whether an event on topic and of type kind is selected.
func (f Filter) Match(topic, kind string) bool {
	if !f.MatchType(kind) {
		return false
	}
	for _, p := range f.Topics {
		if p.Match(topic) {
			return true
		}
	}
	return false
}

// MatchType is Match for an event whose topic is known to be selected.
func (f Filter) MatchType(kind string) bool {
	for _, t := range f.Types {
		if prefix, ok := strings.CutSuffix(t, "*"); t == kind || ok && strings.HasPrefix(kind, prefix) {
			return true
		}
	}
	return len(f.Types) == 0
}

// ParseType checks a type that a client asks for: exact, or a prefix with a
// final "*".
func ParseType(text string) (string, error) {
	switch {
	case text == "":
		return "", errors.New("type is empty")
	case len(text) > maxTopicBytes:
		return "", fmt.Errorf("type %q: %d bytes long, at most %d are allowed", cut(text, 100), len(text), maxTopicBytes)
	case !utf8.ValidString(text):
		return "", fmt.Errorf("type %q: not valid UTF-8", cut(text, 100))
	case strings.ContainsFunc(text, unicode.IsControl):
		return "", fmt.Errorf("type %q: control characters are not allowed", cut(text, 100))
	case strings.Contains(text[:len(text)-1], "*"):
		return "", fmt.Errorf(`type %q: "*" is allowed only at the end`, cut(text, 100))
	}
	return text, nil
}

func cut(text string, n int) string {
	if len(text) > n {
		return text[:n] + "…"
	}
	return text
}
