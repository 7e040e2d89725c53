package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/outcrier/outcrier"
	"github.com/outcrier/outcrier/internal/pgserver"
	"github.com/outcrier/outcrier/outbox/tail"
)

func (c serveConfig) Run(ctx context.Context, p process) error {
	return node{serveConfig: c, process: p}.run(ctx)
}

// node is one server process: an outcrier.Node with a listener.
type node struct {
	serveConfig
	process
}

// run serves until ctx ends, then drains.
func (n node) run(ctx context.Context) error {
	// First the address: one that is in use fails the start before anything is done.
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", n.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("another program listens on %s: stop it, or choose another address by --listen (%w)", n.Listen, err)
	}
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer listener.Close()
	provider, stopTracing, err := n.trace(ctx)
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
	config, err := n.config(provider)
	if err != nil {
		return err
	}
	streams, err := outcrier.New(ctx, config)
	if err != nil {
		return err
	}

	// The workers that serve streams go on until all streams have ended.
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	group, work := errgroup.WithContext(work)
	group.Go(func() error { return streams.Run(work) })
	if n.metricsApart() {
		group.Go(func() error { return serveApart(work, n.Metrics, metricsHandler(streams), metricsTime+n.Stall) })
	}
	if config.Tokens != nil {
		group.Go(func() error { return n.watch(work, config.Tokens, n.log) })
	}
	if n.Debug != "" {
		group.Go(func() error { return serveProfiles(work, n.Debug) })
	}
	server := newServer(streams, n.Stall, n.log)
	server.ReadHeaderTimeout, server.MaxHeaderBytes = n.HeaderTime, int(n.MaxHeader)
	server.Protocols = n.protocols()
	server.TLSConfig = n.demand(n.tlsConfig(n.log), n.log)
	group.Go(func() error { return server.serve(listener) })
	systemd := newSupervisor(n.environ)
	group.Go(func() error { return systemd.live(work, func() { streams.Position() }) })
	group.Go(func() error {
		select {
		case <-ctx.Done():
		case <-work.Done():
			return errors.Join(context.Cause(work), server.Close())
		}
		systemd.stopping(n.DrainDelay + n.Drain + 10*time.Second)
		n.log.Info("stopping", "why", context.Cause(ctx))
		draining, cancel := context.WithTimeout(work, n.DrainDelay+n.Drain+time.Second)
		defer cancel()
		if err := streams.Drain(draining); err != nil {
			n.log.Warn("streams are cut off", "streams", streams.Streams().Open)
		}
		err := server.shutdown()
		stop(errStopped)
		return err
	})
	n.announce(listener.Addr(), private)
	systemd.ready()
	if err := group.Wait(); !errors.Is(err, errStopped) {
		return err
	}
	n.log.Info("stopped")
	return nil
}

var errStopped = errors.New("stopped")

// config returns the node's Config, of settings that passed check.
func (n node) config(provider trace.TracerProvider) (config outcrier.Config, err error) {
	limits := n.limits()
	config = outcrier.Config{
		DatabaseURL: n.DatabaseURL, DirectURL: n.DirectURL, Connections: n.Pool, Schema: n.Schema,
		Open: n.open(), Origins: n.AllowOrigins, Headers: n.AllowHeaders, CrossSiteCookie: n.CrossSiteCookie, Proxies: n.proxies(), Limits: &limits, MaxStreams: n.MaxStreams, MaxBody: int64(n.MaxBody),
		Name: n.Node, Version: version(), Retention: orNegative(n.Retention), TopicRetention: n.rules(), Audit: n.Audit, AuditRetention: n.AuditRetention,
		Wake: tail.Wake(n.Wake), BatchInterval: n.Turn, PollInterval: n.IdleTurn, ReplayBuffer: int(n.ReplayBuffer), QueueFrames: n.Queue,
		Heartbeat: n.Heartbeat, Stall: n.Stall, Retry: n.Retry, Gzip: n.Gzip, DrainDelay: n.DrainDelay, DrainTime: orNegative(n.Drain),
		Metrics: n.metricsAccess(), TracerProvider: provider, Logger: n.log,
	}
	if n.configured() {
		if config.Tokens, err = n.verifier(n.log, n.QueryToken); err != nil {
			return config, err
		}
		config.Authenticate = config.Tokens.Authenticate
	}
	config.Authenticate = n.authenticate(config.Authenticate, n.log)
	config.Login, err = n.login(n.log)
	return config, err
}

// orNegative returns a setting whose 0 is a value, for a Config whose 0 is the default.
func orNegative(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// announce logs the address, and in dev mode prints lines to paste into a shell.
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
	lines := []string{"page " + base + "/admin", fmt.Sprintf("stream curl -N %s'%s/events?topic=**'", header, base)}
	if private != nil {
		// Without the part after "?", which some shells don't accept.
		url, _, _ := strings.Cut(private.URL(""), "?")
		lines = append(lines, "psql "+url)
	}
	for _, line := range append(lines, mode) {
		_, _ = io.WriteString(n.stdout, line+"\n") // the output may be closed
	}
}

// database starts the private Postgres if no other is configured, and migrates the schema
// if that is configured.
func (n *node) database(ctx context.Context) (private *pgserver.Server, err error) {
	if n.DatabaseURL == "" {
		if n.Data == "" {
			if n.Data, err = pgserver.DefaultData("serve"); err != nil {
				return nil, err
			}
		}
		private, err = pgserver.Start(ctx, pgserver.Config{Data: n.Data, Log: n.log})
		if err != nil {
			return nil, err
		}
		n.DatabaseURL, n.DirectURL = private.URL(""), private.URL("")
	}
	if n.Migrate {
		if err := n.migrations(n.DirectURL, n.log).Up(ctx); err != nil {
			if private != nil {
				err = errors.Join(err, private.Stop())
			}
			return nil, err
		}
	}
	return private, nil
}
