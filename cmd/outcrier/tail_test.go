package main

import (
	"net/url"
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

// Where tail reads the database itself there is no server whose answer it could be.
func TestTail_NamesNoServerWhereThereIsNone(t *testing.T) {
	got := runWith(t, nil, "tail", "--database-url", outboxtest.URL(t), "--topic", "a", "--from", "3x")
	if got.code != exitFailed || !strings.Contains(got.stderr, `from="3x" is not known`) || strings.Contains(got.stderr, "server answers") {
		t.Errorf("it ends with %d and says %q", got.code, got.stderr)
	}
}
