// Package outcrier streams the events of a Postgres outbox to browsers, from within a Go
// program's own server: a Node is what "outcrier serve" runs.
//
//	                ┌───────────────────────── Node.Run ─────────────────────────┐
//	INSERT INTO     │ tail.Tail ─→ hub.Hub ─→ sse.Streamer ─→ streams            │
//	outbox … ─→ Postgres                            ↑                            │
//	                │ upkeep.Schedule, Retention,   │                            │
//	                │ audit.Recorder, revocations   │                            │
//	                └───────────────────────────────┼────────────────────────────┘
//	                         requests ─→ Node.Handler ─→ Config.Authenticate
//
// The application appends with a plain INSERT in its own transactions, or by outbox.Append.
// It has its own router and server, and authenticates requests: Config.Authenticate returns
// an Identity with the topics that it may read.
package outcrier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/auth"
	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/internal/fair"
	"github.com/outcrier/outcrier/internal/metrics"
	"github.com/outcrier/outcrier/internal/tracing"
	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/catalogue"
	_ "github.com/outcrier/outcrier/outbox/jsonschema" // POST /events and the catalogue hold payloads to schemas
	"github.com/outcrier/outcrier/outbox/position"
	"github.com/outcrier/outcrier/outbox/replay"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/outbox/upkeep"
	"github.com/outcrier/outcrier/sse"
	"github.com/outcrier/outcrier/sse/hub"
)

// Node is one server process's part of an outbox: it follows the table and serves
// streams. All nodes on a database are equal. Its methods may be called at the same time.
type Node struct {
	config   Config
	pool     *pgxpool.Pool
	hub      *hub.Hub
	tail     *tail.Tail
	streamer *sse.Streamer
	audit    *audit.Recorder // nil without
	revoked  *revocations
	sampler  *handlers.Sampler
	appends  *fair.Queue // of requests

	handler, metrics http.Handler

	drain      sync.Once
	drainBegan time.Time // when Drain was first called
	draining   atomic.Bool
	started    atomic.Bool
	ended      chan struct{} // closed when Run returns
}

// New makes a node, and reports all mistakes of the configuration together. It connects
// only to migrate or check the schema: a database that does not answer is no error, and
// Run waits for it. A schema that this version does not work with is a
// migrations.ErrIncompatible. Run must be called; it closes what New opened.
func New(ctx context.Context, config Config) (*Node, error) {
	config, err := config.complete()
	if err != nil {
		return nil, fmt.Errorf("configure the node: %w", err)
	}
	if err := prepare(ctx, config); err != nil {
		return nil, err
	}
	pool := config.Pool
	if pool == nil {
		if pool, err = newPool(config.DatabaseURL, config.Connections); err != nil {
			return nil, fmt.Errorf("configure the node: %w", err)
		}
	}
	n := &Node{config: config, pool: pool, ended: make(chan struct{})}
	n.assemble()
	return n, nil
}

// prepare migrates if the configuration says so, and refuses a schema that this program does
// not work with.
func prepare(ctx context.Context, config Config) error {
	m := migrations.Migrations{URL: config.DirectURL, Schema: config.Schema, Outbox: config.View, Log: config.Logger}
	if config.Migrate {
		if err := m.Up(ctx); err != nil {
			return err
		}
	}
	for setting, url := range map[string]string{"database URL": config.DatabaseURL, "direct URL": config.DirectURL} {
		if host, why := outbox.Insecure(url); host != "" {
			config.Logger.WarnContext(ctx, "the way to Postgres is not safe: add sslmode=verify-full", "setting", setting, "host", host, "why", why)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	m.URL = config.DatabaseURL
	switch err := m.Check(ctx); {
	case errors.Is(err, migrations.ErrIncompatible):
		return err
	case err != nil:
		config.Logger.WarnContext(ctx, "schema can't be checked", "err", strings.Join(strings.Fields(err.Error()), " "))
	}
	return nil
}

// newPool returns a pool that connects when it has to: the database may be gone.
func newPool(url string, connections int) (*pgxpool.Pool, error) {
	config, err := outbox.PoolConfig(url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(connections)
	return pgxpool.NewWithConfig(context.Background(), config)
}

// assemble puts the parts together, in the order in which an event travels.
func (n *Node) assemble() {
	traced := tracing.New(n.config.TracerProvider)
	n.assembleStreams(traced)
	surface := n.surface(traced)
	n.metrics = metrics.Handler(n.metricsSources(surface))
	if n.config.Metrics != MetricsOff {
		surface.Metrics, surface.MetricsOpen = n.metrics, n.config.Metrics == MetricsOpen
	}
	n.handler = traced.Handler(handlers.New(surface))
}

// assembleStreams makes what an event passes: tail, hub and streamer, and the recorder of the
// audit.
func (n *Node) assembleStreams(traced *tracing.Tracing) {
	c := n.config
	n.tail = &tail.Tail{
		URL: c.DirectURL, Schema: c.Schema, Wake: c.Wake, Turn: c.BatchInterval, IdleTurn: c.PollInterval, Log: c.Logger,
		// After a failover the pool's connections may lead to the old primary, which need
		// not have the events that the tail has read.
		Connected: n.pool.Reset,
	}
	reader := replay.Reader{Pool: n.pool, Schema: c.Schema, Apart: n.tail.Recheck, Times: replay.NewTimes()}
	// The pool's connections: half for replays at most, a quarter to find where streams begin,
	// and the rest is always left to appends and to the node's own work.
	connections := int(n.pool.Config().MaxConns)
	n.appends = fair.NewQueue(connections/2, 1)
	n.hub = hub.New(&hub.Buffer{
		Past: traced.Past(reader), Bytes: c.ReplayBuffer, Replays: max(1, connections/2), Starts: max(1, connections/4),
	})
	n.tail.Keys = n.hub.Keys
	if c.QueueFrames > 0 {
		n.hub.QueueFrames = c.QueueFrames
	}
	n.revoked = &revocations{
		Revocations: auth.NewRevocations(), changed: make(chan struct{}, 1), log: c.Logger,
		load: func(ctx context.Context) ([]outbox.Revocation, error) {
			return outbox.Revocations(ctx, n.pool, c.Schema)
		},
	}
	n.tail.Start, n.tail.Deliver = n.revoked.start(n.hub.Start), n.revoked.deliver(traced.Deliver(n.hub.Deliver))
	n.streamer = sse.NewStreamer(n.hub, c.Logger)
	n.streamer.Node, n.streamer.Heartbeat, n.streamer.Stall = c.Name, c.Heartbeat, c.Stall
	n.streamer.Retry, n.streamer.DrainTime, n.streamer.MaxStreams = c.Retry, c.DrainTime, c.MaxStreams
	if c.Audit {
		n.audit = &audit.Recorder{Pool: n.pool, Schema: c.Schema, Keys: n.hub.Keys, Node: c.Name, State: n.state(), Log: c.Logger}
	}
}

// surface returns the configuration of the routes, without that of metrics. It makes the
// sampler for the admin page.
func (n *Node) surface(traced *tracing.Tracing) handlers.Config {
	c := n.config
	surface := handlers.Config{
		Streamer: n.streamer, Append: traced.Append(n.append), Catalogue: catalogue.Catalogue{Pool: n.pool, Schema: c.Schema}.List,
		Database:   func(ctx context.Context) error { return outbox.PoolFault(ctx, n.pool) },
		TailStatus: n.tail.Status, Draining: n.draining.Load, Audit: n.audit, Home: c.Home, Traffic: new(handlers.Traffic),
		Gzip: c.Gzip, MaxBody: c.MaxBody, Log: c.Logger,
		Access: handlers.Access{
			Authenticate: c.Authenticate, Sessions: c.Tokens, Open: c.Open, QueryToken: c.Tokens != nil && c.Tokens.QueryToken(),
			Login: c.Login, Revocations: n.revoked.Revocations, Origins: c.Origins, Headers: c.Headers, CrossSiteCookie: c.CrossSiteCookie, Proxies: c.Proxies, Limits: *c.Limits, Refusals: new(handlers.Refusals),
		},
	}
	if !c.NoAdmin {
		n.sampler = &handlers.Sampler{Streamer: n.streamer, TailStatus: n.tail.Status, Version: c.Version, Settings: c.settings()}
		surface.Admin, surface.Sampler = admin.New(n.pool), n.sampler
		surface.Admin.Schema = c.Schema
	}
	if n.audit != nil {
		n.audit.About = n.sampler.About // an empty one without an admin page
	}
	return surface
}

// metricsSources returns what the metrics are read from.
func (n *Node) metricsSources(surface handlers.Config) metrics.Sources {
	c := n.config
	sources := metrics.Sources{
		Keys: func() (keys auth.Status) { return keys },
		Node: c.Name, Version: c.Version, Tail: n.tail.Status, Streams: n.streamer.Stats,
		Refusals: surface.Access.Refusals, Traffic: surface.Traffic, Pool: n.pool.Stat, Log: c.Logger,
		Survey: func(ctx context.Context) (upkeep.Survey, error) { return upkeep.TakeSurvey(ctx, n.pool, c.Schema) },
	}
	if c.Tokens != nil {
		sources.Keys = c.Tokens.Status
	}
	if n.audit != nil {
		sources.Audit = n.audit.Stats
	}
	return sources
}

// state returns the node's state for the others: its position, and for how long its tail
// has not followed.
func (n *Node) state() func() (position.Position, time.Duration) {
	following := time.Now()
	return func() (position.Position, time.Duration) {
		now := time.Now()
		if n.tail.Status().Following {
			following = now
		}
		return n.hub.Position(), now.Sub(following)
	}
}

// Handler returns the handler of all routes: /events, /catalogue, /readyz, /client.js and
// the others of /openapi.yaml. Mount it at the root, or inside http.StripPrefix. The server
// must have no WriteTimeout, which would end every stream; ConnContext is for its field of
// that name.
func (n *Node) Handler() http.Handler { return n.handler }

// Metrics returns the handler of the node's Prometheus metrics, for an address of their own.
func (n *Node) Metrics() http.Handler { return n.metrics }

// Name returns the node's name.
func (n *Node) Name() string { return n.config.Name }

// Status returns the state of the tail.
func (n *Node) Status() tail.Status { return n.tail.Status() }

// Position returns the position of the newest event that streams have received.
func (n *Node) Position() position.Position { return n.hub.Position() }

// Streams returns how many streams are open, and in which state.
func (n *Node) Streams() sse.Stats { return n.streamer.Stats() }

// logger is never nil.
func (n *Node) logger() *slog.Logger { return n.config.Logger }
