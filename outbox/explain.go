package outbox

import "github.com/outcrier/outcrier/outbox/internal/database"

// ErrStandby is returned for a connection to a server in recovery. A standby's
// snapshots don't say which transactions are in progress, so that reading there
// would lose events in silence.
var ErrStandby = database.ErrStandby

// ErrNotMigrated is returned for a database without the outbox's schema.
var ErrNotMigrated = database.ErrNotMigrated

// Explain returns a phrase for why the database can't be followed or asked. It has no
// address, name or statement, so that anybody may read it. permanent reports whether a
// person has to act, because trying again does not help.
func Explain(err error) (why string, permanent bool) { return database.Explain(err) }
