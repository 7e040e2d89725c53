package outcrier

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/trace"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/auth/login"
	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/outbox/upkeep"
)

// Identity says who a request is from and which topics it may use, as Config.Authenticate
// returns it.
type Identity = auth.Identity

// Refusal is an error of Config.Authenticate that is answered with its status.
type Refusal = auth.Refusal

// Limits bound the resources of a node that one client may use.
type Limits = handlers.Limits

// Proxies are the hosts whose forwarding headers are trusted.
type Proxies = handlers.Proxies

// Config configures a Node. Only a database and one of Authenticate, Tokens and Open are
// required.
type Config struct {
	// DatabaseURL is the Postgres database with the outbox, like
	// postgres://user:password@host:5432/name. It may lead through a transaction pooler, and
	// be one of outbox.FileURL, which is read for each connection. Empty only with Pool.
	DatabaseURL string
	// DirectURL is the same database without a transaction pooler in between, for LISTEN.
	// By default DatabaseURL.
	DirectURL string
	// Pool, made with outbox.PoolConfig, is used in place of a pool of the node's own. It
	// stays open when the node ends. The node resets it whenever its tail reconnects, since
	// after a failover the pool's connections may lead to the old primary.
	Pool *pgxpool.Pool
	// Connections is the size of the node's own pool, for replay and appends. 8 by default.
	Connections int
	// Schema is where the outbox is. outbox.DefaultSchema by default.
	Schema outbox.Schema
	// Migrate applies the migrations that are missing before New returns. The user of
	// DatabaseURL then owns the outbox. View is where they make the view that
	// applications insert into, as migrations.Migrations.Outbox has it.
	Migrate bool
	View    string

	// Authenticate returns who a request is from, or why it is refused: a *Refusal is
	// answered with its status, any other error is logged and answered 503, so that the
	// client comes back. By default Tokens.Authenticate.
	Authenticate func(*http.Request) (Identity, error)
	// Tokens, when not nil, makes POST and DELETE /session, which put a bearer token into a
	// cookie, and Run keeps its keys fresh.
	Tokens *auth.Verifier
	// Login, when not nil, signs admins in at an OpenID Connect provider, at /admin/login.
	Login *login.Login
	// Open grants everything to every request, without authentication. It is for
	// development: only requests that name the server as localhost or an address of
	// loopback are answered.
	Open bool
	// Origins are the other sites whose pages may read streams, and act with the cookie of
	// their user, like https://app.example.com. None by default.
	Origins []string
	// Headers are further request headers that these pages may send, like X-Request-Id.
	// Those that Outcrier reads, traceparent and tracestate always may be sent.
	Headers []string
	// CrossSiteCookie has browsers send the cookie of POST /session from these pages too, if
	// they are of other sites: SameSite=None; Secure; Partitioned. It takes effect over
	// HTTPS only. Off by default: SameSite=Lax.
	CrossSiteCookie bool
	// Proxies are trusted about a client's address and TLS. None by default.
	Proxies Proxies
	// Limits are per client. DefaultLimits by default, none but those of Topics and BodyTime
	// with Open.
	Limits *Limits
	// MaxStreams is how many streams may be open at this node. 20,000 by default; negative
	// for no limit.
	MaxStreams int
	// MaxBody is the largest body of a request in bytes. 4 MiB by default.
	MaxBody int64

	// Name names this node among others, in hello, the audit and the metrics: 1 to 63
	// letters, digits, ".", "_" or "-". DefaultName by default.
	Name string
	// Version is shown in the metrics. By default that of the module.
	Version string
	// Retention is the age at which events are removed, of all nodes on one database. 7
	// days by default; negative keeps them for ever.
	Retention time.Duration
	// TopicRetention are for topics whose events are removed earlier.
	TopicRetention []upkeep.Rule
	// FollowOnly has the node neither move scheduled events when they are due nor maintain
	// partitions, for one that is short-lived. Other nodes have to.
	FollowOnly bool
	// Audit records which streams received which events, for receipts and the admin page.
	Audit bool
	// AuditRetention is the age at which the audit's records are removed, a whole day at a
	// time, a week at least. By default they are kept for as long as the oldest event.
	AuditRetention time.Duration

	// Wake is how the tail learns of commits while it is idle. tail.WakeNotify by default.
	Wake tail.Wake
	// BatchInterval is the time between two reads of the tail while many events flow. 10 ms
	// by default.
	BatchInterval time.Duration
	// PollInterval is the longest time between two reads of the tail. 1 s by default.
	PollInterval time.Duration
	// ReplayBuffer is how many bytes of the newest events are held in memory, from which
	// streams are resumed. 64 MiB by default.
	ReplayBuffer int
	// QueueFrames is how many events wait for one stream before it turns to replay. 256 by
	// default.
	QueueFrames int

	// Heartbeat is the longest time without a byte on a stream. 15 s by default.
	Heartbeat time.Duration
	// Stall is the time after which a stream is ended if its reader takes nothing. 30 s
	// by default.
	Stall time.Duration
	// Retry is the mean time after which a browser reconnects, spread from half to one and
	// a half of it. 3 s by default.
	Retry time.Duration
	// Gzip compresses streams and polls for clients that accept it; each event is
	// compressed once and shared.
	Gzip bool
	// DrainDelay is the time from when GET /readyz fails until the first stream is ended,
	// for load balancers to notice. None by default.
	DrainDelay time.Duration
	// DrainTime is the time over which the ends of all streams are spread. 5 s by default;
	// negative ends them at once.
	DrainTime time.Duration

	// NoAdmin leaves out the admin page. Who may use it is for Identity.Admin to say.
	NoAdmin bool
	// Metrics is who may read GET /metrics. MetricsAdmin by default.
	Metrics MetricsAccess
	// Home serves every path that is not the node's. 404 by default.
	Home http.Handler
	// TracerProvider has spans for appends by HTTP, reads of the tail and replays. None by
	// default.
	TracerProvider trace.TracerProvider
	// Logger gets starts, ends and failures. Nothing by default.
	Logger *slog.Logger
}

// MetricsAccess is who may read GET /metrics.
type MetricsAccess string

const (
	// MetricsAdmin answers identities that may administer.
	MetricsAdmin MetricsAccess = "admin"
	// MetricsOpen answers everyone.
	MetricsOpen MetricsAccess = "open"
	// MetricsOff answers no request; Node.Metrics may be served elsewhere.
	MetricsOff MetricsAccess = "off"
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

// nodeName matches valid names of nodes.
var nodeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// CheckName returns an error if name is not valid as the name of a node.
func CheckName(name string) error {
	if !nodeName.MatchString(name) {
		return errors.New(`want 1 to 63 letters, digits, ".", "_" or "-", the first a letter or digit`)
	}
	return nil
}

// DefaultName returns the host's name with a random suffix: a node that is restarted is
// not taken for the one before.
func DefaultName() string {
	const longest, suffix = 63, 6
	host, err := os.Hostname()
	if err != nil || CheckName(host) != nil {
		host = "node"
	}
	host = host[:min(len(host), longest-1-suffix)]
	return fmt.Sprintf("%s-%s", host, strings.ToLower(rand.Text()[:suffix]))
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
		limits := DefaultLimits()
		if c.Open { // all clients are one
			limits.StreamsPerPrincipal, limits.StreamsPerAddress, limits.PublishRate = 0, 0, 0
			limits.PublishBytes, limits.OpenRate, limits.Scheduled, limits.BufferedPerPrincipal = 0, 0, 0, 0
		}
		c.Limits = &limits
	}
	if err := c.Schema.Check(); err != nil {
		reject("schema: %w", err)
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

// settings are those that nodes on one database should agree on, or that explain what a
// node does, by the name of their flag, for the admin page.
func (c Config) settings() map[string]string {
	onOff := map[bool]string{false: "off", true: "on"}
	retention := "unlimited"
	if c.Retention > 0 {
		retention = days(c.Retention)
	}
	rules := make([]string, len(c.TopicRetention))
	for i, rule := range c.TopicRetention {
		rules[i] = fmt.Sprintf("%s=%s", rule.Pattern, days(rule.Keep))
	}
	return map[string]string{
		"retention": retention, "topic-retention": strings.Join(rules, " "), "audit": onOff[c.Audit], "wake": string(cmp.Or(c.Wake, tail.WakeNotify)), "gzip": onOff[c.Gzip],
		"turn": c.BatchInterval.String(), "idle-turn": c.PollInterval.String(), "replay-buffer": fmt.Sprint(c.ReplayBuffer), "pool": fmt.Sprint(c.Connections),
		"heartbeat": c.Heartbeat.String(), "stall": c.Stall.String(), "retry": c.Retry.String(), "drain": c.DrainTime.String(), "max-streams": fmt.Sprint(c.MaxStreams),
	}
}

// days writes a duration of whole days so, and of hours or minutes without zeros.
func days(d time.Duration) string {
	if d > 0 && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(d.String())
}
