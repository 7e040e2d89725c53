package main

import (
	"strings"
	"testing"
)

func TestRun_SuggestsWhatWasMeant(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string // "" for no suggestion
	}{
		{[]string{"serv"}, `did you mean "serve"?`},
		{[]string{"sever"}, `did you mean "serve"?`},
		{[]string{"tial"}, `did you mean "tail"?`},
		{[]string{"catalog"}, `did you mean "catalogue"?`},
		{[]string{"catalogue", "lst"}, `did you mean one of "list", "set"?`},
		{[]string{"migrate", "stat"}, `did you mean "status"?`},
		{[]string{"serve", "--lisen", ":1"}, `did you mean "--listen"?`},
		{[]string{"serve", "--max-streams-per-prinicpal", "1"}, `did you mean "--max-streams-per-principal"?`},
		{[]string{"serve", "--jwks"}, `did you mean one of "--jwks-url", "--jwks-refresh", "--jwks-max-age"?`},
		{[]string{"tail", "--topics", "a"}, `did you mean "--topic"?`},
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

// A person who types it to undo one migration learns that only drop removes any.
func TestRun_SaysThatNoMigrationIsTakenBack(t *testing.T) {
	got := runWith(t, nil, "migrate", "down")
	if got.code != exitMistake || !strings.Contains(got.stderr, "there is no step back") || !strings.Contains(got.stderr, "drop removes the schema with all events") {
		t.Errorf("it ends with %d and says %q", got.code, got.stderr)
	}
}
