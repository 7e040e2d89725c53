package pgserver

import (
	"context"
	"log/slog"
)

// Config configures a server. Its zero value is a temporary Postgres with Postgres' own
// settings.
type Config struct {
	// Data is a folder that keeps the databases between runs, and the port; made when it does not exist. By default a
	// temporary folder that Stop, or the death of this process, throws away. Throw-away servers are copies of one
	// cluster and so share its system_identifier; a server with Data always has its own.
	Data string

	// Memory has a temporary folder be in memory where there is room for it. That is for tests, which make and drop many
	// databases: for a minute after files were deleted, ext4 looks past each of them at every file that it makes.
	Memory bool

	// From, when not empty, is a folder that Store filled: new databases begin as a copy of those, instead of empty.
	From string

	// Settings are set as by postgres -c, and win over postgresql.conf: {"fsync": "off"} for tests. They can't change
	// the port and the address.
	Settings map[string]string

	// Env are variables, as name=value, that Postgres gets in addition to the few of its
	// own: LD_PRELOAD for one whose disk is to be slow.
	Env []string

	// Fetch returns the folder of Postgres' binaries, of a major version unless that is 0, where none that fits is
	// installed. By default that is an error.
	Fetch func(ctx context.Context, major int) (string, error)

	// Log gets a line when the server starts and when it stops. By default nothing. Postgres' own log is in LogFile.
	Log *slog.Logger
}
