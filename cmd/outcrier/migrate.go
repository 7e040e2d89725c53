package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/outcrier/outcrier/migrations"
)

// PayloadLimitSettings says what the schema is made with.
type PayloadLimitSettings struct {
	PayloadLimit byteSize `name:"payload-limit" default:"1MiB" allow:"1KiB..64MiB" help:"the largest payload that the schema will accept"`
}

// migrateUpConfig is the settings of "outcrier migrate up".
type migrateUpConfig struct {
	DatabaseSettings
	PayloadLimitSettings
	LogSettings
}

// migrateStatusConfig is the settings of "outcrier migrate status".
type migrateStatusConfig struct {
	DatabaseSettings
	JSON  bool `scope:"migrate-status" name:"json" help:"print one JSON object instead"`
	Check bool `scope:"migrate-status" name:"check" help:"fail if a migration is pending, or something is wrong with the schema"`
	LogSettings
}

// migrateSQLConfig is the settings of "outcrier migrate sql", which asks no database.
type migrateSQLConfig struct {
	OutboxSettings
	PayloadLimitSettings
	From int `scope:"migrate-sql" name:"from" default:"0" allow:"0.." help:"the version of an existing schema: print only the migrations after it"`
	LogSettings
}

// migrateRolesConfig is the settings of "outcrier migrate roles".
type migrateRolesConfig struct {
	DatabaseSettings
	Print bool `scope:"migrate-roles" name:"print" help:"print the SQL instead, to be run with psql by a role that may create roles"`
	LogSettings
}

// migrateDropConfig is the settings of "outcrier migrate drop".
type migrateDropConfig struct {
	DatabaseSettings
	Database string `scope:"migrate-drop" name:"database" help:"the name of the database, as a confirmation; on a terminal the command asks for it"`
	LogSettings
}

func (migrateUpConfig) Help() string {
	return `Applies all migrations that the database lacks, beside running nodes and writers, and
restores what a dump of the schema alone or a test suite that empties all tables leaves
out. The schema belongs to the role that runs this.`
}

func (migrateSQLConfig) Help() string {
	return `Prints the whole schema as one SQL script, for a DBA to review and to run with psql, or
as a migration of Flyway, Liquibase, Alembic, Rails, Prisma or another tool:

  outcrier migrate sql > outcrier.sql
  psql -X -1 -v ON_ERROR_STOP=1 -f outcrier.sql "$DATABASE_URL"

Afterwards "outcrier migrate up" has nothing to do. With --from it prints the step that
takes a schema from that version to the newest. No database is asked: the view is
public.outbox, unless --outbox says otherwise.`
}

func (migrateDropConfig) Help() string {
	return `Drops the schema and its view with all events. It asks for the name of the database, which
--database gives too, and refuses while nodes run. The roles stay: they belong to the cluster.`
}

func (c *migrateUpConfig) check(r *report) { c.required(r) }

func (c *migrateStatusConfig) check(r *report) { c.required(r) }

func (c *migrateRolesConfig) check(r *report) { c.required(r) }

func (c *migrateDropConfig) check(r *report) { c.required(r) }

func (c *migrateSQLConfig) check(r *report) {
	c.OutboxSettings.check(r)
	if newest := int(migrations.Newest()); c.From > newest {
		r.reject("from", "want 0 to %d, which is the newest version", newest)
	}
}

func (c migrateUpConfig) Run(ctx context.Context, p process) error {
	progress := newProgress(p.stderr, p.environ)
	defer progress.end()
	m := c.migrations(c.DatabaseURL, c.logger(progress))
	m.PayloadLimit = int(c.PayloadLimit)
	before, err := m.Status(ctx)
	if err != nil {
		return err
	}
	missing := pending(before)
	if missing > 0 {
		progress.say(fmt.Sprintf("apply %s", several(missing, "migration")))
	}
	if err := m.Up(ctx); err != nil {
		return err
	}
	progress.clear()
	text := several(missing, "migration") + " applied"
	switch {
	case missing > 0:
	case before.Problem != "" && before.Version == before.Newest:
		text = "all migrations are applied, and what was missing is restored"
	default:
		text = "nothing to do: all migrations are applied"
	}
	_, err = fmt.Fprintln(p.stdout, text)
	return err
}

// pending returns how many migrations are not applied.
func pending(status migrations.Status) (n int) {
	for _, migration := range status.Migrations {
		if !migration.Applied {
			n++
		}
	}
	return n
}

func (c migrateSQLConfig) Run(_ context.Context, p process) error {
	m := migrations.Migrations{Schema: c.Schema, Outbox: c.Outbox, PayloadLimit: int(c.PayloadLimit)}
	text, err := m.SQL(int64(c.From))
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(p.stdout, text)
	return err
}

func (c migrateDropConfig) Run(ctx context.Context, p process) error {
	m := c.migrations(c.DatabaseURL, p.log)
	if c.Database == "" {
		status, err := m.Status(ctx)
		if err != nil {
			return err
		}
		if c.Database, err = askForDatabase(ctx, p, status); err != nil {
			return err
		}
	}
	if err := m.Drop(ctx, c.Database); err != nil {
		return err
	}
	_, err := fmt.Fprintf(p.stdout, "schema %s of database %s is dropped\n", c.Schema, printable(c.Database))
	return err
}

// askForDatabase asks the person at the terminal for the database's name.
func askForDatabase(ctx context.Context, p process, status migrations.Status) (string, error) {
	file, ok := p.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return "", errors.New("name the database to confirm: --database NAME")
	}
	fmt.Fprintf(p.stderr, "This drops schema %s and view %s with all events.\nType the name of the database to confirm: ", status.Schema, status.Outbox)
	line, err := bufio.NewReader(&interruptible{ctx, file}).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("read the name of the database: %w", err)
	}
	return strings.TrimSpace(line), nil
}

func (c migrateRolesConfig) Run(ctx context.Context, p process) error {
	m := c.migrations(c.DatabaseURL, p.log)
	if !c.Print {
		if err := m.Roles(ctx); err != nil {
			return err
		}
		_, err := fmt.Fprintln(p.stdout, "the roles exist and have their rights; GRANT them to the logins of applications, nodes and people")
		return err
	}
	text, err := m.RolesSQL(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(p.stdout, text)
	return err
}

func (c migrateStatusConfig) Run(ctx context.Context, p process) error {
	status, err := c.migrations(c.DatabaseURL, nil).Status(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(p.stdout).Encode(status)
	} else {
		_, err = fmt.Fprint(p.stdout, status)
	}
	if n := pending(status); err == nil && c.Check && n > 0 {
		return fmt.Errorf("%s pending", several(n, "migration"))
	}
	if err == nil && c.Check && status.Problem != "" {
		return errors.New(status.Problem)
	}
	return err
}
