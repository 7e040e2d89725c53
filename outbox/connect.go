package outbox

import (
	"context"
	"errors"
	"fmt"
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

// PoolConfig prepares a pool for a Reader and for appends: every connection is
// to a primary, and plans as reads of the outbox need it.
func PoolConfig(url string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	prepare(config.ConnConfig)
	config.AfterConnect = refuseStandby
	return config, nil
}

// connect opens the one connection of a tail.
func connect(ctx context.Context, url string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	prepare(config)
	conn, err := pgx.ConnectConfig(ctx, config)
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
	// Of several hosts in the URL, the primary.
	if config.ValidateConnect == nil && len(config.Fallbacks) > 0 {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
}

func refuseStandby(ctx context.Context, conn *pgx.Conn) error {
	var standby bool
	if err := conn.QueryRow(ctx, `SELECT pg_is_in_recovery()`).Scan(&standby); err != nil {
		return fmt.Errorf("ask whether the server is a standby: %w", err)
	}
	if standby {
		return ErrStandby
	}
	return nil
}
