package main

import (
	"github.com/outcrier/outcrier/outbox"
)

// serveConfig is the settings of "outcrier serve".
type serveConfig struct {
	DatabaseSettings
	ServerSettings
	AccessSettings `group:"Access"`
	TLSSettings    `group:"Listening"`
	// Dev needs no token from clients unless there are keys to verify them with, and a
	// private Postgres replaces a database that isn't configured.
	Dev bool `name:"dev" help:"for development: without keys, no token is needed and only loopback is served; without a database URL, a private Postgres runs"`
	LogSettings
}

// open reports whether no token is needed.
func (c serveConfig) open() bool {
	return c.Dev && !c.configured() && c.TLSClientIdentities == ""
}

// followFiles makes URLs from files be read again for each connection.
func (c *serveConfig) followFiles() {
	same := c.DirectURL == c.DatabaseURL && c.DirectURLFile == ""
	if c.DatabaseURLFile != "" {
		c.DatabaseURL = outbox.FileURL(c.DatabaseURLFile)
		if same {
			c.DirectURL = c.DatabaseURL
		}
	}
	if c.DirectURLFile != "" {
		c.DirectURL = outbox.FileURL(c.DirectURLFile)
	}
}

func (c *serveConfig) check(r *report) {
	c.DatabaseSettings.check(r)
	c.ServerSettings.check(r, c.DatabaseURL, c.open())
	c.AccessSettings.check(r)
	c.TLSSettings.check(r)
	if c.DatabaseURL == "" && !c.Dev {
		r.reject("database-url", "has to be given; --dev brings up a private Postgres without it")
	}
	if !c.Dev && !c.configured() && c.TLSClientIdentities == "" {
		r.reject("jwt-secret", "has to be given, or --jwt-secret-file, --jwt-key-file or --jwks-url, or --tls-client-identities: without a key nobody could be let in; --dev needs none, on loopback only")
	}
	if !r.given("migrate") {
		c.Migrate = c.Dev
	}
	c.followFiles()
}
