package database

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// What of a request gets into the audit is text that Postgres takes, of bounded
// length, and the same when it was that before.
func FuzzClean(f *testing.F) {
	f.Add("ann")
	f.Add("\x00\xff\ufffd" + strings.Repeat("é", 600))
	f.Fuzz(func(t *testing.T, text string) {
		got := Clean(text)
		if !utf8.ValidString(got) || strings.Contains(got, "\x00") || len(got) > 1000 {
			t.Fatalf("%q", got)
		}
		if utf8.ValidString(text) && !strings.Contains(text, "\x00") && len(text) <= 1000 && got != text {
			t.Fatalf("%q became %q", text, got)
		}
		if Clean(got) != got {
			t.Fatalf("%q, then %q", got, Clean(got))
		}
	})
}
