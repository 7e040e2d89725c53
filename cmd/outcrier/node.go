package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/outcrier/outcrier/handlers"
	"github.com/outcrier/outcrier/internal/demo"
	"github.com/outcrier/outcrier/internal/pgserver"
	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/sse"
)

func runServe(ctx context.Context, p process, c serveConfig) error {
	return node{serveConfig: c, process: p, private: "serve"}.run(ctx)
}

func runDemo(ctx context.Context, p process, c demoConfig) error {
	return node{serveConfig: c.serve(), process: p, private: "demo", demo: true, traffic: c.Traffic}.run(ctx)
}

// node is one server process: the whole journey of an event, wired.
type node struct {
	serveConfig
	process
	// private names the folder of the private Postgres.
	private string
	// demo puts the demo's business beside the outbox, with traffic in events
	// per second.
	demo    bool
	traffic float64
}

// run serves until ctx ends, then drains. Every goroutine of the process starts
// here, but those of net/http and of single streams, and all are waited for.
func (n node) run(ctx context.Context) error {
	// The address first: that it is taken should be known before all else.
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", n.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer listener.Close()
	traced, stopTracing, err := n.trace(ctx)
	if err != nil {
		return err
	}
	defer stopTracing()
	private, err := n.database(ctx)
	if err != nil {
		return err
	}
	if private != nil {
		defer func() {
			if err := private.Stop(); err != nil {
				n.log.Error("private Postgres not stopped", "err", err)
			}
		}()
	}
	pool, err := newPool(n.DatabaseURL, n.Pool)
	if err != nil {
		return err
	}
	defer pool.Close()

	tail := &outbox.Tail{
		URL: n.DirectURL, Schema: n.Schema, Connected: pool.Reset,
		Wake: outbox.Wake(n.Wake), Turn: n.Turn, IdleTurn: n.IdleTurn, Log: n.log,
	}
	reader := outbox.Reader{Pool: pool, Schema: n.Schema, Apart: tail.Recheck}
	hub := sse.NewHub(&sse.Ring{Past: traced.Past(reader), Bytes: int(n.Ring), Replays: max(1, n.Pool/2)})
	hub.QueueFrames = n.Queue
	tail.Start, tail.Deliver = hub.Start, traced.Deliver(hub.Deliver)
	streamer := sse.NewStreamer(hub, n.log)
	streamer.Node, streamer.Heartbeat, streamer.Stall = n.Node, n.Heartbeat, n.Stall
	streamer.Retry, streamer.DrainTime, streamer.MaxStreams = n.Retry, n.Drain, n.MaxStreams
	access, err := n.access(n.log)
	if err != nil {
		return err
	}
	access.Open, access.Proxies, access.Limits = n.open(), n.proxies(), n.limits()
	var leaving atomic.Bool
	admin := outbox.NewAdmin(pool)
	admin.Schema = n.Schema
	surface := handlers.Config{
		Streamer: streamer, Append: traced.Append(appender(pool, n.Schema)), Catalogue: outbox.Catalogue{Pool: pool, Schema: n.Schema}.List, TailStatus: tail.Status, Leaving: leaving.Load,
		Access: access, Gzip: n.Gzip, MaxBody: int64(n.MaxBody), Log: n.log,
		Admin: admin, Pulse: &handlers.Pulse{Streamer: streamer, TailStatus: tail.Status},
	}
	if n.Audit {
		surface.Audit = &outbox.Audit{Pool: pool, Schema: n.Schema, Node: n.Node, State: state(tail, hub), Log: n.log}
	}
	measured := n.measure(&surface, tail, pool)
	var business *demo.Demo
	if n.demo {
		// Sessions of its own: those of the node find no application's tables.
		theirs, err := pgxpool.New(ctx, n.DatabaseURL)
		if err != nil {
			return err
		}
		defer theirs.Close()
		if err := demo.Migrate(ctx, theirs); err != nil {
			return err
		}
		business = demo.New(theirs, n.log)
		business.Heartbeat = n.Heartbeat
		surface.Home = business.Handler()
	}

	// What works for the streams goes on until they have ended.
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	group, work := errgroup.WithContext(work)
	group.Go(func() error { return tail.Run(work) })
	group.Go(func() error { return streamer.Run(work) })
	group.Go(func() error { return outbox.Schedule{Pool: pool, Schema: n.Schema, Log: n.log}.Run(work) })
	group.Go(func() error {
		return outbox.Retention{Pool: pool, Schema: n.Schema, Keep: n.Retention, Rules: n.rules(), Log: n.log}.Run(work)
	})
	if business != nil && n.traffic > 0 {
		group.Go(func() error { return business.Traffic(work, n.traffic) })
	}
	group.Go(func() error { return surface.Pulse.Run(work) })
	if surface.Audit != nil {
		group.Go(func() error { return surface.Audit.Run(work) })
	}
	if access.Sessions != nil {
		group.Go(func() error { return access.Sessions.Run(work) })
	}
	if n.metricsApart() {
		group.Go(func() error { return serveApart(work, n.Metrics, measured) })
	}
	if n.Debug != "" {
		group.Go(func() error { return serveProfiles(work, n.Debug) })
	}
	server := newServer(traced.Handler(handlers.New(surface)), 2*n.Stall, n.log)
	server.ReadHeaderTimeout, server.MaxHeaderBytes = n.HeaderTime, int(n.MaxHeader)
	server.Protocols = n.protocols()
	if server.TLSConfig = n.tlsConfig(n.log); server.TLSConfig != nil {
		group.Go(func() error { return server.ServeTLS(listener, "", "") })
	} else {
		group.Go(func() error { return server.Serve(listener) })
	}
	systemd := newSupervisor(n.environ)
	group.Go(func() error { return systemd.live(work, func() { hub.Position() }) })
	group.Go(func() error {
		select {
		case <-ctx.Done():
			leaving.Store(true)
			systemd.stopping(n.DrainDelay + n.Drain + 10*time.Second)
			n.log.Info("drain", "why", context.Cause(ctx), "streams", streamer.Open(), "delay", n.DrainDelay)
			time.Sleep(n.DrainDelay)
			err := drain(streamer, server, n.Drain)
			stop(errStopped)
			return err
		case <-work.Done():
			return errors.Join(context.Cause(work), server.Close())
		}
	})
	n.announce(listener.Addr(), private)
	systemd.ready()
	if err := group.Wait(); !errors.Is(err, errStopped) && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	n.log.Info("stopped")
	return nil
}

var errStopped = errors.New("stopped")

// state is what a node says of itself: where it stands, and for how long its tail
// has not followed.
func state(tail *outbox.Tail, hub *sse.Hub) func() (outbox.Position, time.Duration) {
	following := time.Now()
	return func() (outbox.Position, time.Duration) {
		now := time.Now()
		if tail.Status().Following {
			following = now
		}
		return hub.Position(), now.Sub(following)
	}
}

// announce prints what to paste where.
func (n node) announce(address net.Addr, private *pgserver.Server) {
	n.log.Info("serving", "address", address.String(), "node", n.Node, "tls", n.enabled())
	if !n.enabled() && len(n.TrustProxies) == 0 && notLoopback(address.String()) != "" {
		n.log.Warn("tokens travel unencrypted: give --tls-cert, --autocert-host, or --trust-proxy for the proxy that encrypts")
	}
	if !n.Dev {
		return
	}
	base := "http://" + address.String()
	if n.enabled() {
		base = "https://" + address.String()
	}
	header, mode := "", "dev mode: on loopback only, and no token is needed"
	if !n.open() {
		header, mode = `-H "Authorization: Bearer $OUTCRIER_TOKEN" `, "dev mode: a token is needed, since a key was given; outcrier token mints one"
	}
	lines := []string{fmt.Sprintf("stream curl -N %s'%s/events?topic=**'", header, base)}
	if n.demo {
		lines = append([]string{"page " + base + "/", "admin " + base + "/admin"}, lines...)
	}
	if private != nil {
		// Without what stands behind "?", at which some shells stumble.
		url, _, _ := strings.Cut(private.URL(""), "?")
		lines = append(lines, "psql "+url)
	}
	for _, line := range append(lines, mode) {
		_, _ = io.WriteString(n.stdout, line+"\n") // nobody may be reading
	}
}
