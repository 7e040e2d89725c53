package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/outcrier/outcrier/outbox"
	"github.com/outcrier/outcrier/outbox/tail"
)

// dial connects plainly: by the way that a pooler lets through too.
func dial(ctx context.Context, url string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 5 * time.Second
	}
	return pgx.ConnectConfig(ctx, config)
}

// database examines the outbox in the order in which things depend on each other.
func (e *examination) database(ctx context.Context) {
	e.transport()
	conn, err := dial(ctx, e.DatabaseURL)
	if err != nil {
		why, _ := outbox.Explain(err)
		why, remedy, known := strings.Cut(why, ": ")
		if !known {
			remedy = "check --database-url, whether Postgres runs, and firewalls and poolers in between"
			if _, answered := errors.AsType[*pgconn.PgError](err); answered {
				remedy = "look at the log of Postgres"
			}
		}
		e.say(Error, "connection", why+": "+plain(err), remedy)
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if !e.server(ctx, conn) {
		return
	}
	e.sessions(ctx)
	e.clock(ctx, conn)
	e.settings(ctx, conn)
	e.notifications(ctx, conn)
	e.listen(ctx)
	at, found := e.place(ctx, conn)
	if !found {
		return
	}
	e.creators(ctx, conn, at)
	e.rowSecurity(ctx, conn, at)
	e.schema(ctx, conn, at)
	e.rights(ctx, conn, at)
	e.publications(ctx, conn, at)
	e.sequence(ctx, conn)
	e.partitions(ctx, conn, at)
	e.openTransactions(ctx, conn)
	e.scheduled(ctx, conn)
}

// transport reports whether others could read the traffic between the node and Postgres.
func (e *examination) transport() {
	for _, way := range []struct{ setting, url string }{{"--database-url", e.DatabaseURL}, {"--direct-url", e.DirectURL}} {
		if host, why := outbox.Insecure(way.url); way.url != "" && host != "" {
			e.say(Warning, "tls", fmt.Sprintf("%s connects to %s without verifying the server: %s", way.setting, host, why),
				"add sslmode=verify-full to the URL, and sslrootcert=… where the authority is not one of the system's")
			return
		}
	}
	e.ok("tls", "Postgres is on this machine, or proves by its certificate which host it is")
}

// placeSQL finds the schema, and the view by its trigger, wherever it was moved to.
const placeSQL = `
SELECT n.oid, coalesce((
	SELECT t.tgrelid FROM pg_trigger AS t JOIN pg_class AS v ON v.oid = t.tgrelid AND v.relkind = 'v' JOIN pg_proc AS p ON p.oid = t.tgfoid
	WHERE p.pronamespace = n.oid AND p.proname = 'append_row' AND NOT t.tgisinternal LIMIT 1), 0),
	EXISTS (SELECT FROM pg_class AS c WHERE c.relnamespace = n.oid AND c.relname = 'event'), has_schema_privilege(n.oid, 'USAGE')
FROM pg_namespace AS n WHERE n.nspname = $1`

// place reports whether there is an outbox to examine.
func (e *examination) place(ctx context.Context, conn *pgx.Conn) (at place, found bool) {
	at.name = string(cmp.Or(e.Schema, outbox.DefaultSchema))
	var ours, usable bool
	err := conn.QueryRow(ctx, placeSQL, at.name).Scan(&at.schema, &at.view, &ours, &usable)
	schema := pgx.Identifier{at.name}.Sanitize()
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		e.say(Error, "schema", "the database has no schema "+schema,
			"run outcrier migrate up, or name the schema (--schema); a dump of public alone (pg_dump -n public, Rails' structure.sql) leaves it out: dump both schemas (-n public -n "+at.name+")")
	case err != nil:
		e.say(Error, "schema", "it can't be looked at: "+plain(err), "look at the log of Postgres")
	case !ours:
		e.say(Error, "schema", "schema "+schema+" has no table event", "run outcrier migrate up, or name the outbox's schema (--schema)")
	case !usable:
		e.say(Error, "rights", "this role may not use schema "+schema, "GRANT outcrier_server TO this role, after outcrier migrate roles")
	case at.view == 0:
		e.say(Error, "view", "the view that applications insert into does not exist: a dump of schema "+schema+" alone leaves it out, and so does a tool that empties public",
			"run outcrier migrate up, which makes it again")
		return at, true
	default:
		return at, true
	}
	return at, false
}

// server reports whether to go on.
func (e *examination) server(ctx context.Context, conn *pgx.Conn) bool {
	var version int
	var name, encoding string
	var standby bool
	err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_version'), current_setting('server_encoding'), pg_is_in_recovery()`).
		Scan(&version, &name, &encoding, &standby)
	switch {
	case err != nil:
		e.say(Error, "connection", "the database does not answer: "+plain(err), "look at its log")
		return false
	case version < 15_00_00:
		e.say(Error, "version", "Postgres is "+name, "Outcrier needs 15 or later")
		return false
	case standby:
		e.say(Error, "replica", "the server is a standby in recovery, where the transactions in progress can't be seen", "connect to the primary: name all hosts in the URL, with target_session_attrs=primary")
		return false
	case encoding != "UTF8":
		e.say(Error, "encoding", "the database's encoding is "+encoding, "create it with ENCODING 'UTF8' TEMPLATE template0")
	}
	e.ok("version", "Postgres %s, a primary", name)
	return true
}

// sessions connects as a node does: its sessions set what they depend on, and are refused
// where that does not hold.
func (e *examination) sessions(ctx context.Context) {
	conn, err := outbox.Connect(ctx, e.DatabaseURL)
	if err != nil {
		e.say(Error, "sessions", "a node's sessions are refused: "+plain(err), "look at the log of Postgres, and of a pooler")
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	e.ok("sessions", "a node's sessions are accepted, with the settings that they need")
}

const (
	clockWarning = time.Second
	clockError   = 30 * time.Second // the leeway of tokens
)

func (e *examination) clock(ctx context.Context, conn *pgx.Conn) {
	ahead, err := tail.ClockAhead(ctx, conn)
	if err != nil {
		e.say(Error, "clock", "the clock can't be read: "+plain(err), "look at the log of Postgres")
		return
	}
	text := fmt.Sprintf("the clock of Postgres is %v ahead of this machine's", ahead.Round(time.Millisecond))
	if ahead < 0 {
		text = fmt.Sprintf("the clock of Postgres is %v behind this machine's", (-ahead).Round(time.Millisecond))
	}
	switch remedy := "run NTP on both; delays are measured wrongly, and tokens may be taken for expired"; {
	case ahead.Abs() > clockError:
		e.say(Error, "clock", text, remedy)
	case ahead.Abs() > clockWarning:
		e.say(Warning, "clock", text, remedy)
	default:
		e.ok("clock", "%s", text)
	}
}

// plain returns the text of an error without the lines that pgx adds for several hosts. pgx
// leaves the password out itself.
func plain(err error) string {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) && errors.Unwrap(connect) != nil {
		return errors.Unwrap(connect).Error()
	}
	return err.Error()
}
