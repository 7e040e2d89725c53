package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/outcrier/outcrier/migrations"
)

// migrateConfig is the settings of "outcrier migrate down".
type migrateConfig struct {
	DatabaseSettings
	LogSettings
}

// migrateUpConfig is the settings of "outcrier migrate up".
type migrateUpConfig struct {
	DatabaseSettings
	PayloadLimit byteSize `flag:"payload-limit" default:"1MiB" allow:"1KiB..64MiB" help:"the largest payload that the schema will accept"`
	LogSettings
}

// migrateRolesConfig is the settings of "outcrier migrate roles".
type migrateRolesConfig struct {
	DatabaseSettings
	Print bool `flag:"print" help:"print the SQL instead, for somebody with more rights to run it with psql"`
	LogSettings
}

// migrateStatusConfig is the settings of "outcrier migrate status".
type migrateStatusConfig struct {
	DatabaseSettings
	JSON bool `flag:"json" help:"print one JSON object instead"`
	LogSettings
}

func migrateCommand(p process) *cobra.Command {
	migrate := newGroup("migrate", "Bring the schema of the outbox up or down, or show where it is")
	migrate.AddCommand(
		newCommand(p, "up", "Apply all migrations that the database hasn't yet", runMigrateUp),
		newCommand(p, "down", "Undo all migrations: the outbox and its events are dropped", runMigrateDown),
		newCommand(p, "roles", "Make the roles outbox_writer, outbox_reader and outbox_server, and grant each what it needs", runMigrateRoles),
		newCommand(p, "status", "List the migrations, and whether each is applied", runMigrateStatus),
	)
	return migrate
}

func (c *migrateConfig) check(r *report) {
	c.DatabaseSettings.check(r)
	r.require("database-url", c.DatabaseURL)
}

func (c *migrateUpConfig) check(r *report) {
	c.DatabaseSettings.check(r)
	r.require("database-url", c.DatabaseURL)
}

func (c *migrateStatusConfig) check(r *report) {
	c.DatabaseSettings.check(r)
	r.require("database-url", c.DatabaseURL)
}

func (c *migrateRolesConfig) check(r *report) {
	c.DatabaseSettings.check(r)
	r.require("database-url", c.DatabaseURL)
}

func runMigrateUp(ctx context.Context, p process, c migrateUpConfig) error {
	progress := newProgress(p.stderr, p.environ)
	defer progress.end()
	m := migrations.Migrations{URL: c.DatabaseURL, PayloadLimit: int(c.PayloadLimit), Log: c.logger(progress)}
	before, err := pending(ctx, m)
	if err != nil {
		return err
	}
	if before > 0 {
		progress.say(fmt.Sprintf("apply %s", several(before, "migration")))
	}
	if err := m.Up(ctx); err != nil {
		return err
	}
	progress.clear()
	text := several(before, "migration") + " applied"
	if before == 0 {
		text = "nothing to do: all migrations are applied"
	}
	_, err = fmt.Fprintln(p.stdout, text)
	return err
}

// pending is how many migrations are not applied.
func pending(ctx context.Context, m migrations.Migrations) (n int, err error) {
	status, err := m.Status(ctx)
	for _, migration := range status.Migrations {
		if migration.AppliedAt == nil {
			n++
		}
	}
	return n, err
}

// several is a number of things.
func several(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func runMigrateDown(ctx context.Context, p process, c migrateConfig) error {
	return migrations.Migrations{URL: c.DatabaseURL, Log: p.log}.Down(ctx)
}

func runMigrateRoles(ctx context.Context, p process, c migrateRolesConfig) error {
	m := migrations.Migrations{URL: c.DatabaseURL, Log: p.log}
	if !c.Print {
		return m.Roles(ctx)
	}
	text, err := m.RolesSQL(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(p.stdout, text)
	return err
}

func runMigrateStatus(ctx context.Context, p process, c migrateStatusConfig) error {
	list, err := migrations.Migrations{URL: c.DatabaseURL}.Status(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(p.stdout).Encode(list)
	}
	_, err = fmt.Fprint(p.stdout, list)
	return err
}
