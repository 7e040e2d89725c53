package append

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox/outboxtest"
)

// All examples leave the same behind.
const wantSQL = `
SELECT coalesce(string_agg(concat_ws(' ', topic, type, payload, dedup_key), E'\n' ORDER BY id), '') FROM outcrier.event WHERE topic <> ''
UNION ALL SELECT coalesce(string_agg(concat_ws(' ', topic, type, dedup_key, deliver_at > now() + interval '23 hours'), E'\n'), '') FROM outcrier.scheduled
UNION ALL SELECT coalesce(string_agg(concat_ws(' ', id, customer), E'\n'), '') FROM orders`

func TestExamples(t *testing.T) {
	for name, example := range map[string]struct {
		command []string
		// ready is a command that succeeds when the program and its driver are installed.
		ready  []string
		scheme string
	}{
		"go":     {command: []string{"go", "run", "./go"}},
		"python": {command: []string{python(), "python/append.py"}, ready: []string{python(), "-c", "import psycopg"}},
		"node":   {command: []string{"node", "node/append.mjs"}, ready: []string{"npm", "--version"}},
		"ruby":   {command: []string{"ruby", "ruby/append.rb"}, ready: []string{"ruby", "-e", "require 'pg'"}},
		"php":    {command: []string{"php", "php/append.php"}, ready: []string{"php", "-r", "exit(extension_loaded('pdo_pgsql') ? 0 : 1);"}},
		"java": {
			command: []string{"java", "-cp", driver, "java/Append.java"}, ready: []string{"sh", "-c", "test -e " + driver + " && javac -version"},
			scheme: "jdbc:",
		},
		"sql": {command: []string{"psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", "sql/append.sql"}, ready: []string{"psql", "--version"}},
	} {
		t.Run(name, func(t *testing.T) {
			if len(example.ready) > 0 {
				if out, err := exec.CommandContext(t.Context(), example.ready[0], example.ready[1:]...).CombinedOutput(); err != nil {
					if os.Getenv("CI") == "true" {
						t.Fatalf("%q: %v\n%s", example.ready, err, out)
					}
					t.Skipf("%q: %v", example.ready, err)
				}
			}
			if name == "node" {
				install := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
				install.Dir = "node"
				if out, err := install.CombinedOutput(); err != nil {
					t.Fatalf("npm ci: %v\n%s", err, out)
				}
			}
			address := outboxtest.URL(t)
			conn, err := pgx.Connect(t.Context(), address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close(context.Background()) })
			schema, err := os.ReadFile("shop.sql")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Exec(t.Context(), string(schema)); err != nil {
				t.Fatal(err)
			}
			if example.scheme != "" {
				address = jdbc(t, address)
			}
			said, err := exec.CommandContext(t.Context(), example.command[0], append(slices.Clone(example.command[1:]), address)...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			for _, text := range []string{"23514", `topic "user//42" is not valid: allowed are`} {
				if !strings.Contains(string(said), text) {
					t.Errorf("it does not tell of %q: %s", text, said)
				}
			}
			rows, _ := conn.Query(t.Context(), wantSQL)
			left, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatal(err)
			}
			if got, want := strings.Join(left, "\n--\n"), want(name); got != want {
				t.Errorf("it leaves\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func want(language string) string {
	lines := []string{
		`user/42/orders order.placed {"order": 1}`, `user/42/orders order.paid {} payment-1`, `--`,
		`user/42/orders order.reminded reminder-1 t`, `--`, `1 42`,
	}
	switch language {
	case "sql":
		// The trigger gives each a key and a payload.
		lines[0] = `user/42/orders order.placed {"order" : 1} order-1-placed`
		lines[1] = `user/42/orders order.paid {"order" : 1} order-1-paid`
	case "go", "node", "php", "ruby":
		lines[0] = strings.ReplaceAll(lines[0], ": 1", ":1")
	}
	return strings.Join(lines, "\n")
}

// driver is where Debian has JDBC's.
const driver = "/usr/share/java/postgresql.jar"

// python is one that has psycopg: Debian's own, where another stands before it.
func python() string {
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(name, "-c", "import psycopg").Run() == nil {
			return name
		}
	}
	return "python3"
}

// jdbc is the address as Java's driver reads it.
func jdbc(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	query := url.Values{"user": {u.User.Username()}, "password": {password}, "sslmode": {"disable"}}
	return "jdbc:postgresql://" + u.Host + u.Path + "?" + query.Encode()
}

func TestExamples_AreAllInTheDocument(t *testing.T) {
	document, err := os.ReadFile("../../docs/append.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*/*.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.Contains(file, "package") {
			continue
		}
		if !strings.Contains(string(document), "../examples/append/"+file) {
			t.Errorf("docs/append.md does not name %s", file)
		}
	}
}
