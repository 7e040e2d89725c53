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
	switch SQLState(err) {
	case "42P01", "42883", "3F000": // undefined_table, undefined_function, invalid_schema_name
		return fmt.Errorf("%w (%w)", ErrNotMigrated, err)
	}
	return err
}

// SQLState returns the SQLSTATE of an error of Postgres, and "" for any other.
func SQLState(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}
