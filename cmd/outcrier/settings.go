package main

import (
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/upkeep"
)

// The structs that several configs embed. Their names are exported because
// only then reflection can set the fields.

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

// LogSettings configures the log, on standard error.
type LogSettings struct {
	LogLevel  string `group:"Log" name:"log-level" default:"info" allow:"debug|info|warn|error" help:"the least severe level that is logged"`
	LogFormat string `group:"Log" name:"log-format" default:"text" allow:"text|json" help:"the form of a line of the log"`
}

func (l LogSettings) logger(w io.Writer) *slog.Logger {
	var options slog.HandlerOptions
	var level slog.Level
	if level.UnmarshalText([]byte(l.LogLevel)) == nil {
		options.Level = level
	}
	if l.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, &options))
	}
	return slog.New(slog.NewTextHandler(w, &options))
}

// ServerSettings configures a node.
type ServerSettings struct {
	// Listen is host:port. Port 0 picks a free one.
	Listen string `group:"Listening" name:"listen" default:"127.0.0.1:8080" help:"the address to serve HTTP on; in dev mode, on loopback"`
	// DirectURL is never empty where DatabaseURL isn't.
	DirectURL     string        `group:"Database" name:"direct-url" secret:"true" help:"the same database without a pooler in between, for LISTEN; by default the database URL"`
	DirectURLFile string        `group:"Database" name:"direct-url-file" help:"a file with that URL, read again for each connection"`
	Data          string        `group:"Database" name:"data" help:"the folder of the private Postgres, which runs if no database URL is given; by default a folder of this user"`
	Migrate       bool          `group:"Database" name:"migrate" help:"apply the migrations at start; by default in dev mode only"`
	Node          string        `group:"Operation" name:"node" help:"the name of this process among the nodes; by default the host's with a random suffix"`
	Wake          string        `group:"Following the table" name:"wake" default:"notify" allow:"notify|poll" help:"how the tail learns of commits while it is idle: notify (LISTEN/NOTIFY), or poll (a read every 100ms)"`
	Turn          time.Duration `group:"Following the table" name:"turn" default:"10ms" allow:"1ms..1s" help:"the time between two reads of the tail while events flow"`
	IdleTurn      time.Duration `group:"Following the table" name:"idle-turn" default:"1s" allow:"10ms..60s" help:"the longest time between two reads of the tail"`
	Heartbeat     time.Duration `group:"Streams" name:"heartbeat" default:"15s" allow:"100ms..5m" help:"the silence on a stream after which a heartbeat is sent"`
	Stall         time.Duration `group:"Streams" name:"stall" default:"30s" allow:"1s..10m" help:"the time after which a stream is ended if its reader takes nothing"`
	Drain         time.Duration `group:"Streams" name:"drain" default:"5s" allow:"0s..5m" help:"the time over which all streams are ended when the server stops"`
	Retry         time.Duration `group:"Streams" name:"retry" default:"3s" allow:"100ms..5m" help:"the time after which a browser reconnects, on average"`
	Queue         int           `group:"Streams" name:"queue" default:"256" allow:"1..65536" help:"the frames that may wait for one stream before it falls back to a replay"`
	ReplayBuffer  byteSize      `group:"Streams" name:"replay-buffer" default:"64MiB" allow:"64KiB..4096MiB" help:"the newest events kept in memory, from which streams are resumed"`
	Gzip          bool          `group:"Streams" name:"gzip" help:"gzip streams and polls for clients that accept it (each event is compressed once and shared)"`
	Audit         bool          `group:"Retention and audit" name:"audit" help:"record in the table stream which streams received which events, for receipts and the admin page"`
	// AuditRetention is 0 for as long as the oldest event.
	AuditRetention time.Duration `group:"Retention and audit" name:"audit-retention" default:"0" allow:"0|168h.." help:"the age at which records of the audit are removed, a whole day at a time; 0 keeps them for as long as the oldest event, and a week at least"`
	// MaxStreams is of this node, not of all.
	MaxStreams int `group:"Streams" name:"max-streams" default:"20000" allow:"1..1000000" help:"the streams that may be open at a time"`
	// DrainDelay comes before Drain.
	DrainDelay    time.Duration `group:"Streams" name:"drain-delay" default:"0s" allow:"0s..5m" help:"the time between /readyz turning to 503 and the end of the first stream, for load balancers to notice"`
	LimitSettings `group:"Limits"`
	ProxySettings `group:"Listening"`
	Pool          int           `group:"Database" name:"pool" default:"8" allow:"1..1000" help:"the database connections for replay and appends"`
	Metrics       string        `group:"Operation" name:"metrics" default:"admin" help:"who may read GET /metrics: admin (a token that grants it), open (everyone), or an address of its own, like 127.0.0.1:9090 (everyone who reaches it)"`
	Debug         string        `group:"Operation" name:"debug" help:"an address on loopback to serve Go's profiles at, like 127.0.0.1:6060; none by default"`
	Retention     time.Duration `group:"Retention and audit" name:"retention" default:"168h" allow:"0|24h.." help:"the age at which events are removed; 0 keeps them for ever"`
	// TopicRetention is by pattern.
	TopicRetention map[string]time.Duration `group:"Retention and audit" name:"topic-retention" help:"topics whose events are removed earlier, with the age (1m at least), like presence/**=1h; a pattern can't begin with a wildcard"`
}

// check checks the settings; open is set for a server that needs no token.
func (s *ServerSettings) check(r *report, databaseURL string, open bool) {
	if open {
		s.withoutPrincipals(r)
	}
	if problem := notLoopback(s.Listen); open && problem != "" {
		r.reject("listen", "%s", problem)
	} else if problem := notAddress(s.Listen); problem != "" {
		r.reject("listen", "%s", problem)
	}
	s.ProxySettings.check(r)
	if s.Debug != "" {
		if problem := notLoopback(s.Debug); problem != "" {
			r.reject("debug", "%s", problem)
		}
	}
	if problem := notAddress(s.Metrics); s.metricsApart() && problem != "" {
		r.reject("metrics", "want admin, open or an address: %s", problem)
	}
	urlFromFile(r, "direct-url", &s.DirectURL, &s.DirectURLFile)
	rejectUnlessDSN(r, "direct-url", s.DirectURL)
	s.checkTopicRetention(r)
	switch {
	case s.DirectURL == "":
		s.DirectURL = databaseURL
	case databaseURL == "":
		r.reject("direct-url", "needs --database-url too")
	}
	if s.Node == "" {
		s.Node = outcrier.DefaultName()
	}
	if err := outcrier.CheckName(s.Node); err != nil {
		r.reject("node", "%v", err)
	}
	if s.IdleTurn < s.Turn && r.setting("turn").problem == "" {
		r.reject("idle-turn", "want at least --turn, %v", s.Turn)
	}
}

// metricsApart reports whether the metrics have an address of their own.
func (s ServerSettings) metricsApart() bool { return s.Metrics != "admin" && s.Metrics != "open" }

func (s *ServerSettings) checkTopicRetention(r *report) {
	for text, keep := range s.TopicRetention {
		pattern, err := outbox.ParsePattern(text)
		switch {
		case err != nil:
			r.reject("topic-retention", "%v", err)
		case strings.HasPrefix(text, "*"):
			r.reject("topic-retention", "topic %q begins with a wildcard: it would be looked for among all topics, every minute; --retention is for all", pattern)
		case keep < time.Minute:
			r.reject("topic-retention", "%s=%v: want a minute at least", pattern, keep)
		}
	}
}

// rules are those of TopicRetention, in an order that is always the same.
func (s *ServerSettings) rules() []upkeep.Rule {
	var rules []upkeep.Rule
	for _, pattern := range slices.Sorted(maps.Keys(s.TopicRetention)) {
		rules = append(rules, upkeep.Rule{Pattern: outbox.Pattern(pattern), Keep: s.TopicRetention[pattern]})
	}
	return rules
}

// notAddress returns why text is not an address to listen on, "" if it is one.
func notAddress(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "want host:port, or :port for all addresses"
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "want a port from 0 to 65535 after the host"
	}
	return ""
}

// notLoopback returns why an address must not be used without tokens, "" if it may.
func notLoopback(address string) string {
	const want = "want host:port with 127.0.0.1, [::1] or localhost as the host"
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return want
	}
	if problem := notAddress(address); problem != "" {
		return problem
	}
	if host == "localhost" || net.ParseIP(host).IsLoopback() {
		return ""
	}
	return want + ": no token is needed there, and other addresses can be reached from other machines"
}
