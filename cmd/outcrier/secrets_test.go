package main

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// answerOf is the status of a GET with a token, and the body.
func answerOf(t *testing.T, address, token string) (int, string) {
	t.Helper()
	return scrape(t, address, token)
}

// The database's password and the secret of tokens are in files, and change while the
// server runs: it reports the mistake while they don't fit, and recovers by itself.
func TestServe_SecretsInFilesAreReadAnew(t *testing.T) {
	database := outboxtest.URL(t)
	admin, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	role := "served_" + strings.ToLower(filepath.Base(t.TempDir())) + strings.ReplaceAll(time.Now().Format("050405.000000"), ".", "")
	exec := func(sql string) {
		t.Helper()
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE ROLE " + role + " LOGIN SUPERUSER PASSWORD 'one'")
	t.Cleanup(func() { _, _ = admin.Exec(context.Background(), "DROP ROLE "+role) })
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	as := func(password string) string { u.User = url.UserPassword(role, password); return u.String() + "\n" }
	folder := t.TempDir()
	urlFile, secretFile := filepath.Join(folder, "url"), filepath.Join(folder, "secret")
	writeFile(t, urlFile, as("one"))
	writeFile(t, secretFile, secret+"\n")
	s := serve(t, nil, "--database-url", "", "--database-url-file", urlFile, "--jwt-secret-file", secretFile)
	base := "http://" + s.address
	token := mint(t, auth.Claims{Subject: "ann", Subscribe: []outbox.Pattern{"a"}})
	const poll = "/events?topic=a&wait=0"
	asked := func(token string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+poll, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", "application/json")
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	if status := asked(token); status != 200 {
		t.Fatalf("at first: %d", status)
	}

	exec("ALTER ROLE " + role + " PASSWORD 'two'")
	exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '" + role + "'")
	eventually(t, func() bool {
		status, body := answerOf(t, base+"/readyz", "")
		return status == 503 && strings.Contains(body, "refuses the role or its password") && !strings.Contains(body, role)
	})
	writeFile(t, urlFile, as("two"))
	eventually(t, func() bool { status, _ := answerOf(t, base+"/readyz", ""); return status == 200 })
	eventually(t, func() bool { return asked(token) == 200 })

	const other = "another secret of 32 bytes and more, by and by"
	writeFile(t, secretFile, "short")
	eventually(t, func() bool { return strings.Contains(s.String(), "keys can't be read, the previous ones stay in use") })
	if status := asked(token); status != 200 {
		t.Errorf("with a file that is wrong: %d", status)
	}
	writeFile(t, secretFile, other)
	eventually(t, func() bool { return asked(token) == 401 })
	next := must(auth.Mint(must(auth.ParseSecret([]byte(other))), auth.Claims{Subject: "ann", Subscribe: []outbox.Pattern{"a"}}, time.Hour))
	eventually(t, func() bool { return asked(next) == 200 }) // 429 while it has asked too often
}

// What a person on call types withdraws a token that serve took a moment ago.
func TestTokenRevoke_WithdrawsATokenThatIsInUse(t *testing.T) {
	database := outboxtest.URL(t)
	environ := []string{"OUTCRIER_JWT_SECRET=" + secret, "DATABASE_URL=" + database}
	s := serve(t, environ, "--database-url", database)
	minted := func(args ...string) string {
		got := runWith(t, environ, append([]string{"token"}, args...)...)
		if got.code != 0 {
			t.Fatalf("%+v", got)
		}
		return strings.TrimSpace(got.stdout)
	}
	stolen := minted("--subject", "ann", "--admin", "metrics")
	if status, _ := answerOf(t, "http://"+s.address+"/metrics", stolen); status != 200 {
		t.Fatalf("before: %d", status)
	}
	if status, body := answerOf(t, "http://"+s.address+"/admin/api/overview", stolen); status != 403 || !strings.Contains(body, `"grants":["read"]`) {
		t.Errorf("the overview by a token for metrics: %d %s", status, body)
	}
	if got := runWith(t, environ, "token", "revoke", "--sub", "ann", "--reason", "laptop stolen", "--expires-within", "1h"); got.code != 0 || !strings.Contains(got.stdout, "revocation 1:") {
		t.Fatalf("%+v", got)
	}
	eventually(t, func() bool { status, _ := answerOf(t, "http://"+s.address+"/metrics", stolen); return status == 401 })
	if status, _ := answerOf(t, "http://"+s.address+"/metrics", minted("--subject", "ann", "--admin", "metrics")); status != 200 {
		t.Errorf("a token that was minted later: %d", status)
	}
	if got := runWith(t, environ, "token", "revoke", "--jti", "x", "--reason", " "); got.code != exitFailed || !strings.Contains(got.stderr, "needs a reason") {
		t.Errorf("%+v", got)
	}
}
