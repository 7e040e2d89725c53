package database

import (
	"errors"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// What a node sees of a database that is away.
const (
	whySilent      = "the database does not answer"
	whyUnreachable = "the database can't be reached"
	whyStarting    = "the database is starting or stopping"
	whyEnded       = "the database ended the connection, because it stops or somebody ended the session"
)

// Explain returns a phrase for why the database can't be followed or asked. It has no
// address, name or statement, so that anybody may read it. permanent reports whether a
// person has to act, because trying again does not help.
func Explain(err error) (why string, permanent bool) {
	var pg *pgconn.PgError
	switch {
	case errors.Is(err, ErrStandby):
		return "the database URL leads to a standby, and events are read from the primary", false
	case errors.Is(err, ErrNotMigrated):
		return ErrNotMigrated.Error(), false
	case errors.Is(err, ErrSilent):
		return whySilent, false
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission), errors.Is(err, ErrNoURL):
		return "the file with the database's URL, or one that the URL names, can't be read", false
	case !errors.As(err, &pg) && strings.Contains(err.Error(), "tls: "), !errors.As(err, &pg) && strings.Contains(err.Error(), "server refused TLS"):
		return "TLS to the database fails: see sslmode and sslrootcert in its URL", false
	case !errors.As(err, &pg):
		return whyUnreachable, false
	}
	switch pg.Code {
	case "28000", "28P01":
		return "the database refuses the role or its password: correct the database URL, or pg_hba.conf", true
	case "3D000":
		return "the database that the URL names does not exist: create it, or correct the URL", true
	case "42501":
		return "the role lacks rights: run outcrier migrate roles, and GRANT outcrier_server to it", true
	case "53300":
		return "the database has no connection left for the role", false
	case "55000":
		return "the database takes no connections at present", false
	case "53100":
		return "the database's disk is full", false
	case "57P01":
		return whyEnded, false
	case "57P02", "57P03":
		return whyStarting, false
	}
	return "the database answers with an error, SQLSTATE " + pg.Code, false
}

// Cause returns what tells one outage from another in the log. A database that stops, is
// gone and starts again is one.
func Cause(err error) string {
	why, _ := Explain(err)
	switch why {
	case whySilent, whyUnreachable, whyStarting, whyEnded:
		return "away"
	}
	return why
}

// OneLine returns an error's text without line breaks, which errors of pgx have.
func OneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
