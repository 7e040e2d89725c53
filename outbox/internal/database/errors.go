package database

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

var (
	// ErrStandby is returned for a connection to a server in recovery. A standby's
	// snapshots don't say which transactions are in progress, so that reading there would
	// lose events in silence.
	ErrStandby = errors.New("the server is a standby in recovery; Outcrier must read the primary")
	// ErrNotMigrated is returned for a database without the outbox's schema.
	ErrNotMigrated = errors.New("the outbox's tables are missing: run outcrier migrate up")
	// ErrSilent ends a statement that got no answer in time.
	ErrSilent = errors.New("the database does not answer")
	// ErrNoURL is returned for a file without a URL.
	ErrNoURL = errors.New("no URL")
)

// Migrated returns ErrNotMigrated for errors that a missing schema causes, and err
// otherwise.
func Migrated(err error) error {
	var pg *pgconn.PgError
	// undefined_table, undefined_function, invalid_schema_name
	if errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "42883" || pg.Code == "3F000") {
		return fmt.Errorf("%w (%w)", ErrNotMigrated, err)
	}
	return err
}
