package main

import "github.com/spf13/cobra"

// serveConfig is the settings of "outcrier serve".
type serveConfig struct {
	DatabaseSettings
	ServerSettings
	// Dev needs no token from clients, and a private Postgres stands in for
	// the database that wasn't given.
	Dev bool `flag:"dev" help:"for development: no tokens, and a private Postgres where no database URL is given"`
	LogSettings
}

func serveCommand(p process) *cobra.Command {
	return newCommand(p, "serve", "Serve the outbox as streams, until a signal ends it", runServe)
}

func (c *serveConfig) check(r *report) {
	c.DatabaseSettings.check(r)
	c.ServerSettings.check(r, c.DatabaseURL)
	if c.DatabaseURL == "" && !c.Dev {
		r.reject("database-url", "has to be given; --dev brings up a private Postgres without it")
	}
	if !r.given("migrate") {
		c.Migrate = c.Dev
	}
}
