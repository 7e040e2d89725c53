package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox"
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
	conn, err := dial(ctx, e.DatabaseURL)
	if err != nil {
		e.say(Error, "connection", "the database can't be reached: "+plain(err), "check --database-url, that Postgres runs, and what stands between")
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if !e.server(ctx, conn) {
		return
	}
	e.asServer(ctx)
	e.clock(ctx, conn)
	e.settings(ctx, conn)
	e.listen(ctx)
	var is bool
	if err := conn.QueryRow(ctx, `SELECT to_regclass('outbox') IS NOT NULL`).Scan(&is); err != nil || !is {
		e.say(Error, "schema", "there is no table outbox on the search_path of this role", "run outcrier migrate up, or name the schema: ?search_path=… in the URL")
		return
	}
	e.schema(ctx, conn)
	e.rights(ctx, conn)
	e.sequence(ctx, conn)
	e.triggers(ctx, conn)
	e.partitions(ctx, conn)
	e.owing(ctx, conn)
}

// server tells whether to go on.
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

// lackingSQL lists what would give the role the settings that its session lacks.
const lackingSQL = `
SELECT format('ALTER ROLE %I IN DATABASE %I SET %s = %L', session_user, current_database(), name, value)
FROM unnest($1::text[], $2::text[]) AS wanted (name, value)
WHERE current_setting(name) <> value ORDER BY name`

// asServer connects as a node does, and looks whether its sessions have the settings
// that they want: a pooler may refuse or ignore them.
func (e *examination) asServer(ctx context.Context) {
	lacking, err := e.lacking(ctx)
	switch {
	case err != nil:
		e.say(Error, "sessions", "a node's sessions are refused: "+plain(err), "look at the log of Postgres, and of a pooler")
	case len(lacking) > 0:
		e.say(Warning, "sessions", "a pooler keeps settings from a node's sessions: they work, and their reads may be planned badly",
			"give them to the role of the node, and let the pooler connect anew; or connect directly", lacking...)
	default:
		e.ok("sessions", "a node's sessions are accepted, and have their settings")
	}
}

func (e *examination) lacking(ctx context.Context) ([]string, error) {
	given, err := pgx.ParseConfig(e.DatabaseURL)
	if err != nil {
		return nil, err
	}
	config, err := outbox.PoolConfig(e.DatabaseURL)
	if err != nil {
		return nil, err
	}
	var names, values []string
	for name, value := range config.ConnConfig.RuntimeParams {
		_, theirs := given.RuntimeParams[name]
		if !theirs && name != "application_name" && name != "TimeZone" { // which are for people
			names, values = append(names, name), append(values, value)
		}
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	rows, _ := pool.Query(ctx, lackingSQL, pgx.QueryExecModeExec, names, values)
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

const (
	clockWarning = time.Second
	clockError   = 30 * time.Second // the leeway of tokens
)

func (e *examination) clock(ctx context.Context, conn *pgx.Conn) {
	ahead, err := outbox.ClockAhead(ctx, conn)
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

func (e *examination) settings(ctx context.Context, conn *pgx.Conn) {
	var idle, fsync string
	if err := conn.QueryRow(ctx, `SELECT current_setting('idle_in_transaction_session_timeout'), current_setting('fsync')`).Scan(&idle, &fsync); err != nil {
		return
	}
	if idle == "0" {
		e.say(Advice, "idle transactions", "idle_in_transaction_session_timeout is not set: a client that hangs in a transaction keeps its events for ever",
			"ALTER ROLE … SET idle_in_transaction_session_timeout = '5min', for the applications that append")
	} else {
		e.ok("idle transactions", "those idle in a transaction are ended after %s", idle)
	}
	if fsync == "off" {
		e.say(Warning, "durability", "fsync is off: a crash of the machine loses what was committed", "set fsync = on, unless nothing here matters")
	}
}

// plain is an error without the lines that pgx adds for several hosts, and without
// a password, which pgx leaves out itself.
func plain(err error) string {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) && errors.Unwrap(connect) != nil {
		return errors.Unwrap(connect).Error()
	}
	return err.Error()
}
