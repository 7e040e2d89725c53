package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// watched are the settings of roles and databases that change what sessions do. A node's
// sessions, and migrations, set their own; an application's sessions keep these.
var watched = []string{
	"client_encoding", "default_transaction_isolation", "default_transaction_read_only", "idle_in_transaction_session_timeout",
	"lock_timeout", "outcrier.notify", "row_security", "search_path", "session_replication_role", "standard_conforming_strings",
	"statement_timeout", "transaction_timeout", "idle_session_timeout",
}

// givenSQL lists the settings of ALTER ROLE and ALTER DATABASE … SET.
const givenSQL = `
SELECT coalesce(r.rolname, ''), s.setdatabase <> 0, lower(split_part(g.given, '=', 1)), substr(g.given, strpos(g.given, '=') + 1)
FROM pg_db_role_setting AS s CROSS JOIN unnest(s.setconfig) AS g (given) LEFT JOIN pg_roles AS r ON r.oid = s.setrole
WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) AND lower(split_part(g.given, '=', 1)) = ANY ($1)
ORDER BY 1, 3`

// settings reports the settings that reach applications that append.
func (e *examination) settings(ctx context.Context, conn *pgx.Conn) {
	rows, _ := conn.Query(ctx, givenSQL, watched) // ForEachRow has the error
	var role, name, value string
	var here bool
	var given, harmful []string
	lost := false
	_, err := pgx.ForEachRow(rows, []any{&role, &here, &name, &value}, func() error {
		line := fmt.Sprintf("%s = %s", name, value)
		switch {
		case role == "":
			line += ", for this database"
		case here:
			line += ", for role " + role + " in this database"
		default:
			line += ", for role " + role
		}
		if reason := harms(name, strings.Trim(value, `"'`)); reason != "" {
			harmful = append(harmful, line+": "+reason)
			lost = lost || name == "session_replication_role"
		} else {
			given = append(given, line)
		}
		return nil
	})
	remedy := "ALTER ROLE … RESET, or ALTER DATABASE … RESET, where an application does not need it"
	switch {
	case err != nil:
		e.say(Error, "settings", "the settings of roles can't be looked at: "+plain(err), "look at the log of Postgres")
	case lost:
		e.say(Error, "settings", "settings of roles or of the database keep appends from being stored", remedy, harmful...)
	case len(harmful) > 0:
		e.say(Warning, "settings", "settings of roles or of the database can harm applications that append; a node sets its own", remedy, harmful...)
	case len(given) > 0:
		e.found(Finding{Check: "settings", Severity: OK, Text: "settings of roles or of the database reach applications that append; a node sets its own", Details: given})
	default:
		e.ok("settings", "no role and no database has settings that matter here")
	}
	e.durability(ctx, conn)
}

// harms returns the harm that a setting does to an application that appends, "" for none.
func harms(name, value string) string {
	switch {
	case name == "client_encoding" && !strings.EqualFold(value, "utf8") && !strings.EqualFold(value, "unicode"):
		return "a client that sends UTF-8 all the same stores garbled text"
	case name == "session_replication_role" && value == "replica":
		return "no trigger runs, and an INSERT into the view stores nothing"
	case name == "default_transaction_read_only" && value == "on":
		return "an append needs a transaction that is READ WRITE"
	case name == "default_transaction_isolation" && value != "read committed":
		return "an append with a dedup key that another transaction took may fail with 40001: repeat the transaction"
	case name == "standard_conforming_strings" && value == "off":
		return "backslashes in string literals are lost"
	}
	return ""
}

func (e *examination) durability(ctx context.Context, conn *pgx.Conn) {
	var idle, fsync string
	if err := conn.QueryRow(ctx, `SELECT current_setting('idle_in_transaction_session_timeout'), current_setting('fsync')`).Scan(&idle, &fsync); err != nil {
		return
	}
	if idle == "0" {
		e.say(Advice, "idle transactions", "idle_in_transaction_session_timeout is not set: a client that hangs in a transaction holds its events back for ever",
			"ALTER ROLE … SET idle_in_transaction_session_timeout = '5min', for the applications that append")
	} else {
		e.ok("idle transactions", "transactions that are idle are ended after %s", idle)
	}
	if fsync == "off" {
		e.say(Warning, "durability", "fsync is off: a crash of the machine loses what was committed", "set fsync = on, unless all data here may be lost")
	}
}

// notifications looks at the queue of NOTIFY, which all databases of the cluster share: a
// session that listens and stays in a transaction keeps it from being emptied.
func (e *examination) notifications(ctx context.Context, conn *pgx.Conn) {
	var usage float64
	if err := conn.QueryRow(ctx, `SELECT pg_notification_queue_usage()`).Scan(&usage); err != nil {
		e.say(Error, "notifications", "the queue of notifications can't be looked at: "+plain(err), "look at the log of Postgres")
		return
	}
	e.queue(usage)
}

// queue reports how full the queue of notifications is.
func (e *examination) queue(usage float64) {
	text := fmt.Sprintf("the queue of notifications is %.0f %% full", 100*usage)
	switch {
	case usage >= 0.5:
		e.say(Error, "notifications", text+": writers don't notify any more, and when it is full every COMMIT that does fails", stuckListener)
	case usage >= 0.1:
		e.say(Warning, "notifications", text, stuckListener)
	default:
		e.ok("notifications", "%s", text)
	}
}

const stuckListener = "a session that has LISTENed stays in a transaction: SELECT pid, datname, state, xact_start, query FROM pg_stat_activity WHERE xact_start IS NOT NULL ORDER BY xact_start shows the oldest; end it"
