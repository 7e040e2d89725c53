package main

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// TestTail_EndsOnWhatWaitingDoesNotMend: with the remedy, and at once.
func TestTail_EndsOnWhatWaitingDoesNotMend(t *testing.T) {
	good := outboxtest.URL(t)
	pool := outboxtest.Pool(t, good)
	for _, statement := range []string{`CREATE DATABASE tail_unmigrated`, `CREATE ROLE tail_stranger LOGIN PASSWORD 'stranger'`} {
		if _, err := pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, statement := range []string{`DROP DATABASE tail_unmigrated`, `DROP ROLE tail_stranger`} {
			if _, err := pool.Exec(context.Background(), statement); err != nil {
				t.Error(err)
			}
		}
	})
	change := func(change func(*url.URL)) string {
		u, err := url.Parse(good)
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		return u.String()
	}
	for what, tt := range map[string]struct{ url, want string }{
		"no schema":      {change(func(u *url.URL) { u.Path = "/tail_unmigrated" }), "run outcrier migrate up"},
		"no database":    {change(func(u *url.URL) { u.Path = "/tail_none" }), "does not exist: create it, or correct the URL"},
		"wrong password": {change(func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "wrong") }), "refuses the role or its password"},
		"no right":       {change(func(u *url.URL) { u.User = url.UserPassword("tail_stranger", "stranger") }), "GRANT outcrier_server"},
	} {
		got := runWith(t, nil, "tail", "--database-url", tt.url)
		if got.code != exitFailed || !strings.Contains(got.stderr, tt.want) || strings.Contains(got.stderr, "wrong@") {
			t.Errorf("%s: it ends with %d: %s", what, got.code, got.stderr)
		}
	}
}

// What no server would take is a mistake in a setting, and all of them are named before anything runs.
func TestTail_MistakesAreNamedTogetherAndNothingRuns(t *testing.T) {
	got := runWith(t, nil, "tail", "--url", "http://127.0.0.1:1", "--topic", "a*", "--topic", "ok", "--type", "*.paid", "--from", "3x")
	if got.code != exitMistake || got.stdout != "" {
		t.Errorf("it ends with %d: %s", got.code, got.stdout)
	}
	for _, want := range []string{"3 settings are wrong", `--topic (OUTCRIER_TAIL_TOPIC)`, `"*" must be a whole segment`, `--type (OUTCRIER_TAIL_TYPE)`, `"*" is allowed only at the end`, `--from (OUTCRIER_TAIL_FROM)`, `from="3x" is not known`} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("it says %q, want %q in it", got.stderr, want)
		}
	}
	if got := runWith(t, nil, "tail", "--database-url", "postgres://127.0.0.1:1/none", "--topic", "a*"); got.code != exitMistake || !strings.Contains(got.stderr, `"*" must be a whole segment`) {
		t.Errorf("on a database it ends with %d: %s", got.code, got.stderr)
	}
	for _, from := range []string{"-1h", "last:0", "last:1001", "last:", "2026-11-22", "NOW"} {
		if got := runWith(t, nil, "tail", "--url", "http://127.0.0.1:1", "--from="+from); got.code != exitMistake {
			t.Errorf("--from=%s: it ends with %d: %s", from, got.code, got.stderr)
		}
	}
}

// Where tail reads the database itself there is no server whose answer it could be.
func TestTail_NamesNoServerWhereThereIsNone(t *testing.T) {
	topics := []string{"tail", "--database-url", outboxtest.URL(t)}
	for i := range 257 { // more than a node takes
		topics = append(topics, "--topic", "a/"+strconv.Itoa(i))
	}
	got := runWith(t, nil, topics...)
	if got.code != exitFailed || !strings.Contains(got.stderr, "257 topics or types, at most 256 are allowed") || strings.Contains(got.stderr, "server answers") {
		t.Errorf("it ends with %d and says %q", got.code, got.stderr)
	}
}
