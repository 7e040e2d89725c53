package migrations

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/outcrier/outcrier/outbox"
)

// config returns the configuration of connections that work through a transaction pooler too:
// without prepared statements that outlive a transaction.
func (m Migrations) config() (*pgx.ConnConfig, error) {
	url, err := outbox.ResolveURL(m.URL)
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "outcrier migrate"
	}
	config.RuntimeParams["client_encoding"] = "UTF8" // a pooler keeps track of this one
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 10 * time.Second
	}
	if config.ValidateConnect == nil && len(config.Fallbacks) > 0 {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		if m.Log != nil {
			level := slog.LevelDebug
			if notice.SeverityUnlocalized == "WARNING" {
				level = slog.LevelWarn
			}
			m.Log.Log(context.Background(), level, "postgres says", "notice", notice.Message)
		}
	}
	return config, nil
}

// connected calls fn with a connection.
func (m Migrations) connected(ctx context.Context, fn func(*pgx.Conn) error) error {
	if err := m.checkNames(); err != nil {
		return err
	}
	config, err := m.config()
	if err != nil {
		return err
	}
	for _, setting := range startSettings {
		config.RuntimeParams[setting] = "0"
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if isProtocolViolation(err) {
		for _, setting := range startSettings {
			delete(config.RuntimeParams, setting)
		}
		conn, err = pgx.ConnectConfig(ctx, config)
	}
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return fn(conn)
}

// startSettings are no limits (0) from a connection's start, since not all of it is in transactions
// of ours, where sessionSQL sets them: a look at the schema may take longer than a role's or a
// database's timeout allows, and a connection waits while another one migrates. Some poolers refuse
// them, and the role's and the database's hold then. transaction_timeout is not among them:
// servers before 17 refuse it.
var startSettings = []string{"statement_timeout", "idle_session_timeout"}

// isProtocolViolation reports whether err is of a pooler that refuses a setting.
func isProtocolViolation(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "08P01"
}

func transaction(ctx context.Context, conn *pgx.Conn, fn func(pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, fn)
}

// explained adds the hint of a Postgres error.
func explained(err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Hint != "" {
		return fmt.Errorf("%w: %s", err, pg.Hint)
	}
	return err
}

// sessionSQL makes a transaction depend on no setting of the role or the database.
const sessionSQL = `SET LOCAL transaction_read_only = off;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL standard_conforming_strings = on;
SET LOCAL search_path = '';
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL default_table_access_method = heap;
SET LOCAL row_security = off;
SET LOCAL "TimeZone" = 'UTC';
SET LOCAL "DateStyle" = 'ISO, YMD';
SET LOCAL "IntervalStyle" = postgres;
DO $$ BEGIN IF current_setting('transaction_timeout', true) IS NOT NULL THEN PERFORM set_config('transaction_timeout', '0', true); END IF; END $$;
`

// lockTimeoutSQL is for goose. While a migration waits for a lock, writers wait for the
// migration.
var lockTimeoutSQL = fmt.Sprintf("SET LOCAL lock_timeout = '%dms';\n", lockTimeout.Milliseconds())
