package doctor

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// catalogue is what Postgres knows of an outbox, without what differs between good
// ones: the schema's name, the payload's limit, the days that have a partition.
type catalogue struct {
	// Version is the newest migration.
	Version int64 `json:"version"`
	// Objects are definitions by kind and name, like "column outbox.topic".
	Objects map[string]string `json:"objects"`
	// Grants are those to the outbox's roles and to PUBLIC, like
	// "outbox_writer INSERT column outbox.topic".
	Grants []string `json:"grants"`
}

// expectedJSON is the catalogue of a database that was migrated and given its roles by
// this version. The package's test writes it anew with -update.
//
//go:embed expected.json
var expectedJSON []byte

func expected() (c catalogue) {
	if err := json.Unmarshal(expectedJSON, &c); err != nil {
		panic(err) // it is this package's
	}
	return c
}

// relationsSQL are the outbox's own relations: not the partitions of days, which are
// looked at otherwise, nor goose's table of versions.
const relationsSQL = `
WITH home AS (SELECT relnamespace AS schema FROM pg_class WHERE oid = to_regclass('outbox')),
ours AS (
	SELECT c.oid, c.relname, c.relkind FROM pg_class AS c, home
	WHERE c.relnamespace = home.schema AND (c.relname = 'outbox' OR c.relname LIKE 'outbox\_%')
		AND c.relname !~ '^outbox_\d{4}_\d\d_\d\d' AND c.relname NOT LIKE 'outbox\_goose%'
),
functions AS (
	SELECT p.* FROM pg_proc AS p, home WHERE p.pronamespace = home.schema AND p.proname LIKE 'outbox\_%'
)`

// objectsSQL lists objects with their definitions. Of functions in standard SQL, whose
// bodies Postgres keeps parsed and each version prints its own way, the body is left
// out, and so it is of views.
const objectsSQL = relationsSQL + `
SELECT CASE relkind WHEN 'v' THEN 'view ' WHEN 'c' THEN 'type ' ELSE 'table ' END || relname, coalesce(pg_get_partkeydef(oid), '')
FROM ours WHERE relkind IN ('r', 'p', 'v', 'c')
UNION ALL
SELECT 'column ' || o.relname || '.' || a.attname, concat_ws(' ', format_type(a.atttypid, a.atttypmod),
	CASE WHEN a.attcollation <> t.typcollation THEN 'COLLATE ' || l.collname END, CASE WHEN a.attnotnull THEN 'NOT NULL' END,
	CASE WHEN d.oid IS NOT NULL THEN 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) END, nullif(a.attidentity::text, ''))
FROM ours AS o JOIN pg_attribute AS a ON a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type AS t ON t.oid = a.atttypid LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
LEFT JOIN pg_attrdef AS d ON d.adrelid = o.oid AND d.adnum = a.attnum
WHERE o.relkind IN ('r', 'p', 'v', 'c')
UNION ALL
SELECT 'constraint ' || o.relname || '.' || c.conname, pg_get_constraintdef(c.oid)
FROM ours AS o JOIN pg_constraint AS c ON c.conrelid = o.oid AND c.contype IN ('c', 'p', 'u', 'f', 'x')
UNION ALL
SELECT 'index ' || i.relname, pg_get_indexdef(i.oid) || CASE WHEN x.indisvalid THEN '' ELSE ' INVALID' END
FROM ours AS o JOIN pg_index AS x ON x.indrelid = o.oid JOIN pg_class AS i ON i.oid = x.indexrelid
UNION ALL
SELECT 'trigger ' || o.relname || '.' || g.tgname, pg_get_triggerdef(g.oid) || ' ' || g.tgenabled::text
FROM ours AS o JOIN pg_trigger AS g ON g.tgrelid = o.oid AND NOT g.tgisinternal
UNION ALL
SELECT 'sequence ' || o.relname, format('%s INCREMENT %s', format_type(s.seqtypid, NULL), s.seqincrement)
FROM ours AS o JOIN pg_sequence AS s ON s.seqrelid = o.oid
UNION ALL
SELECT 'function ' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
	concat_ws(' ', pg_get_function_result(p.oid), l.lanname, p.provolatile::text, CASE WHEN p.prosecdef THEN 'SECURITY DEFINER' END,
		CASE WHEN p.proisstrict THEN 'STRICT' END, array_to_string(p.proconfig, ' '), 'body ' || CASE WHEN p.prosqlbody IS NULL THEN p.prosrc END)
FROM functions AS p JOIN pg_language AS l ON l.oid = p.prolang`

// grantsSQL lists what others than the owners may.
const grantsSQL = relationsSQL + `
SELECT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE coalesce(r.rolname, g.grantee::text) END || ' ' || g.privilege || ' ' || g.object
FROM (
	SELECT a.grantee, a.privilege_type AS privilege, CASE o.relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || o.relname AS object
	FROM ours AS o JOIN pg_class AS c ON c.oid = o.oid CROSS JOIN aclexplode(c.relacl) AS a
	WHERE a.grantee <> c.relowner AND o.relkind IN ('r', 'p', 'v', 'S')
	UNION ALL
	SELECT a.grantee, a.privilege_type, 'column ' || o.relname || '.' || t.attname
	FROM ours AS o JOIN pg_class AS c ON c.oid = o.oid JOIN pg_attribute AS t ON t.attrelid = o.oid CROSS JOIN aclexplode(t.attacl) AS a
	WHERE a.grantee <> c.relowner AND NOT t.attisdropped
	UNION ALL
	SELECT a.grantee, a.privilege_type, 'function ' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')'
	FROM functions AS p CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
	WHERE a.grantee <> p.proowner
) AS g LEFT JOIN pg_roles AS r ON r.oid = g.grantee`

// payloadLimit is the one setting of a migration.
var payloadLimit = regexp.MustCompile(`<= \d+|at most \d+`)

// readCatalogue reads what there is.
func readCatalogue(ctx context.Context, conn *pgx.Conn) (c catalogue, err error) {
	var schema string
	if err := conn.QueryRow(ctx, `SELECT quote_ident(nspname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace WHERE c.oid = to_regclass('outbox')`).Scan(&schema); err != nil {
		return c, err
	}
	// How names are printed depends on the path.
	if _, err := conn.Exec(ctx, `SELECT set_config('search_path', $1, false)`, schema+", pg_temp"); err != nil {
		return c, err
	}
	qualified := regexp.MustCompile(regexp.QuoteMeta(schema) + `\.(outbox)`)
	c.Objects = map[string]string{}
	var name, definition string
	rows, _ := conn.Query(ctx, objectsSQL)
	_, err = pgx.ForEachRow(rows, []any{&name, &definition}, func() error {
		definition = qualified.ReplaceAllString(definition, "$1")
		definition = strings.Replace(definition, "search_path="+schema+",", "search_path=@,", 1)
		if strings.HasSuffix(name, ".outbox_payload") {
			definition = payloadLimit.ReplaceAllString(definition, "@")
		}
		c.Objects[name] = definition
		return nil
	})
	if err != nil {
		return c, fmt.Errorf("read the catalogue: %w", err)
	}
	rows, _ = conn.Query(ctx, grantsSQL)
	if c.Grants, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return c, fmt.Errorf("read the grants: %w", err)
	}
	slices.Sort(c.Grants)
	return c, nil
}
