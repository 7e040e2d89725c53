package main

import (
	"context"
	"log/slog"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox"
)

// ConnectionSettings says where the database is.
type ConnectionSettings struct {
	DatabaseURL string `name:"database-url" fallback:"DATABASE_URL" secret:"true" help:"the Postgres database with the outbox, like postgres://user:password@host:5432/name"`
	// DatabaseURLFile is the file that DatabaseURL was read from, "" for none.
	DatabaseURLFile string `name:"database-url-file" fallback:"DATABASE_URL_FILE" help:"a file with that URL; a server reads it again for each connection, so that a password can be changed while it runs"`
}

// OutboxSettings says what the outbox is called in its database.
type OutboxSettings struct {
	Schema outbox.Schema `name:"schema" default:"outcrier" help:"the schema with all tables and functions of the outbox"`
	Outbox string        `name:"outbox" help:"where migrate creates the view that applications insert into, as schema.name; by default outbox in the first schema of the connection's search_path"`
}

// DatabaseSettings says where the outbox is.
type DatabaseSettings struct {
	ConnectionSettings `group:"Database"`
	OutboxSettings     `group:"Database"`
}

func (d *ConnectionSettings) check(r *report) {
	urlFromFile(r, "database-url", &d.DatabaseURL, &d.DatabaseURLFile)
	rejectUnlessDSN(r, "database-url", d.DatabaseURL)
}

func (o OutboxSettings) check(r *report) {
	if err := o.Schema.Check(); err != nil {
		r.reject("schema", "%v", err)
	} else if err := migrations.CheckView(o.Schema, o.Outbox); err != nil {
		r.reject("outbox", "%v", err)
	}
}

func (d *DatabaseSettings) check(r *report) {
	d.ConnectionSettings.check(r)
	d.OutboxSettings.check(r)
}

// required is like check, for a command that needs a database.
func (d *DatabaseSettings) required(r *report) {
	d.check(r)
	r.require("database-url", d.DatabaseURL)
}

// migrations are those of the database at the URL, which may be another way to it than
// DatabaseURL.
func (d DatabaseSettings) migrations(url string, log *slog.Logger) migrations.Migrations {
	return migrations.Migrations{URL: url, Schema: d.Schema, Outbox: d.Outbox, Log: log}
}

// withPool calls fn with a pool of one connection, which is made when it is needed, and works
// through a transaction pooler.
func (d DatabaseSettings) withPool(fn func(*pgxpool.Pool) error) error {
	config, err := outbox.PoolConfig(d.DatabaseURL)
	if err != nil {
		return err
	}
	config.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return err
	}
	defer pool.Close()
	return fn(pool)
}

// urlFromFile reads the URL of a setting from the file that the setting with "-file" after
// its name has. If both are given, the one with the stronger origin counts.
func urlFromFile(r *report, flag string, url, file *string) {
	named := flag + "-file"
	if *file == "" {
		return
	}
	text, err := outbox.ResolveURL(outbox.FileURL(*file))
	switch {
	case err == nil && *url == text: // read before
		return
	case *url != "" && r.setting(flag).origin > r.setting(named).origin:
		*file = ""
		return
	case *url != "" && r.setting(flag).origin == r.setting(named).origin:
		r.reject(named, "want either it or --%s", flag)
		return
	case err != nil:
		r.reject(named, "%v", err)
		return
	}
	*url, r.setting(flag).origin = text, r.setting(named).origin
}

// rejectUnlessDSN never repeats the reason of the parser: that can contain the
// password.
func rejectUnlessDSN(r *report, flag, dsn string) {
	if dsn == "" {
		return
	}
	if _, err := pgconn.ParseConfig(dsn); err != nil {
		r.reject(flag, "want postgres://user:password@host:5432/name, or host=… dbname=…; files that it names have to be readable")
	}
}
