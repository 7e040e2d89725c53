// Package handlers is Outcrier's HTTP surface: what the routes are and how they
// answer. Streams themselves are sse's.
package handlers

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse"
)

// Config is what the handlers are built on. All fields but Home are needed.
type Config struct {
	Streamer *sse.Streamer
	// Append appends all drafts in one transaction of its own and returns their
	// ids.
	Append func(ctx context.Context, drafts []outbox.Draft) ([]int64, error)
	// TailStatus is the state of the tail.
	TailStatus func() outbox.Status
	// Home serves every path that is not Outcrier's; nil for 404.
	Home http.Handler
	// MaxBody is the largest request body in bytes.
	MaxBody int64
	Log     *slog.Logger
}

// New returns the handler of all routes.
func New(config Config) http.Handler {
	h := &handlers{config}
	e := echo.New()
	e.HTTPErrorHandler = h.problem
	e.Use(middleware.RecoverWithConfig(middleware.RecoverConfig{
		DisablePrintStack: true,
		LogErrorFunc: func(c echo.Context, err error, stack []byte) error {
			config.Log.ErrorContext(c.Request().Context(), "handler panicked", "err", err, "path", c.Path(), "stack", string(stack))
			return err
		},
	}))
	e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			c.Response().Header().Set("X-Content-Type-Options", "nosniff")
			return next(c)
		}
	})

	if config.Home != nil {
		e.Any("/*", echo.WrapHandler(config.Home))
		// Home gets no other path's methods.
		for path, allowed := range map[string]string{"/events": "GET, POST", "/healthz": "GET", "/readyz": "GET"} {
			e.Any(path, func(c echo.Context) error {
				c.Response().Header().Set(echo.HeaderAllow, allowed)
				return echo.ErrMethodNotAllowed
			})
		}
	}
	e.GET("/events", h.events)
	e.POST("/events", h.append)
	e.GET("/healthz", h.healthz)
	e.GET("/readyz", h.readyz)
	return e
}

type handlers struct{ Config }
