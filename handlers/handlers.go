// Package handlers is Outcrier's HTTP surface: the routes and their answers. Package sse
// has the streams.
package handlers

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"golang.org/x/time/rate"

	"github.com/outcrier/outcrier/client"
	"github.com/outcrier/outcrier/internal/fair"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/admin"
	"github.com/outcrier/outcrier/outbox/audit"
	"github.com/outcrier/outcrier/outbox/catalogue"
	"github.com/outcrier/outcrier/outbox/tail"
	"github.com/outcrier/outcrier/sse"
)

// Config configures the handlers. Fields are required unless documented as optional.
type Config struct {
	Streamer *sse.Streamer
	// Append appends all drafts in one transaction of its own and returns their
	// ids.
	Append func(ctx context.Context, drafts []outbox.Draft) ([]int64, error)
	// Catalogue lists the types of events; nil for none.
	Catalogue func(ctx context.Context) ([]catalogue.EventType, error)
	// TailStatus is the state of the tail.
	TailStatus func() tail.Status
	// Database, when not nil, returns why there is no connection for replays and appends,
	// or nil if there is one.
	Database func(ctx context.Context) error
	// Draining, when not nil, reports whether the node drains or is about to: it is not ready
	// then, but still serves.
	Draining func() bool
	// Access configures authentication, origins and limits.
	Access Access
	// Audit, when not nil, records the streams, and the polls that returned events.
	Audit *audit.Recorder
	// Admin, when not nil, enables /admin, with Sampler's state of the node.
	Admin   *admin.Admin
	Sampler *Sampler
	// Home serves every path that is not Outcrier's; nil for 404.
	Home http.Handler
	// Metrics, when not nil, answers GET /metrics: for admins, and for everyone with
	// MetricsOpen.
	Metrics     http.Handler
	MetricsOpen bool
	// Traffic is counted here, if it is not nil.
	Traffic *Traffic
	// Gzip compresses streams, and the answers to polls, for clients that accept it.
	Gzip bool
	// MaxBody is the largest request body in bytes.
	MaxBody int64
	// Log gets refusals, failures and the ends of streams. Nothing if nil.
	Log *slog.Logger
}

// New returns the handler of all routes.
func New(config Config) http.Handler {
	access, limits := &config.Access, &config.Access.Limits
	limits.Topics = cmp.Or(limits.Topics, defaultTopics)
	limits.BodyTime = cmp.Or(limits.BodyTime, defaultBodyTime)
	if access.Refusals == nil {
		access.Refusals = new(Refusals)
	}
	if config.Traffic == nil {
		config.Traffic = new(Traffic)
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	h := &handlers{
		Config: config, sites: newSites(access.Origins), logged: rate.NewLimiter(loggedPerSecond, loggedAtOnce),
		openings: newRateLimit(limits.OpenRate, openAtOnce), published: newRateLimit(limits.PublishRate, maxDrafts),
		bodies: newRateLimit(float64(limits.PublishBytes), int(config.MaxBody)), signIns: newRateLimit(signInRate, signInsAtOnce), buffered: newBuffered(*limits, config.MaxBody),
		principals: newQuota(limits.StreamsPerPrincipal), addresses: newQuota(limits.StreamsPerAddress),
		unanswered: unanswered{log: config.Log},
	}
	e := echo.New()
	e.HTTPErrorHandler = h.answerFault
	e.Use(h.boundStall, middleware.RecoverWithConfig(middleware.RecoverConfig{
		DisablePrintStack: true,
		LogErrorFunc: func(c echo.Context, err error, stack []byte) error {
			config.Log.ErrorContext(c.Request().Context(), "handler panicked", "err", err, "path", c.Path(), "stack", string(stack))
			return err
		},
	}), h.withMemory, h.securityHeaders, h.cors)
	if config.Home != nil {
		h.homeRoutes(e)
	}
	h.routes(e)
	if config.Admin != nil {
		h.adminRoutes(e)
		h.loginRoutes(e)
	}
	return e
}

// homeRoutes gives all paths that are not the node's to Home.
func (h *handlers) homeRoutes(e *echo.Echo) {
	e.Any("/*", echo.WrapHandler(h.Home))
	// Other methods at these paths are not for Home.
	for _, path := range []string{"/events", "/events/:id", "/session", "/catalogue", "/healthz", "/readyz", "/metrics", "/client.js", "/client.all.js", "/client.d.ts", "/openapi.yaml"} {
		methods := cmp.Or(strings.Join(resources[path], ", "), "GET, HEAD")
		e.Any(path, h.oneSegment(func(c echo.Context) error {
			c.Response().Header().Set(echo.HeaderAllow, methods)
			return echo.ErrMethodNotAllowed
		}))
	}
	e.Any("/client/:part", h.part)
}

// routes adds the routes of /openapi.yaml, without those of the admin page.
func (h *handlers) routes(e *echo.Echo) {
	// A HEAD is answered like a GET: net/http leaves out the body.
	get := func(path string, handler echo.HandlerFunc) {
		e.Match([]string{http.MethodGet, http.MethodHead}, path, handler)
	}
	get("/events", h.withIdentity(h.events))
	get("/events/:id", h.oneSegment(h.withIdentity(h.one)))
	e.POST("/events", h.withIdentity(h.append))
	if h.Catalogue != nil {
		get("/catalogue", h.withIdentity(h.catalogue))
	}
	e.POST("/session", h.signIn)
	e.DELETE("/session", h.signOut)
	get("/healthz", h.healthz)
	get("/readyz", h.readyz)
	switch {
	case h.Metrics == nil:
	case h.MetricsOpen:
		get("/metrics", h.metricsOpen)
	default:
		get("/metrics", h.withIdentity(h.metrics))
	}
	for path, file := range map[string]echo.HandlerFunc{
		"/client.js":     module(forScripts, aWhile, client.Script),
		"/client.all.js": module(forScripts, aWhile, client.Whole),
		"/client.d.ts":   module("text/plain; charset=utf-8", aWhile, client.Types),
		"/client/:part":  h.part,
	} {
		get(path, file)
	}
	get("/openapi.yaml", h.describe)
}

type handlers struct {
	Config
	sites                 sites
	principals, addresses *quota
	// openings, published and bodies are the rates of streams and polls, of events, and of the
	// bytes of bodies with events; signIns is that of an address.
	openings, published, bodies, signIns *rateLimit
	buffered                             *fair.Bytes
	types                                types
	unaudited                            openStreams
	logged                               *rate.Limiter
	unlogged                             atomic.Int64
	unanswered                           unanswered
}
