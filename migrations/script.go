package migrations

import (
	"fmt"
	"strings"
)

// SQL returns the migrations after version from, or all for 0, as one script for psql or
// another tool that runs plain SQL. Afterwards Up has nothing to do. It asks no database:
// the view is public.outbox unless Outbox says otherwise.
func (m Migrations) SQL(from int64) (string, error) {
	if err := m.checkNames(); err != nil {
		return "", fmt.Errorf("migrate sql: %w", err)
	}
	if from < 0 || from > Newest() {
		return "", fmt.Errorf("migrate sql: from version %d: want 0 to %d, the newest version", from, Newest())
	}
	if from == Newest() {
		return fmt.Sprintf("-- Nothing to do: version %d of Outcrier's schema is the newest.\n", from), nil
	}
	schema, name := "public", "outbox"
	if m.Outbox != "" {
		if schema, name = splitView(m.Outbox); schema == "" {
			schema = "public"
		}
	}
	n := names{schema: m.Schema, view: viewName(schema, name), payloadLimit: m.PayloadLimit}
	var b strings.Builder
	fmt.Fprintf(&b, headSQL, m.identifier(), n.view, from+1, Newest())
	b.WriteString(sessionSQL)
	if from == 0 {
		b.WriteString(m.beginSQL() + m.recordSQL(0))
	} else {
		fmt.Fprintf(&b, fromSQL, m.identifier(), from)
	}
	for _, c := range chapters {
		if c.version > from {
			fmt.Fprintf(&b, "\n-- %s\n\n%s\n%s", c.file, n.rewrite(c.text), m.recordSQL(c.version))
		}
	}
	return b.String(), nil
}

const headSQL = `-- Outcrier's schema %[1]s with the view %[2]s: versions %[3]d to %[4]d.
--
-- The role that runs this owns the schema. Run it in one transaction:
--
--     psql -X -1 -v ON_ERROR_STOP=1 -f outcrier.sql "$DATABASE_URL"
--
-- or as a migration of another tool, which must not split it at semicolons (Liquibase:
-- splitStatements:false). Afterwards "outcrier migrate up" has nothing to do.

`

// fromSQL refuses a database that is not at the version before.
const fromSQL = `DO $$
DECLARE
    present CONSTANT bigint := (SELECT max(version_id) FROM %[1]s.schema_migration WHERE is_applied);
BEGIN
    IF present IS DISTINCT FROM %[2]d THEN
        RAISE EXCEPTION 'the schema is at version %%, and this script is for version %[2]d', coalesce(present, 0);
    END IF;
END
$$;
`

func (m Migrations) recordSQL(version int64) string {
	return fmt.Sprintf("INSERT INTO %s.schema_migration (version_id, is_applied) VALUES (%d, true);\n", m.identifier(), version)
}
