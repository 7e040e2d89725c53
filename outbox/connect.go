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
)

// sessionSettings are for the sessions that read the outbox. Each read wants a
// few rows by an index: a generic plan can't know that, and a plan of its own
// for every read would cost more than the read.
var sessionSettings = map[string]string{
	"application_name":                "outcrier",
	"plan_cache_mode":                 "force_generic_plan",
	"enable_seqscan":                  "off",
	"enable_bitmapscan":               "off",
	"jit":                             "off",
	"max_parallel_workers_per_gather": "0",
	"default_transaction_isolation":   "read committed",
	"TimeZone":                        "UTC",
}

// ErrStandby is returned for a connection to a server in recovery. A standby's
// snapshots don't say which transactions are in progress, so that reading there
// would lose events in silence.
var ErrStandby = errors.New("the server is a standby in recovery; Outcrier must read the primary")

// errSilent ends a statement to which no answer came in time.
var errSilent = errors.New("the database does not answer")

// within bounds a statement. Without it, one on a connection that is dead without
// a word would wait for ever.
func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, errSilent)
}

// pingLimit is how long a connection that is new, or was idle in a pool, may take to
// show that it is there.
const pingLimit = 3 * time.Second

// PoolConfig prepares a pool for a Reader and for appends: every connection is
// to a primary, and plans as reads of the outbox need it.
func PoolConfig(url string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	prepare(config.ConnConfig)
	config.BeforeConnect = suited()
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		conn.PgConn().CustomData()[madeKey] = time.Now()
		return refuseStandby(ctx, conn)
	}
	if config.PingTimeout == 0 {
		config.PingTimeout = pingLimit
	}
	return config, nil
}

const madeKey = "outcrier.made"

// madeAt is when a connection of such a pool was made; now for others.
func madeAt(conn *pgx.Conn) time.Time {
	if at, ok := conn.PgConn().CustomData()[madeKey].(time.Time); ok {
		return at
	}
	return time.Now()
}

// connect opens the one connection of a tail.
func connect(ctx context.Context, url string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	prepare(config)
	conn, err := pgx.ConnectConfig(ctx, config)
	if refusesSettings(err) {
		pooled(config)
		conn, err = pgx.ConnectConfig(ctx, config)
	}
	if err != nil {
		return nil, err
	}
	if err := refuseStandby(ctx, conn); err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	return conn, nil
}

func prepare(config *pgx.ConnConfig) {
	for name, value := range sessionSettings {
		if _, given := config.RuntimeParams[name]; !given {
			config.RuntimeParams[name] = value
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

// refusesSettings tells that a transaction pooler stands before the database: it
// takes only the settings that it keeps track of.
func refusesSettings(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "08P01"
}

// pooled makes do with what a transaction pooler allows: no settings of the
// session's own, and no statement that is prepared for the next transaction. The
// settings can be the role's: ALTER ROLE … SET enable_seqscan = off.
func pooled(config *pgx.ConnConfig) {
	for name := range sessionSettings {
		if name != "application_name" {
			delete(config.RuntimeParams, name)
		}
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
}

// suited returns what a pool calls before it connects. The first time it tries how
// the database is to be connected to.
func suited() func(context.Context, *pgx.ConnConfig) error {
	var mu sync.Mutex
	known, pooler := false, false
	return func(ctx context.Context, config *pgx.ConnConfig) error {
		mu.Lock()
		defer mu.Unlock()
		if !known {
			conn, err := pgconn.ConnectConfig(ctx, &config.Copy().Config)
			if err == nil {
				err = conn.Close(ctx)
			}
			pooler = refusesSettings(err)
			known = err == nil || pooler
		}
		if pooler {
			pooled(config)
		}
		return nil
	}
}

func refuseStandby(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := within(ctx, pingLimit)
	defer cancel()
	var standby bool
	if err := conn.QueryRow(ctx, `SELECT pg_is_in_recovery()`).Scan(&standby); err != nil {
		return fmt.Errorf("ask whether the server is a standby: %w", err)
	}
	if standby {
		return ErrStandby
	}
	return nil
}
