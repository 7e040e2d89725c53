package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// schema compares what there is with what the migrations of this version make.
func (e *examination) schema(ctx context.Context, conn *pgx.Conn) {
	want := expected()
	var version int64
	err := conn.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM outbox_goose_version WHERE is_applied`).Scan(&version)
	switch {
	case err != nil: // this role may not look; the objects tell
	case version < want.Version:
		e.say(Error, "migrations", fmt.Sprintf("migration %d is the last one applied, this version has %d", version, want.Version), "run outcrier migrate up")
		return
	case version > want.Version:
		e.say(Warning, "migrations", fmt.Sprintf("migration %d is applied, this version knows %d: a newer Outcrier was here", version, want.Version), "use the doctor of that version")
		return
	default:
		e.ok("migrations", "all %d are applied", want.Version)
	}
	got, err := readCatalogue(ctx, conn)
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
		if _, known := want.Objects[name]; !known && foreign(name, want) {
			extra = append(extra, name)
		}
	}
	if len(wrong) > 0 {
		e.say(Error, "schema", fmt.Sprintf("%d objects are not as the migrations made them", len(wrong)),
			"restore them as migrations/*.sql has them; if all are missing, outcrier migrate up", wrong...)
	} else {
		e.ok("schema", "%d objects are as the migrations made them", len(want.Objects))
	}
	if len(extra) > 0 {
		e.say(Advice, "schema", fmt.Sprintf("%d objects of others are on the outbox's tables", len(extra)),
			"each append pays for them, and migrations don't know them: see that they are meant", extra...)
	}
	e.grants(want.Grants, got.Grants)
}

// foreign tells whether an object that no migration made is on a table of ours: whole
// tables and functions with such a name are nobody's concern.
func foreign(name string, want catalogue) bool {
	kind, rest, _ := strings.Cut(name, " ")
	table, _, on := strings.Cut(rest, ".")
	_, ours := want.Objects["table "+table]
	return on && ours && kind != "function"
}

// difference shows definitions that are short, and else only tells that they differ.
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
	roles := slices.ContainsFunc(got, func(grant string) bool { return strings.HasPrefix(grant, "outbox_writer ") })
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
		e.say(Error, "grants", fmt.Sprintf("%d rights that the outbox's roles need are missing", len(missing)), "run outcrier migrate roles", missing...)
	}
	if len(more) > 0 {
		e.say(Warning, "grants", fmt.Sprintf("%d rights go beyond what the outbox's roles have", len(more)),
			"REVOKE them, unless they are meant: who may write xid, id or created_at can have events lost, who may SELECT reads all topics", more...)
	}
	switch {
	case len(missing)+len(more) > 0:
	case roles:
		e.ok("grants", "the outbox's roles have what they need, and nobody has more")
	default:
		e.ok("grants", "nobody but the owner has rights; outcrier migrate roles makes roles for applications")
	}
}

// needed are the rights of a server, by the function that tells whether one has them.
var needed = map[string]string{
	"table": "has_table_privilege($1, $2)", "sequence": "has_sequence_privilege($1, $2)", "function": "has_function_privilege($1, $2)",
	"column": "has_column_privilege($1, $3, $2)",
}

// rights tells whether the connected role may do what a server does.
func (e *examination) rights(ctx context.Context, conn *pgx.Conn) {
	var role string
	var super, usage bool
	err := conn.QueryRow(ctx, `SELECT current_user, rolsuper, has_schema_privilege(n.oid, 'USAGE') FROM pg_roles, pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE rolname = current_user AND c.oid = to_regclass('outbox')`).Scan(&role, &super, &usage)
	if err != nil {
		e.say(Error, "rights", "what this role may can't be told: "+plain(err), "look at the log of Postgres")
		return
	}
	var lacking []string
	if !usage {
		lacking = append(lacking, "USAGE on the schema")
	}
	for _, grant := range expected().Grants {
		right, ours := strings.CutPrefix(grant, "outbox_server ")
		if !ours {
			continue
		}
		privilege, object, _ := strings.Cut(right, " ")
		kind, name, _ := strings.Cut(object, " ")
		args := []any{name, privilege}
		if kind == "column" {
			table, column, _ := strings.Cut(name, ".")
			args = []any{table, privilege, column}
		}
		if kind == "function" {
			args[0] = signature(name)
		}
		var may *bool
		if err := conn.QueryRow(ctx, `SELECT `+needed[kind], args...).Scan(&may); err != nil || may == nil || !*may {
			lacking = append(lacking, privilege+" on "+object)
		}
	}
	switch {
	case len(lacking) > 0:
		e.say(Error, "rights", fmt.Sprintf("role %s may not do what a server does", role), "GRANT outbox_server TO "+pgx.Identifier{role}.Sanitize()+"; after outcrier migrate roles", lacking...)
	case super:
		e.say(Advice, "rights", fmt.Sprintf("role %s is a superuser", role), "a server needs no more than outbox_server: outcrier migrate roles, GRANT outbox_server TO …")
	default:
		e.ok("rights", "role %s may do what a server does", role)
	}
}

// signature is a function with the types of its arguments alone.
func signature(function string) string {
	name, arguments, _ := strings.Cut(strings.TrimSuffix(function, ")"), "(")
	var types []string
	for argument := range strings.SplitSeq(arguments, ", ") {
		if strings.HasPrefix(argument, "OUT ") {
			continue
		}
		if _, kind, named := strings.Cut(argument, " "); named {
			argument = kind
		}
		types = append(types, argument)
	}
	return name + "(" + strings.Join(types, ", ") + ")"
}
