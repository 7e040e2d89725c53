package outcrier

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/outcrier/outcrier/handlers"
)

// DefaultLimits are those of a Config that has none. Per principal: 100 streams, 50 openings,
// 1000 events and 4 MiB published per second, 10,000 scheduled events, a year ahead, and 32
// MiB of bodies and answers at a time, of 128 MiB for all. 1000 streams per address, 256
// topics per stream, paths of 32 KiB, and 30 s for a body.
func DefaultLimits() Limits {
	return Limits{
		StreamsPerPrincipal: 100, StreamsPerAddress: 1000, Topics: 256,
		URLBytes: 32 << 10, BodyTime: 30 * time.Second, PublishRate: 1000, PublishBytes: 4 << 20, OpenRate: 50,
		Scheduled: 10_000, ScheduleAhead: 365 * 24 * time.Hour, Buffered: 128 << 20, BufferedPerPrincipal: 32 << 20,
	}
}

// complete returns the configuration with its defaults, and all its mistakes together.
func (c Config) complete() (Config, error) {
	var mistakes []error
	reject := func(format string, a ...any) { mistakes = append(mistakes, fmt.Errorf(format, a...)) }
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Pool != nil && c.DatabaseURL != "":
		reject("give DatabaseURL or Pool, not both")
	case c.Pool != nil && c.Pool.Config().AfterConnect == nil:
		reject("Pool has to be made with outbox.PoolConfig")
	case c.Pool != nil:
		c.DatabaseURL = c.Pool.Config().ConnString()
	case c.DatabaseURL == "":
		reject("DatabaseURL or Pool has to be given")
	}
	if c.Authenticate == nil && c.Tokens != nil {
		c.Authenticate = c.Tokens.Authenticate
	}
	if c.Authenticate == nil && !c.Open {
		reject("Authenticate or Tokens has to be given: nobody could be let in")
	}
	parsed := func(kind string, texts []string, parse func(string) (string, error)) []string {
		list := make([]string, len(texts))
		for i, text := range texts {
			var err error
			if list[i], err = parse(text); err != nil {
				reject("%s %q: %w", kind, text, err)
			}
		}
		return list
	}
	c.Origins = parsed("origin", c.Origins, handlers.ParseOrigin)
	c.Headers = parsed("header", c.Headers, handlers.ParseHeader)
	if c.Limits == nil {
		c.Limits = c.defaultLimits()
	}
	if err := c.Schema.Check(); err != nil {
		reject("schema: %w", err)
	}
	notNegative := func(name string, n int64, value any) {
		if n < 0 {
			reject("%s %v: want more than 0, or 0 for the default", name, value)
		}
	}
	notNegative("Connections", int64(c.Connections), c.Connections)
	notNegative("MaxBody", c.MaxBody, c.MaxBody)
	notNegative("BatchInterval", int64(c.BatchInterval), c.BatchInterval)
	notNegative("PollInterval", int64(c.PollInterval), c.PollInterval)
	notNegative("ReplayBuffer", int64(c.ReplayBuffer), c.ReplayBuffer)
	notNegative("QueueFrames", int64(c.QueueFrames), c.QueueFrames)
	notNegative("Heartbeat", int64(c.Heartbeat), c.Heartbeat)
	notNegative("Stall", int64(c.Stall), c.Stall)
	notNegative("Retry", int64(c.Retry), c.Retry)
	notNegative("DrainDelay", int64(c.DrainDelay), c.DrainDelay)
	if c.Retention > 0 && c.Retention < 24*time.Hour {
		reject("Retention %s: want 24h or more, or a negative one to keep events for ever", c.Retention)
	}
	if c.AuditRetention != 0 && c.AuditRetention < 7*24*time.Hour {
		reject("AuditRetention %s: want 168h or more, or 0 for the default", c.AuditRetention)
	}
	c.DirectURL = cmp.Or(c.DirectURL, c.DatabaseURL)
	c.Connections = cmp.Or(c.Connections, 8)
	c.MaxStreams = max(0, cmp.Or(c.MaxStreams, 20_000))
	c.MaxBody = cmp.Or(c.MaxBody, 4<<20)
	c.Name = cmp.Or(c.Name, DefaultName())
	if err := CheckName(c.Name); err != nil {
		reject("name %q: %w", c.Name, err)
	}
	c.Version = cmp.Or(c.Version, moduleVersion())
	c.Retention = max(0, cmp.Or(c.Retention, 7*24*time.Hour))
	c.Heartbeat = cmp.Or(c.Heartbeat, 15*time.Second)
	c.Stall = cmp.Or(c.Stall, 30*time.Second)
	c.Retry = cmp.Or(c.Retry, 3*time.Second)
	c.DrainTime = max(0, cmp.Or(c.DrainTime, 5*time.Second))
	return c, errors.Join(mistakes...)
}

// defaultLimits returns the limits of a configuration that has none.
func (c Config) defaultLimits() *Limits {
	limits := DefaultLimits()
	if c.Open { // all clients are one
		limits.StreamsPerPrincipal, limits.StreamsPerAddress, limits.PublishRate = 0, 0, 0
		limits.PublishBytes, limits.OpenRate, limits.Scheduled, limits.BufferedPerPrincipal = 0, 0, 0, 0
	}
	return &limits
}

// moduleVersion returns the version of this module in the running program.
func moduleVersion() string {
	const path = "github.com/outcrier/outcrier"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(devel)"
	}
	if info.Main.Path == path && info.Main.Version != "" {
		return info.Main.Version
	}
	for _, module := range info.Deps {
		if module.Path == path {
			return module.Version
		}
	}
	return "(devel)"
}
