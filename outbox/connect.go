package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox/internal/database"
)

// pingLimit is how long a connection that is new, or was idle in a pool, may take to
// show that it is there.
const pingLimit = 3 * time.Second

// Connect opens a connection to a primary. Its session has the settings that
// Outcrier's statements need, whatever the role, the database, the URL or a pooler say,
// or it is refused. Behind a pooler no statement is prepared beyond a transaction.
//
// Its search_path has only Postgres's own schemas: our statements name theirs. The URL may
// be one of FileURL.
func Connect(ctx context.Context, url string) (*pgx.Conn, error) {
	url, err := ResolveURL(url)
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	want := wanted(config.RuntimeParams)
	prepare(config, want)
	return open(ctx, config, want)
}

// PoolConfig prepares a pool for a replay.Reader and for appends: every connection is like
// one that Connect opens. Each connects with the URL as it is then, if that is one of
// FileURL, and with what is then in the files that the URL names: passwords, services,
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
	way := &way{want: want, url: url, text: text, login: loginOf(config.ConnConfig)}
	config.BeforeConnect = way.find
	state := &poolState{way: way}
	config.ConnConfig.Tracer = state
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		database.SetMade(conn, time.Now())
		err := adopt(ctx, conn, want)
		if errors.Is(err, errPooler) {
			way.forget()
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

func prepare(config *pgx.ConnConfig, want []setting) {
	for _, s := range want {
		if !s.late {
			config.RuntimeParams[s.name] = s.value
		}
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 5 * time.Second
	}
	switch config.DefaultQueryExecMode {
	case pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol: // as text, which reads don't take
		config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	// Of several hosts in the URL, the primary.
	if config.ValidateConnect == nil && len(config.Fallbacks) > 0 {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
}

// open connects, and finds out which settings a pooler accepts: it changes config
// accordingly.
func open(ctx context.Context, config *pgx.ConnConfig, want []setting) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if refusesSettings(err) {
		withoutSettings(config, want)
		conn, err = pgx.ConnectConfig(ctx, config)
	}
	if err != nil {
		return nil, err
	}
	switch err := adopt(ctx, conn, want); {
	case errors.Is(err, errPooler):
		_ = conn.Close(ctx)
		config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		return open(ctx, config, want)
	case err != nil:
		return nil, errors.Join(err, conn.Close(ctx))
	}
	return conn, nil
}

// refusesSettings reports whether err is of a pooler that accepts only the settings that it
// keeps track of.
func refusesSettings(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "08P01"
}

// withoutSettings removes the settings from config, to be set later, except the two that
// every pooler keeps track of.
func withoutSettings(config *pgx.ConnConfig, want []setting) {
	for _, s := range want {
		if s.name != "application_name" && s.name != "client_encoding" {
			delete(config.RuntimeParams, s.name)
		}
	}
}

// way is how a pool's connections are made. The first connection finds it out.
type way struct {
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
func (w *way) renew() (*pgx.ConnConfig, error) {
	text, err := ResolveURL(w.url)
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(text)
	if err != nil { // which may quote the password
		return nil, fmt.Errorf("read the database's URL: %w any more, or a file that it names can't be used", database.ErrNoURL)
	}
	if login := loginOf(config); text != w.text || login != w.login {
		w.text, w.login, w.known = text, login, nil
	}
	return config, nil
}

// find is what a pool calls before it connects.
func (w *way) find(ctx context.Context, config *pgx.ConnConfig) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, err := w.renew()
	if err != nil {
		if state, is := config.Tracer.(*poolState); is {
			state.note(err)
		}
		return err
	}
	config.Host, config.Port, config.Database, config.User, config.Password = c.Host, c.Port, c.Database, c.User, c.Password
	config.TLSConfig, config.Fallbacks = c.TLSConfig, c.Fallbacks
	if w.known == nil {
		tried := config.Copy()
		conn, err := open(ctx, tried, w.want)
		if err != nil {
			return err
		}
		w.known = tried
		if err := conn.Close(ctx); err != nil {
			return fmt.Errorf("close the connection that was tried: %w", err)
		}
	}
	config.RuntimeParams, config.DefaultQueryExecMode = w.known.Copy().RuntimeParams, w.known.DefaultQueryExecMode
	return nil
}

func (w *way) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known = nil
}
