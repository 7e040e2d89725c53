package doctor

import (
	"context"
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
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return url, conn
}

// placed is where the default outbox of a test is.
func placed(t *testing.T, conn *pgx.Conn) place {
	t.Helper()
	at, found := (&examination{Config: Config{Found: func(f Finding) { t.Errorf("%+v", f) }}, counts: map[Severity]int{}}).place(t.Context(), conn)
	if !found {
		t.Fatal("there is no outbox")
	}
	return at
}

func TestExpected_IsWhatTheMigrationsMake(t *testing.T) {
	url, conn := migrated(t)
	got, err := readCatalogue(t.Context(), conn, placed(t, conn))
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

// An outbox in a schema of another name, with a view of another, and another payload
// limit, is as good.
func TestSchema_MayHaveOtherNames(t *testing.T) {
	url, conn := migrated(t)
	run(t, conn, `CREATE SCHEMA app`)
	for _, m := range []migrations.Migrations{
		{Schema: "tenant_7", Outbox: "public.tenant_7"}, {Schema: `The "eighth"`, Outbox: `app.Tenant 8`, PayloadLimit: 4096}, {Schema: "outbox", Outbox: "app.event"},
	} {
		m.URL = url
		if err := m.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := m.Roles(t.Context()); err != nil {
			t.Fatal(err)
		}
		found := examine(t, Config{DatabaseURL: url, Schema: m.Schema})
		found.want(t, OK, "schema", "as the migrations made them")
		found.want(t, OK, "grants", "have their rights, and no role has more")
		found.want(t, OK, "migrations")
	}
	run(t, conn, `ALTER VIEW public.outbox SET SCHEMA app; ALTER VIEW app.outbox RENAME TO "Events"`)
	if err := (migrations.Migrations{URL: url}).Roles(t.Context()); err != nil {
		t.Fatal(err)
	}
	found := examine(t, Config{DatabaseURL: url})
	found.want(t, OK, "schema", "as the migrations made them")
	found.want(t, OK, "migrations", `app."Events"`)
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

func TestSeveral_AgreesWithItsNumber(t *testing.T) {
	for n, want := range map[int]string{0: "0 objects are", 1: "1 object is", 2: "2 objects are"} {
		if got := several(n, "object is", "objects are"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
