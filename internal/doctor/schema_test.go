package doctor

import (
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox/outboxtest"
)

var update = flag.Bool("update", false, "write expected.json anew")

// migrated is a database with the roles, and a connection to it.
func migrated(t *testing.T) (string, *pgx.Conn) {
	t.Helper()
	url := outboxtest.URL(t)
	if err := (migrations.Migrations{URL: url}).Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return url, conn
}

func TestExpected_IsWhatTheMigrationsMake(t *testing.T) {
	url, conn := migrated(t)
	got, err := readCatalogue(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	status, err := migrations.Migrations{URL: url}.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got.Version = status.Version
	if *update {
		text, err := json.MarshalIndent(got, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("expected.json", append(text, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(expected(), got); diff != "" {
		t.Errorf("the migrations have changed: go test ./internal/doctor -run Expected -update\n%s", diff)
	}
}

// An outbox in a schema of another name, with another payload limit, is as good.
func TestSchema_MayHaveAnotherName(t *testing.T) {
	url, conn := migrated(t)
	for _, name := range []string{"outbox", `a "b`} {
		if _, err := conn.Exec(t.Context(), `CREATE SCHEMA `+pgx.Identifier{name}.Sanitize()); err != nil {
			t.Fatal(err)
		}
		u := url + "&search_path=" + strings.NewReplacer(`"`, `%22`, " ", "%20").Replace(pgx.Identifier{name}.Sanitize())
		if err := (migrations.Migrations{URL: u, PayloadLimit: 4096}).Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		found := examine(t, Config{DatabaseURL: u})
		found.want(t, OK, "schema", "as the migrations made them")
	}
}

// findings are those of one examination.
type findings []Finding

func (list *findings) add(f Finding) { *list = append(*list, f) }

// want looks for a finding whose text, remedy or details have all of says.
func (list findings) want(t *testing.T, severity Severity, check string, says ...string) Finding {
	t.Helper()
	for _, f := range list {
		text := strings.Join(append([]string{f.Text, f.Remedy}, f.Details...), "\n")
		if f.Check == check && f.Severity == severity && !slices.ContainsFunc(says, func(s string) bool { return !strings.Contains(text, s) }) {
			if severity != OK && f.Remedy == "" {
				t.Errorf("%s has no remedy", check)
			}
			return f
		}
	}
	t.Errorf("no %s about %s that says %q in %+v", severity, check, says, list)
	return Finding{}
}
