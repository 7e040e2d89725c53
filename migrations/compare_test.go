package migrations_test

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// schemaSQL lists every object of the schema and the view, with all that Postgres knows of
// it but who owns it, by the name of its kind. A view that was restored has names for
// columns of a subquery that had none.
const schemaSQL = `
WITH home AS (SELECT oid FROM pg_namespace WHERE nspname = 'outcrier'),
rel AS (SELECT c.* FROM pg_class AS c, home WHERE c.relnamespace = home.oid OR c.oid = 'public.outbox'::regclass)
SELECT 'relation ' || oid::regclass, concat_ws(' ', relkind, relpersistence, relispartition, pg_get_expr(relpartbound, oid), pg_get_partkeydef(oid), reloptions, relrowsecurity, relforcerowsecurity,
	relreplident, (SELECT amname FROM pg_am WHERE pg_am.oid = relam), replace(CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(oid) END, ' AS int8', ''), obj_description(oid, 'pg_class')) FROM rel
UNION ALL
SELECT 'column ' || a.attrelid::regclass || '.' || a.attname, concat_ws(' ', a.attnum, format_type(a.atttypid, a.atttypmod), a.attcollation::regcollation, a.attnotnull, a.attidentity, a.attgenerated,
	a.attstorage, pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum))
FROM rel JOIN pg_attribute AS a ON a.attrelid = rel.oid AND a.attnum > 0 AND NOT a.attisdropped LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
UNION ALL
SELECT 'constraint ' || c.conrelid::regclass || '.' || c.conname, concat_ws(' ', c.contype, pg_get_constraintdef(c.oid)) FROM rel JOIN pg_constraint AS c ON c.conrelid = rel.oid
UNION ALL
SELECT 'index ' || i.indexrelid::regclass, concat_ws(' ', pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisprimary) FROM rel JOIN pg_index AS i ON i.indrelid = rel.oid
UNION ALL
SELECT 'trigger ' || g.tgrelid::regclass || '.' || g.tgname, concat_ws(' ', pg_get_triggerdef(g.oid), g.tgenabled) FROM rel JOIN pg_trigger AS g ON g.tgrelid = rel.oid AND NOT g.tgisinternal
UNION ALL
SELECT 'sequence ' || s.seqrelid::regclass, concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmax, s.seqmin, s.seqcache, s.seqcycle,
	(SELECT string_agg(d.refobjid::regclass || '.' || d.refobjsubid, ' ') FROM pg_depend AS d WHERE d.objid = s.seqrelid AND d.deptype IN ('a', 'i') AND d.refclassid = 'pg_class'::regclass))
FROM rel JOIN pg_sequence AS s ON s.seqrelid = rel.oid
UNION ALL
SELECT 'function ' || p.oid::regprocedure, concat_ws(' ', pg_get_functiondef(p.oid), obj_description(p.oid, 'pg_proc')) FROM pg_proc AS p, home WHERE p.pronamespace = home.oid
UNION ALL
SELECT 'type ' || t.oid::regtype, concat_ws(' ', t.typtype, t.typcategory) FROM pg_type AS t, home WHERE t.typnamespace = home.oid
UNION ALL
SELECT 'right on ' || o.object, concat_ws(' ', CASE WHEN a.grantee = o.owner THEN 'owner' ELSE a.grantee::regrole::text END, CASE WHEN a.grantor = o.owner THEN 'owner' ELSE a.grantor::regrole::text END,
	string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ' ' ORDER BY a.privilege_type)) FROM (
	SELECT oid::regclass::text, relowner, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) FROM rel WHERE relkind IN ('r', 'p', 'v', 'S')
	UNION ALL SELECT p.oid::regprocedure::text, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)) FROM pg_proc AS p, home WHERE p.pronamespace = home.oid
	UNION ALL SELECT t.oid::regtype::text, t.typowner, coalesce(t.typacl, acldefault('T', t.typowner)) FROM pg_type AS t, home WHERE t.typnamespace = home.oid AND t.typelem = 0
	UNION ALL SELECT 'schema', n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner)) FROM pg_namespace AS n, home WHERE n.oid = home.oid
) AS o (object, owner, acl), aclexplode(o.acl) AS a GROUP BY o.object, o.owner, a.grantee, a.grantor
UNION ALL
SELECT 'entry ' || type, concat_ws('|', code, title, description, severity, action, payload_schema) FROM outcrier.event_type
UNION ALL
SELECT 'version ' || version_id, is_applied::text FROM outcrier.schema_migration
ORDER BY 1, 2`

// inventory is what a database has of the outbox.
func inventory(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), schemaSQL, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var object, definition string
		err := row.Scan(&object, &definition)
		return object + ": " + definition, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// reference is the inventory of a database as Up has made it.
var reference struct {
	sync.Once
	inventory []string
}

// sameSchema compares a database with one that Up has made, object by object.
func sameSchema(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	reference.Do(func() {
		_, made := migrated(t)
		reference.inventory = inventory(t, made)
	})
	if len(reference.inventory) < 500 {
		t.Errorf("only %d facts are compared", len(reference.inventory))
	}
	if diff := cmp.Diff(reference.inventory, inventory(t, conn)); diff != "" {
		t.Errorf("the schemas differ (-want +got):\n%s", diff)
	}
}
