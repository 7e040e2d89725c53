package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox/internal/database"
)

// PoolConfig prepares a pool for a replay.Reader and for appends: every connection is like
// one that Connect opens. Each connects with the URL as it is then, if that is one of
// FileURL, and with the present content of the files that the URL names: passwords, services,
// certificates and keys. So server, login and TLS are always those of the URL: a caller
// can't change them in the configuration.
func PoolConfig(url string) (*pgxpool.Config, error) {
	text, err := ResolveURL(url)
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(text)
	if err != nil {
		return nil, err
	}
	want := wanted(config.ConnConfig.RuntimeParams)
	prepare(config.ConnConfig, want)
	c := &connector{want: want, url: url, text: text, login: loginOf(config.ConnConfig)}
	config.BeforeConnect = c.find
	state := &poolState{connector: c}
	config.ConnConfig.Tracer = state
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		database.SetMade(conn, time.Now())
		err := adopt(ctx, conn, want)
		if errors.Is(err, errPooler) {
			c.forget()
		} else {
			state.note(err)
		}
		return err
	}
	if config.PingTimeout == 0 {
		config.PingTimeout = pingLimit
	}
	return config, nil
}

// connector says how a pool connects: with the URL as it is now, and with the settings that a
// pooler in between accepts, which the first connection finds out.
type connector struct {
	want []setting
	url  string

	mu    sync.Mutex
	known *pgx.ConnConfig
	// text and login are what known was found out with.
	text  string
	login login
}

// login is the server, the database and the user of a connection.
type login struct {
	host, database, user, password string
	port                           uint16
}

func loginOf(c *pgx.ConnConfig) login { return login{c.Host, c.Database, c.User, c.Password, c.Port} }

// renew reads the URL again, and the files that it may name: of passwords, services,
// certificates and keys. Postgres's own programs do so for each connection too.
func (c *connector) renew() (*pgx.ConnConfig, error) {
	text, err := ResolveURL(c.url)
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(text)
	if err != nil { // which may quote the password
		return nil, fmt.Errorf("read the database's URL: %w any more, or a file that it names can't be used", database.ErrNoURL)
	}
	if login := loginOf(config); text != c.text || login != c.login {
		c.text, c.login, c.known = text, login, nil
	}
	return config, nil
}

// find is called by a pool before it connects, with the configuration of the connection.
func (c *connector) find(ctx context.Context, config *pgx.ConnConfig) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, err := c.renew()
	if err != nil {
		if state, is := config.Tracer.(*poolState); is {
			state.note(err)
		}
		return err
	}
	config.Host, config.Port, config.Database, config.User, config.Password = now.Host, now.Port, now.Database, now.User, now.Password
	config.TLSConfig, config.Fallbacks = now.TLSConfig, now.Fallbacks
	if c.known == nil {
		tried := config.Copy()
		conn, err := open(ctx, tried, c.want)
		if err != nil {
			return err
		}
		c.known = tried
		if err := conn.Close(ctx); err != nil {
			return fmt.Errorf("close the connection that was tried: %w", err)
		}
	}
	config.RuntimeParams, config.DefaultQueryExecMode = c.known.Copy().RuntimeParams, c.known.DefaultQueryExecMode
	return nil
}

// forget has the next connection find out what a pooler accepts.
func (c *connector) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = nil
}

// poolState is the result of a pool's newest attempt to connect. It is the pool's tracer:
// nothing else learns why a connection could not be made.
type poolState struct {
	connector *connector

	mu     sync.Mutex
	fault  error
	probed time.Time
}

func (s *poolState) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	return ctx
}

func (s *poolState) TraceConnectEnd(ctx context.Context, data pgx.TraceConnectEndData) {
	if data.Err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return // the caller no longer waits
	}
	s.note(data.Err)
}

func (s *poolState) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (s *poolState) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (s *poolState) note(fault error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// probeEvery is how often a pool that could not connect is tried again by PoolFault.
const probeEvery = time.Second

// PoolFault returns why the pool's newest attempt to connect failed; nil if it did not, or
// for a pool whose configuration is not PoolConfig's. While it failed, PoolFault tries
// again, at most once a second: nothing else may try, since a node that is not ready gets
// no requests.
func PoolFault(ctx context.Context, pool *pgxpool.Pool) error {
	state, is := pool.Config().ConnConfig.Tracer.(*poolState)
	if !is {
		return nil
	}
	state.mu.Lock()
	fault := state.fault
	due := fault != nil && time.Since(state.probed) >= probeEvery
	if due {
		state.probed = time.Now()
	}
	state.mu.Unlock()
	if !due {
		return fault
	}
	ctx, cancel := database.Within(ctx, pingLimit)
	defer cancel()
	config := pool.Config().ConnConfig
	err := state.connector.find(ctx, config)
	if err == nil {
		var conn *pgx.Conn
		if conn, err = open(ctx, config, state.connector.want); err == nil {
			err = conn.Close(ctx)
		}
	}
	state.note(err)
	return err
}
