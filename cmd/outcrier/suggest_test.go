package main

import (
	"strings"
	"testing"
)

func TestEdits_CountsWhatATypistDoes(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"listen", "listen", 0}, {"lisen", "listen", 1}, {"liisten", "listen", 1},
		{"listan", "listen", 1}, {"lsiten", "listen", 1}, {"trun", "turn", 1}, {"abcd", "dcba", 3},
	} {
		if got := edits(tt.a, tt.b); got != tt.want {
			t.Errorf("%q to %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestRun_SuggestsWhatWasMeant(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string // "" for no suggestion
	}{
		{[]string{"serv"}, "did you mean serve?"},
		{[]string{"sever"}, "did you mean serve?"},
		{[]string{"tial"}, "did you mean tail?"},
		{[]string{"catalog"}, "did you mean catalogue?"},
		{[]string{"catalogue", "lst"}, "did you mean list or set?"},
		{[]string{"migrate", "stat"}, "did you mean status?"},
		{[]string{"serve", "--lisen", ":1"}, "did you mean --listen?"},
		{[]string{"serve", "--max-streams-per-prinicpal", "1"}, "did you mean --max-streams-per-principal?"},
		{[]string{"serve", "--jwks"}, "did you mean --jwks-url?"},
		{[]string{"tail", "--topics", "a"}, "did you mean --topic?"},
		{[]string{"serve", "--zzzzzz"}, ""},
		{[]string{"frobnicate"}, ""},
	} {
		got := runWith(t, nil, tt.args...)
		if got.code != exitMistake {
			t.Errorf("%q ends with %d", tt.args, got.code)
		}
		if suggests := strings.Contains(got.stderr, "did you mean"); suggests != (tt.want != "") || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%q says %q, want %q", tt.args, got.stderr, tt.want)
		}
	}
}
