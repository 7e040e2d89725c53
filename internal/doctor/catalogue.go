package doctor

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// catalogue has the objects and rights of an outbox, without what differs between good ones:
// the names of the schema and the view, the payload's limit, the partitions.
type catalogue struct {
	// Version is the newest migration.
	Version int64 `json:"version"`
	// Objects are definitions by kind and name, like "column event.topic". The view is
	// named outbox, everything else as it is in the schema.
	Objects map[string]string `json:"objects"`
	// Grants are those to other roles than the owner, like
	// "outcrier_writer INSERT table outbox".
	Grants []string `json:"grants"`
}

// expectedJSON is the catalogue of a database that this version has migrated, with its
// roles. The package's test rewrites it with -update.
//
//go:embed expected.json
var expectedJSON []byte

func expected() (c catalogue) {
	if err := json.Unmarshal(expectedJSON, &c); err != nil {
		panic(err) // it is this package's
	}
	return c
}

// place is where an outbox is: the schema's name, its oid, and that of the view, 0 if
// there is none.
type place struct {
	name         string
	schema, view uint32
}

// relationsSQL are the outbox's own relations and functions: not the partitions, which
// are examined otherwise, nor goose's table of versions, which a restore may lack.
const relationsSQL = `
WITH ours AS (
	SELECT c.oid, CASE c.oid WHEN $2::oid THEN 'outbox' ELSE c.relname::text END AS relname, c.relkind FROM pg_class AS c
	WHERE (c.relnamespace = $1::oid OR c.oid = $2::oid) AND c.relname <> 'schema_migration'
		AND NOT (c.relispartition AND c.relname ~ '^event_\d{4}_\d\d_\d\d')
		AND NOT (c.relkind IN ('i', 'I') OR c.relkind = 'S' AND c.relname = 'schema_migration_id_seq')
),
functions AS (SELECT p.* FROM pg_proc AS p WHERE p.pronamespace = $1::oid)`

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
		CASE WHEN p.proisstrict THEN 'STRICT' END, array_to_string(p.proconfig, ' '), CASE WHEN p.prosqlbody IS NULL THEN '` + bodyMark + `' || p.prosrc END)
FROM functions AS p JOIN pg_language AS l ON l.oid = p.prolang`

// grantsSQL lists what others than the owners may do. A row type has the rights of its
// relation.
const grantsSQL = relationsSQL + `
SELECT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE coalesce(r.rolname, g.grantee::text) END || ' ' || g.privilege || ' ' || g.object
FROM (
	SELECT a.grantee, a.privilege_type AS privilege, 'schema' AS object
	FROM pg_namespace AS n CROSS JOIN aclexplode(n.nspacl) AS a WHERE n.oid = $1::oid AND a.grantee <> n.nspowner
	UNION ALL
	SELECT a.grantee, a.privilege_type, CASE o.relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || o.relname
	FROM ours AS o JOIN pg_class AS c ON c.oid = o.oid CROSS JOIN aclexplode(c.relacl) AS a
	WHERE a.grantee <> c.relowner AND o.relkind IN ('r', 'p', 'v', 'S')
	UNION ALL
	SELECT a.grantee, a.privilege_type, 'column ' || o.relname || '.' || t.attname
	FROM ours AS o JOIN pg_class AS c ON c.oid = o.oid JOIN pg_attribute AS t ON t.attrelid = o.oid CROSS JOIN aclexplode(t.attacl) AS a
	WHERE a.grantee <> c.relowner AND NOT t.attisdropped
	UNION ALL
	SELECT a.grantee, a.privilege_type, 'partition ' || c.relname
	FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS a
	WHERE c.relnamespace = $1::oid AND c.relispartition AND c.relkind = 'r' AND c.relname <> 'event_default' AND a.grantee <> c.relowner
	UNION ALL
	SELECT a.grantee, a.privilege_type, 'function ' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')'
	FROM functions AS p CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
	WHERE a.grantee <> p.proowner
) AS g LEFT JOIN pg_roles AS r ON r.oid = g.grantee`

// bodyMark stands before the body of a function, of which a hash is kept.
const bodyMark = "body "

// payloadLimit is a setting of the migrations.
var payloadLimit = regexp.MustCompile(`/\* payload limit \*/ \d+`)

// readCatalogue reads the catalogue of the outbox at a place.
func readCatalogue(ctx context.Context, conn *pgx.Conn, at place) (c catalogue, err error) {
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		c, err = catalogueIn(ctx, tx, at)
		return err
	})
	return c, err
}

// namesSQL makes Postgres print all our names with their schema, and returns how it prints
// the schema's and the view's. The body of a function has them as the migrations wrote
// them, always in quotes.
const namesSQL = `
SELECT set_config('search_path', 'pg_catalog', true), quote_ident($1::text), n.nspname::text, c.relname::text, format('%I.%I', n.nspname, c.relname)
FROM (SELECT) AS one LEFT JOIN pg_class AS c ON c.oid = $2::oid LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace`

func catalogueIn(ctx context.Context, tx pgx.Tx, at place) (c catalogue, err error) {
	var path, printed, view string
	var schema, relation *string
	if err := tx.QueryRow(ctx, namesSQL, at.name, at.view).Scan(&path, &printed, &schema, &relation, &view); err != nil {
		return c, err
	}
	written := []string{pgx.Identifier{at.name}.Sanitize() + ".", "outcrier."}
	printing := []string{printed + ".", "outcrier."}
	if view != "public.outbox" && schema != nil && relation != nil {
		written = append(written, pgx.Identifier{*schema, *relation}.Sanitize(), "public.outbox")
		printing = append(printing, view, "public.outbox")
	}
	inBody, elsewhere := strings.NewReplacer(written...), strings.NewReplacer(slices.Concat(printing, written)...)
	same := func(definition string) string {
		head, body, found := strings.Cut(definition, bodyMark)
		if !found {
			return elsewhere.Replace(head)
		}
		sum := sha256.Sum256([]byte(payloadLimit.ReplaceAllString(inBody.Replace(body), "/* payload limit */ @")))
		return fmt.Sprintf("%s%s%x", elsewhere.Replace(head), bodyMark, sum[:8])
	}
	// Types of arguments are in the name of a function.
	typed := func(name string) string {
		if kind, function, found := strings.Cut(name, "function "); found {
			return kind + "function " + elsewhere.Replace(function)
		}
		return name
	}
	c.Objects = map[string]string{}
	var name, definition string
	rows, _ := tx.Query(ctx, objectsSQL, at.schema, at.view) // ForEachRow has the error
	_, err = pgx.ForEachRow(rows, []any{&name, &definition}, func() error {
		c.Objects[typed(name)] = same(definition)
		return nil
	})
	if err != nil {
		return c, fmt.Errorf("read the catalogue: %w", err)
	}
	rows, _ = tx.Query(ctx, grantsSQL, at.schema, at.view) // CollectRows has the error
	if c.Grants, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return c, fmt.Errorf("read the grants: %w", err)
	}
	for i, grant := range c.Grants {
		c.Grants[i] = typed(grant)
	}
	slices.Sort(c.Grants)
	return c, nil
}
