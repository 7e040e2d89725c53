package migrations

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// found is the state of the schema in a database.
type found struct {
	names
	major                    int // of Postgres
	encoding, database, role string
	standby                  bool

	exists             bool   // the schema does
	schemaOwner        string // the role that owns the schema
	owns               bool   // this role owns it, or is a member of the owner
	creators           string // other roles that may CREATE in the schema, as SQL has them
	strange            string // an object of the schema, if it is not Outcrier's
	taken              string // the kind of object that already has the view's name
	home               bool   // the view's schema exists
	versioned          bool   // schema_version() exists
	version, nodesFrom int64  // as schema_version() says
	unreadable         error  // this role may not ask for the version
	// recorded are the rows of the version table, readable if this role may SELECT.
	recorded map[int64]time.Time
	// applied is the newest migration that is applied, recorded or not.
	applied   int64
	viewThere bool
	entries   bool // the catalogue has entries
	granted   bool // the outbox has roles
	open      bool // PUBLIC has rights that the migrations take from it
}

// whole reports whether Up has nothing to do.
func (f *found) whole() bool {
	return f.applied > Newest() || f.applied == Newest() && len(f.unrecorded()) == 0 && f.viewThere && f.entries && !f.open
}

// unrecorded lists the versions that are applied and have no row, 0 among them, which
// goose wants.
func (f *found) unrecorded() []int64 {
	var missing []int64
	if _, there := f.recorded[0]; !there {
		missing = append(missing, 0)
	}
	for _, c := range chapters {
		if _, there := f.recorded[c.version]; !there && c.version <= f.applied {
			missing = append(missing, c.version)
		}
	}
	return missing
}

const serverSQL = `
SELECT current_setting('server_version_num')::int / 10000, current_setting('server_encoding'), pg_is_in_recovery(), current_database()::text, current_user::text,
	coalesce((SELECT s.name::text FROM unnest(current_schemas(false)) WITH ORDINALITY AS s (name, n)
		WHERE s.name::text <> $1 AND s.name::text !~ '^pg_' ORDER BY s.n LIMIT 1), '')`

// schemaSQL has a row if the schema exists. An object of the schema is named in case
// neither version is found.
const schemaSQL = `
SELECT pg_get_userbyid(n.nspowner)::text, pg_has_role(n.nspowner, 'MEMBER'), coalesce((
		SELECT string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, ', ')
		FROM aclexplode(n.nspacl) AS a WHERE a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner), ''),
	EXISTS (SELECT FROM pg_proc WHERE pronamespace = n.oid AND proname = 'schema_version'),
	coalesce((SELECT has_table_privilege(oid, 'SELECT') FROM pg_class WHERE relnamespace = n.oid AND relname = 'schema_migration' AND relkind = 'r'), false),
	coalesce((SELECT has_table_privilege(oid, 'SELECT') FROM pg_class WHERE relnamespace = n.oid AND relname = 'event_type' AND relkind = 'r'), false),
	ARRAY(SELECT relname::text FROM pg_class WHERE relnamespace = n.oid
		UNION SELECT proname::text FROM pg_proc WHERE pronamespace = n.oid
		UNION SELECT typname::text FROM pg_type WHERE typnamespace = n.oid AND typname !~ '^_'
		ORDER BY 1),
	EXISTS (SELECT FROM aclexplode(n.nspacl) AS a JOIN pg_roles AS r ON r.oid = a.grantee WHERE r.rolname = 'outcrier_writer')
FROM pg_namespace AS n WHERE n.nspname = $1`

// viewSQL finds the view by its trigger, wherever the owner has moved it.
const viewSQL = `
SELECT vn.nspname::text, v.relname::text
FROM pg_trigger AS t JOIN pg_class AS v ON v.oid = t.tgrelid AND v.relkind = 'v' JOIN pg_namespace AS vn ON vn.oid = v.relnamespace
JOIN pg_proc AS p ON p.oid = t.tgfoid JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname = $1 AND p.proname = 'append_row' AND NOT t.tgisinternal LIMIT 1`

// takenSQL returns the kind of object that already has the view's name.
const takenSQL = `
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1),
	coalesce((SELECT CASE c.relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'S' THEN 'a sequence' WHEN 'i' THEN 'an index'
			WHEN 'I' THEN 'an index' WHEN 'f' THEN 'a foreign table' WHEN 'c' THEN 'a type' ELSE 'a table' END
		FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2), (
		SELECT 'a type' FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace WHERE n.nspname = $1 AND t.typname = $2), '')`

// openSQL reports whether PUBLIC may call a function that no role is ever granted, as after
// a restore that leaves privileges out.
const openSQL = `
SELECT EXISTS (
	SELECT FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
	WHERE n.nspname = $1 AND p.proname = 'revoke_rights' AND a.grantee = 0)`

// find reads the state of the schema. It needs no more rights than outcrier_server has.
func (m Migrations) find(ctx context.Context, conn *pgx.Conn) (*found, error) {
	f := &found{names: names{schema: m.Schema, payloadLimit: m.PayloadLimit}, recorded: map[int64]time.Time{}}
	var first string
	err := conn.QueryRow(ctx, serverSQL, m.schemaName()).Scan(&f.major, &f.encoding, &f.standby, &f.database, &f.role, &first)
	if err != nil {
		return nil, err
	}
	var objects []string
	var recorded, catalogued bool
	err = conn.QueryRow(ctx, schemaSQL, m.schemaName()).Scan(&f.schemaOwner, &f.owns, &f.creators, &f.versioned, &recorded, &catalogued, &objects, &f.granted)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
	case err != nil:
		return nil, err
	default:
		f.exists = true
		if f.schemaOwner != f.role {
			f.owner = f.schemaOwner
		}
	}
	if recorded {
		if err := m.readRecorded(ctx, conn, f); err != nil {
			return nil, err
		}
	}
	if f.versioned {
		err := conn.QueryRow(ctx, `SELECT version, nodes_from FROM `+m.identifier()+`.schema_version()`).Scan(&f.version, &f.nodesFrom)
		if f.unreadable = serverRole(err); f.unreadable == nil && err != nil {
			return nil, err
		}
	}
	f.applied = f.newestApplied(objects)
	if !f.versioned && !recorded && len(objects) > 0 && f.applied == 0 {
		f.strange = objects[0]
	}
	if catalogued {
		if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM `+m.identifier()+`.event_type)`).Scan(&f.entries); err != nil {
			return nil, err
		}
	}
	if err := conn.QueryRow(ctx, openSQL, m.schemaName()).Scan(&f.open); err != nil {
		return nil, err
	}
	return f, m.findView(ctx, conn, f, first)
}

// look is like find, on a connection of its own. It fails where the version can't be read.
func (m Migrations) look(ctx context.Context) (f *found, err error) {
	err = m.connected(ctx, func(conn *pgx.Conn) error {
		f, err = m.find(ctx, conn)
		return err
	})
	if err == nil {
		err = f.unreadable
	}
	return f, err
}

func (m Migrations) readRecorded(ctx context.Context, conn *pgx.Conn, f *found) error {
	rows, _ := conn.Query(ctx, `SELECT version_id, extract(epoch FROM max(tstamp))::float8 FROM `+m.identifier()+`.schema_migration WHERE is_applied GROUP BY version_id`) // ForEachRow has the error
	var version int64
	var at float64 // as a number, because the role's DateStyle is unknown
	_, err := pgx.ForEachRow(rows, []any{&version, &at}, func() error {
		f.recorded[version] = time.UnixMicro(int64(at * 1e6))
		return nil
	})
	return err
}

// newestApplied returns the newest migration that has a row or whose objects exist. Where
// there are neither rows nor objects, it is the constant in schema_version(), which is
// ahead of the applied migrations while the first migration is under way.
func (f *found) newestApplied(objects []string) (newest int64) {
	there := map[string]bool{}
	for _, name := range objects {
		there[name] = true
	}
	for version := range f.recorded {
		newest = max(newest, version)
	}
	if newest == 0 {
		newest = f.version
	}
	for _, c := range chapters {
		if there[c.makes()] {
			newest = max(newest, c.version)
		}
	}
	return newest
}

// findView finds the view, or the place for it: the first schema, unless the settings say
// otherwise.
func (m Migrations) findView(ctx context.Context, conn *pgx.Conn, f *found, first string) error {
	var schema, name string
	err := conn.QueryRow(ctx, viewSQL, m.schemaName()).Scan(&schema, &name)
	switch {
	case err == nil:
		f.viewThere, f.home, f.view = true, true, viewName(schema, name)
		return nil
	case !errors.Is(err, pgx.ErrNoRows):
		return err
	}
	schema, name = first, "outbox"
	if m.Outbox != "" {
		if schema, name = splitView(m.Outbox); schema == "" {
			schema = first
		}
	}
	if schema == "" {
		return nil
	}
	f.view = viewName(schema, name)
	return conn.QueryRow(ctx, takenSQL, schema, name).Scan(&f.home, &f.taken)
}

// refuse returns why Up can't do its work in this database; nil if it can.
func (m Migrations) refuse(f *found) error {
	schema := m.identifier()
	switch {
	case f.major < 15:
		return fmt.Errorf("the server is Postgres %d: Outcrier needs 15 or later", f.major)
	case f.standby:
		return errors.New("the server is a standby in recovery: connect to the primary")
	case f.encoding != "UTF8":
		return fmt.Errorf("the database's encoding is %s: events are UTF-8, create it with ENCODING 'UTF8'", f.encoding)
	case f.strange != "":
		return fmt.Errorf("schema %s exists and is not Outcrier's: it has %q; give another name (--schema)", schema, f.strange)
	case f.exists && !f.owns:
		return fmt.Errorf("schema %s belongs to %s: connect as that role, or have it run ALTER SCHEMA %s OWNER TO %s", schema, f.schemaOwner, schema, pgx.Identifier{f.role}.Sanitize())
	case f.unreadable != nil:
		return f.unreadable
	case f.creators != "":
		return fmt.Errorf("%s may create objects in schema %s, where only its owner may: REVOKE CREATE ON SCHEMA %s FROM %s", f.creators, schema, schema, f.creators)
	case f.view == "":
		return errors.New("no schema on the connection's search_path exists, so there is no place for the view: name it (--outbox schema.name)")
	case !f.home:
		return fmt.Errorf("the view is to be %s, and that schema does not exist: create it, or give another name (--outbox schema.name)", f.view)
	case f.taken != "":
		return fmt.Errorf("the view is to be %s, and %s has that name: give another name (--outbox schema.name)", f.view, f.taken)
	}
	return nil
}

// serverRole returns the error for a role that may not ask for the version, with the remedy;
// nil for any other error.
func serverRole(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42501" { // insufficient_privilege
		return fmt.Errorf("%w: GRANT outcrier_server to this role, after outcrier migrate roles", err)
	}
	return nil
}
