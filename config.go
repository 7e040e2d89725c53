package outcrier

import (
	"log/slog"
	"net/http"
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
	// Retention is the age at which events are removed, of all nodes on one database, a day
	// at least. 7 days by default; negative keeps them for ever.
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
