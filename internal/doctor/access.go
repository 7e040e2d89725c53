package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

const creatorsSQL = `
SELECT coalesce(string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, ', '), '')
FROM pg_namespace AS n, aclexplode(n.nspacl) AS a WHERE n.oid = $1::oid AND a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner`

// creators finds roles other than the owner that may create objects in the schema: such a
// role could plant functions that the outbox calls with its owner's rights.
func (e *examination) creators(ctx context.Context, conn *pgx.Conn, at place) {
	var roles string
	schema := pgx.Identifier{at.name}.Sanitize()
	switch err := conn.QueryRow(ctx, creatorsSQL, at.schema).Scan(&roles); {
	case err != nil:
		e.say(Error, "create", "the roles that may create in the schema can't be read: "+plain(err), "look at the log of Postgres")
	case roles != "":
		e.say(Error, "create", fmt.Sprintf("%s may create objects in schema %s, and so could have its owner run their code", roles, schema),
			fmt.Sprintf("REVOKE CREATE ON SCHEMA %s FROM %s", schema, roles))
	default:
		e.ok("create", "only its owner may create in schema %s", schema)
	}
}

const rowSecuritySQL = `
SELECT format('ALTER TABLE %I.%I DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;', n.nspname, c.relname)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relnamespace = $1::oid AND (c.relrowsecurity OR c.relforcerowsecurity) ORDER BY c.relname`

// rowSecurity finds tables whose rows are hidden from some: hosts switch that on for all
// tables, and a reader that is shown no row knows of no loss.
func (e *examination) rowSecurity(ctx context.Context, conn *pgx.Conn, at place) {
	rows, _ := conn.Query(ctx, rowSecuritySQL, at.schema) // CollectRows has the error
	remedies, err := pgx.CollectRows(rows, pgx.RowTo[string])
	switch {
	case err != nil:
		e.say(Error, "row security", "it can't be looked at: "+plain(err), "look at the log of Postgres")
	case len(remedies) > 0:
		e.say(Error, "row security", "row level security is on for "+several(len(remedies), "table", "tables")+" of the outbox: rows are hidden, so events are not delivered",
			"switch it off; rights keep these tables closed:", remedies...)
	default:
		e.ok("row security", "no table of the outbox has row level security")
	}
}

// publicationsSQL lists the tables of the outbox that can't be changed while they are
// published, and the publications.
const publicationsSQL = `
SELECT coalesce(string_agg(DISTINCT p.pubname, ', '), ''), coalesce(string_agg(DISTINCT t.tablename, ', ')
	FILTER (WHERE (p.pubupdate OR p.pubdelete) AND c.relreplident <> 'f' AND NOT EXISTS (
		SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END)), '')
FROM pg_publication_tables AS t JOIN pg_publication AS p ON p.pubname = t.pubname JOIN pg_class AS c ON c.relname = t.tablename AND c.relnamespace = $1::oid
WHERE t.schemaname = $2`

// publications looks at logical replication of the outbox's tables, as FOR ALL TABLES has
// it: a table without a key could not be changed any more.
func (e *examination) publications(ctx context.Context, conn *pgx.Conn, at place) {
	var names, keyless string
	switch err := conn.QueryRow(ctx, publicationsSQL, at.schema, at.name).Scan(&names, &keyless); {
	case err != nil:
		e.say(Error, "publications", "they can't be looked at: "+plain(err), "look at the log of Postgres")
	case keyless != "":
		e.say(Error, "publications", fmt.Sprintf("tables that publication %s has are without a key, so no row of them can change: %s", names, keyless),
			"restore the primary keys as migrations/*.sql has them, or take the tables out of the publication")
	case names != "":
		e.ok("publications", "publication %s has tables of the outbox, and each has a key", names)
	default:
		e.ok("publications", "no publication has tables of the outbox")
	}
}

// needed has the rights of a server, by the function that reports whether a role has them.
var needed = map[string]string{
	"table": "has_table_privilege($1, $2)", "sequence": "has_sequence_privilege($1, $2)", "function": "has_function_privilege($1, $2)",
	"column": "has_column_privilege($1, $3, $2)", "schema": "has_schema_privilege($1, $2)",
}

// rights reports whether the connected role may do what a server does.
func (e *examination) rights(ctx context.Context, conn *pgx.Conn, at place) {
	var role string
	var super bool
	if err := conn.QueryRow(ctx, `SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user`).Scan(&role, &super); err != nil {
		e.say(Error, "rights", "the rights of this role can't be read: "+plain(err), "look at the log of Postgres")
		return
	}
	schema := pgx.Identifier{at.name}.Sanitize()
	var lacking []string
	for _, grant := range expected().Grants {
		right, ours := strings.CutPrefix(grant, "outcrier_server ")
		if !ours {
			continue
		}
		privilege, object, _ := strings.Cut(right, " ")
		kind, name, _ := strings.Cut(object, " ")
		args := []any{schema + "." + name, privilege}
		switch kind {
		case "schema":
			args[0] = at.name
		case "column":
			table, column, _ := strings.Cut(name, ".")
			args = []any{schema + "." + table, privilege, column}
		case "function":
			args[0] = schema + "." + strings.ReplaceAll(signature(name), "outcrier.", schema+".")
		}
		var may *bool
		if err := conn.QueryRow(ctx, `SELECT `+needed[kind], args...).Scan(&may); err != nil || may == nil || !*may {
			lacking = append(lacking, privilege+" on "+object)
		}
	}
	switch {
	case len(lacking) > 0:
		e.say(Error, "rights", fmt.Sprintf("role %s may not do what a server does", role), "GRANT outcrier_server TO "+pgx.Identifier{role}.Sanitize()+"; after outcrier migrate roles", lacking...)
	case super:
		e.say(Advice, "rights", fmt.Sprintf("role %s is a superuser", role), "a server needs no more than outcrier_server: outcrier migrate roles, GRANT outcrier_server TO …")
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
		argument = strings.TrimPrefix(argument, "IN ")
		if _, kind, named := strings.Cut(argument, " "); named {
			argument = kind
		}
		types = append(types, argument)
	}
	return name + "(" + strings.Join(types, ", ") + ")"
}
