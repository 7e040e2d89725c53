package outbox_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/testkit"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// makeLogin makes a role with the password one, and returns the database's URL for it
// without a password, and what changes the password and ends the role's sessions.
func makeLogin(t *testing.T, database string) (role string, as func(password string) string, change func(password string)) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	role = "login_" + strings.ToLower(rand.Text()[:12])
	t.Cleanup(func() {
		if _, err := conn.Exec(context.Background(), "DROP ROLE "+role); err != nil {
			t.Error(err)
		}
		conn.Close(context.Background())
	})
	if _, err := conn.Exec(t.Context(), fmt.Sprintf("CREATE ROLE %s LOGIN SUPERUSER PASSWORD 'one'", role)); err != nil {
		t.Fatal(err)
	}
	as = func(password string) string {
		u, err := url.Parse(database)
		if err != nil {
			t.Fatal(err)
		}
		if u.User = url.User(role); password != "" {
			u.User = url.UserPassword(role, password)
		}
		return u.String()
	}
	change = func(password string) {
		if _, err := conn.Exec(t.Context(), fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", role, password)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1`, role); err != nil {
			t.Fatal(err)
		}
	}
	return role, as, change
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A password that changes is read by the pool's next connection and by a connection of
// the tail: from the file with the URL, and from the file of passwords or of services that the
// URL names. While it is wrong the pool says so, without it, and mends by itself.
func TestPool_ReadsAChangedPassword(t *testing.T) {
	database := outboxtest.URL(t)
	for _, from := range []string{"the file of the URL", "a file of passwords", "a file of services"} {
		t.Run(from, func(t *testing.T) {
			_, as, change := makeLogin(t, database)
			file := urlFile(t, "")
			source, set := outbox.FileURL(file), func(password string) { write(t, file, as(password)+"\n") }
			named := func(query string) string {
				if strings.Contains(as(""), "?") {
					return as("") + "&" + query + url.QueryEscape(file)
				}
				return as("") + "?" + query + url.QueryEscape(file)
			}
			switch from {
			case "a file of passwords":
				source, set = named("passfile="), func(password string) { write(t, file, "*:*:*:*:"+password+"\n") }
			case "a file of services":
				source, set = named("service=main&servicefile="), func(password string) { write(t, file, "[main]\npassword="+password+"\n") }
			}
			set("one")
			pool := outboxtest.Pool(t, source)
			asks := func() error {
				_, err := pool.Exec(t.Context(), `SELECT 1`)
				return err
			}
			if err := asks(); err != nil || outbox.PoolFault(t.Context(), pool) != nil {
				t.Fatal(err, outbox.PoolFault(t.Context(), pool))
			}
			change("two")
			testkit.Eventually(t, "the password of before is refused", func() bool { return asks() != nil && outbox.PoolFault(t.Context(), pool) != nil })
			if why, _ := outbox.Explain(outbox.PoolFault(t.Context(), pool)); !strings.Contains(why, "refuses the role or its password") {
				t.Errorf("the cause is %q", why)
			}
			if _, err := outbox.Connect(t.Context(), source); err == nil {
				t.Error("a connection with the old password")
			}
			set("two")
			// Nothing uses the pool, because the node is not ready: it finds out when
			// its state is read.
			testkit.Eventually(t, "the pool connects with the new password", func() bool { return outbox.PoolFault(t.Context(), pool) == nil })
			if err := asks(); err != nil {
				t.Error(err)
			}
			conn, err := outbox.Connect(t.Context(), source)
			if err != nil {
				t.Fatal(err)
			}
			conn.Close(context.Background())
			if from == "the file of the URL" {
				change("three") // which ends the session
				write(t, file, "")
				testkit.Eventually(t, "an empty file is a fault", func() bool { return asks() != nil && outbox.PoolFault(t.Context(), pool) != nil })
				if fault := outbox.PoolFault(t.Context(), pool); fault == nil || !strings.Contains(fault.Error(), "is empty") || strings.Contains(fault.Error(), "two") {
					t.Errorf("the fault is %v", fault)
				}
				set("three")
				testkit.Eventually(t, "the pool connects with the third password", func() bool { return asks() == nil && outbox.PoolFault(t.Context(), pool) == nil })
			}
		})
	}
}
