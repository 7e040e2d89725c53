package main

import (
	"github.com/spf13/cobra"

	"github.com/outcrier/outcrier/outbox"
)

// demoConfig is the settings of "outcrier demo".
type demoConfig struct {
	ConnectionSettings
	ServerSettings
	// Traffic is in events per second; 0 makes none.
	Traffic float64 `flag:"traffic" default:"0" allow:"0..1000" help:"the events per second that imaginary users cause"`
	LogSettings
}

func demoCommand(p process) *cobra.Command {
	return newCommand(p, "demo", "Run a small business application whose pages are live", runDemo)
}

func (c *demoConfig) check(r *report) {
	c.ConnectionSettings.check(r)
	c.ServerSettings.check(r, c.DatabaseURL, true)
	if !r.given("migrate") {
		c.Migrate = true
	}
	if !r.given("audit") {
		c.Audit = true
	}
}

// serve is the settings of the server beneath the demo, which is in dev mode.
func (c demoConfig) serve() serveConfig {
	return serveConfig{
		DatabaseSettings: DatabaseSettings{ConnectionSettings: c.ConnectionSettings, OutboxSettings: OutboxSettings{Schema: outbox.DefaultSchema}},
		ServerSettings:   c.ServerSettings,
		Dev:              true,
		LogSettings:      c.LogSettings,
	}
}
