// Command demo shows Outcrier: a small trading desk whose pages are live. It is an
// application like any other that embeds a node: an echo server, tables, and cookie
// sessions of its own (package tamarind).
//
//	go run ./examples/demo
//
// Without --database-url it brings up a private Postgres, whose data stay in a folder.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/examples/demo/tamarind"
	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/internal/pgserver"
	"github.com/outcrier/outcrier/migrations"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run is the whole program. It returns the exit code: 2 for a mistake in args, 1 for a
// failure, 0 after an orderly end.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	s, code := parse(args, getenv, stderr)
	if code != parsed {
		return code
	}
	if err := s.run(ctx, stdout, stderr); err != nil && ctx.Err() == nil {
		fmt.Fprintf(stderr, "demo: %v\n", err)
		return 1
	}
	return 0
}

// run serves until ctx ends.
func (s settings) run(ctx context.Context, stdout, stderr io.Writer) (err error) {
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: s.logLevel}))
	// The address first: that it is taken should be known before all else.
	listener, err := s.open(ctx, stderr)
	if err != nil {
		return err
	}
	defer listener.Close()
	psql := s.databaseURL
	if s.databaseURL == "" {
		private, err := s.startPostgres(ctx, log, stderr)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, private.Stop()) }()
		s.databaseURL, psql = private.URL(""), private.URL("")
	}
	if s.migrate {
		if err := (migrations.Migrations{URL: s.databaseURL, Log: log}).Up(ctx); err != nil {
			return err
		}
	}
	pool, err := pgxpool.New(ctx, s.databaseURL)
	if err != nil {
		return err
	}
	defer pool.Close()
	desk, err := tamarind.Open(ctx, pool, log)
	if err != nil {
		return err
	}
	desk.Heartbeat = s.heartbeat
	node, err := outcrier.New(ctx, outcrier.Config{
		DatabaseURL: s.databaseURL, Authenticate: desk.Identify, Logger: log, Origins: s.origins,
		Audit: s.audit, Name: s.node, Heartbeat: s.heartbeat, Retry: s.retry, DrainTime: orNone(s.drain), Gzip: s.gzip,
	})
	if err != nil {
		return err
	}

	server := &http.Server{
		Handler: routes(desk, node), ConnContext: node.ConnContext,
		// No WriteTimeout: it would end every stream.
		ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error { return desk.Traffic(running, s.traffic) })
	group.Go(func() error {
		// When running ends, it says goodbye to the streams; then the server may go.
		err := node.Run(running)
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(ending) != nil {
			_ = server.Close()
		}
		return err
	})
	s.announce(stdout, listener.Addr(), psql)
	return group.Wait()
}

// orNone is for a setting whose 0 is a value, in a Config whose 0 is the default.
func orNone(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// open listens. If no address is configured and the default port is taken, it takes any
// free one.
func (s settings) open(ctx context.Context, stderr io.Writer) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.listen)
	if err == nil || s.listenGiven || !errors.Is(err, syscall.EADDRINUSE) {
		return listener, err
	}
	fmt.Fprintf(stderr, "%s is taken by another program: the demo takes a free port (--listen chooses one)\n", s.listen)
	return new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
}

// routes is the application: its own pages and API, a stream for each person, and the
// node's routes for all else.
func routes(desk *tamarind.Business, node *outcrier.Node) http.Handler {
	e := echo.New()
	e.Use(loopbackOnly, headers)
	for _, path := range []string{"/", "/p/*", "/demo/static/*", "/api/demo/*"} {
		e.Any(path, serve(desk.Handler()))
	}
	e.Any("/as/:person/*", func(c echo.Context) error {
		person := c.Param("person")
		own := http.StripPrefix("/as/"+person, node.Handler())
		c.SetRequest(tamarind.As(c.Request(), person))
		return serve(own)(c)
	})
	e.Any("/*", serve(node.Handler()))
	return e
}

// serve leaves a request to a handler, which gets the writer of net/http itself: streams
// take their connection over.
func serve(handler http.Handler) echo.HandlerFunc {
	return func(c echo.Context) error {
		handler.ServeHTTP(c.Response().Writer, c.Request())
		return nil
	}
}

// loopbackOnly refuses names that were made to resolve to loopback by somebody else's page
// (DNS rebinding): here no sign-in is needed.
func loopbackOnly(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if !handlers.IsLoopback(c.Request().Host) {
			return echo.NewHTTPError(http.StatusMisdirectedRequest, "the demo answers only to localhost and addresses of loopback")
		}
		return next(c)
	}
}

// headers are for answers that set none of their own: nothing of them is to be rendered.
func headers(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Header().Set("X-Content-Type-Options", "nosniff")
		c.Response().Header().Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		return next(c)
	}
}

// announce prints what to open and what to paste, one a line.
func (s settings) announce(stdout io.Writer, address net.Addr, psql string) {
	base := "http://" + address.String()
	lines := []string{"page " + base + "/", "admin " + base + "/admin", fmt.Sprintf("stream curl -N '%s/events?topic=**'", base)}
	if s.private() {
		// Without the part after "?", which some shells don't accept.
		psql, _, _ = strings.Cut(psql, "?")
		lines = append(lines, "psql "+psql, "data "+s.data)
	}
	lines = append(lines, "dev mode: on loopback only, and nobody has to sign in; Ctrl-C ends it")
	for _, line := range lines {
		_, _ = io.WriteString(stdout, line+"\n") // the output may be closed
	}
}

// private reports whether the demo has a Postgres of its own.
func (s settings) private() bool { return s.data != "" }

// startPostgres brings up a private Postgres on the data folder.
func (s *settings) startPostgres(ctx context.Context, log *slog.Logger, stderr io.Writer) (*pgserver.Server, error) {
	if s.data == "" {
		var err error
		if s.data, err = pgserver.DefaultData("demo"); err != nil {
			return nil, err
		}
	}
	fmt.Fprintf(stderr, "starting a private Postgres on %s (remove that folder to start afresh)\n", s.data)
	return pgserver.Start(ctx, pgserver.Config{Data: s.data, Log: log, Fetch: func(ctx context.Context, major int) (string, error) {
		return fetchPostgres(ctx, major, stderr)
	}})
}
