package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/migrations"
)

// schema compares what there is with what the migrations of this version make.
func (e *examination) schema(ctx context.Context, conn *pgx.Conn, at place) {
	want := expected()
	status, err := migrations.Migrations{URL: e.DatabaseURL, Schema: e.Schema}.Status(ctx)
	switch {
	case err != nil:
		e.say(Error, "migrations", "the version of the schema can't be read: "+plain(err), "run outcrier migrate status")
	case status.Version < want.Version:
		e.say(Error, "migrations", fmt.Sprintf("the schema is at version %d, and this program needs %d", status.Version, want.Version), "run outcrier migrate up")
		return
	case status.Version > want.Version:
		e.say(Warning, "migrations", fmt.Sprintf("the schema is at version %d, and this program knows %d: a newer Outcrier migrated it", status.Version, want.Version), "use the doctor of that version")
		return
	case status.Problem != "":
		e.say(Error, "migrations", "the schema is at version "+fmt.Sprint(status.Version)+", with something missing", status.Problem)
	default:
		e.ok("migrations", "all %d are applied; the view is %s", want.Version, status.Outbox)
	}
	got, err := readCatalogue(ctx, conn, at)
	if err != nil {
		e.say(Error, "schema", plain(err), "look at the log of Postgres")
		return
	}
	var wrong, extra []string
	for _, name := range slices.Sorted(maps.Keys(want.Objects)) {
		definition, there := got.Objects[name]
		switch {
		case !there:
			wrong = append(wrong, "missing: "+name)
		case definition != want.Objects[name]:
			wrong = append(wrong, "changed: "+name+difference(want.Objects[name], definition))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got.Objects)) {
		if _, known := want.Objects[name]; !known {
			extra = append(extra, name)
		}
	}
	if len(wrong) > 0 {
		e.say(Error, "schema", several(len(wrong), "object is not as the migrations made it", "objects are not as the migrations made them"),
			"restore them as migrations/*.sql has them; if all are missing, outcrier migrate up", wrong...)
	} else {
		e.ok("schema", "%d objects are as the migrations made them", len(want.Objects))
	}
	if len(extra) > 0 {
		e.say(Advice, "schema", several(len(extra), "object in the outbox's schema, or on its tables, is not the outbox's", "objects in the outbox's schema, or on its tables, are not the outbox's"),
			"an append may pay for them, migrations don't know them, and migrate drop drops them: see that they are meant", extra...)
	}
	e.grants(want.Grants, got.Grants)
}

// several returns a number, with the text for one thing or for several.
func several(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// difference shows definitions that are short, and is empty for others.
func difference(want, got string) string {
	const short = 150
	if len(want) > short || len(got) > short {
		return ""
	}
	return fmt.Sprintf(": it is %q, and was %q", got, want)
}

// grants compares what the outbox's roles and PUBLIC may. Without the roles there is
// only PUBLIC.
func (e *examination) grants(want, got []string) {
	roles := slices.ContainsFunc(got, func(grant string) bool { return strings.HasPrefix(grant, "outcrier_writer ") })
	var missing, more []string
	for _, grant := range want {
		if !slices.Contains(got, grant) && (roles || strings.HasPrefix(grant, "PUBLIC ")) {
			missing = append(missing, "missing: "+grant)
		}
	}
	for _, grant := range got {
		if !slices.Contains(want, grant) {
			more = append(more, "beyond: "+grant)
		}
	}
	if len(missing) > 0 {
		e.say(Error, "grants", several(len(missing), "right that the outbox's roles need is missing", "rights that the outbox's roles need are missing"), "run outcrier migrate roles", missing...)
	}
	if len(more) > 0 {
		e.say(Warning, "grants", several(len(more), "right goes beyond what the outbox's roles have", "rights go beyond what the outbox's roles have"),
			"REVOKE them, unless they are meant: a role that writes to event can have events lost, and one that may SELECT reads all topics", more...)
	}
	switch {
	case len(missing)+len(more) > 0:
	case roles:
		e.ok("grants", "the outbox's roles have their rights, and no role has more")
	default:
		e.ok("grants", "nobody but the owner has rights; outcrier migrate roles makes roles for applications")
	}
}
