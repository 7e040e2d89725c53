package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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
	return database.SQLState(err) == "08P01" // protocol_violation
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
