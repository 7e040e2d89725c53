package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outcrier/outcrier/outbox/internal/database"
)

// setting is a setting that our sessions fix, whatever the role, the database or the URL
// say.
type setting struct {
	name, value string
	// free settings are the URL's where it has them.
	free bool
	// late settings are not sent when a connection starts: some servers don't have them, or
	// don't let every role set them.
	late bool
	// why, when not empty, is the reason to refuse a session without the setting.
	why string
}

var settings = []setting{
	{name: "application_name", value: "outcrier", free: true},

	// The forms of values.
	{name: "client_encoding", value: "UTF8", why: "text would be altered on its way"},
	{name: "standard_conforming_strings", value: "on"},
	{name: "DateStyle", value: "ISO, MDY"},
	{name: "IntervalStyle", value: "postgres"},
	{name: "TimeZone", value: "UTC"},
	{name: "bytea_output", value: "hex"},
	{name: "extra_float_digits", value: "1"},
	{name: "array_nulls", value: "on"},

	// What statements mean. With row_security off, a table with policies for this role is
	// an error, and not a table without rows.
	{name: "search_path", value: "pg_catalog, pg_temp"},
	{name: "row_security", value: "off", why: "rows that a policy hides would be lost without a word"},
	{name: "session_replication_role", value: "origin", late: true, why: "triggers would not run"},
	{name: "restrict_nonsystem_relation_kind", value: "", late: true},
	{name: "default_transaction_isolation", value: "read committed"},
	{name: "default_transaction_read_only", value: "off"},
	{name: "default_transaction_deferrable", value: "off"},

	// Every statement of ours has a limit of its own.
	{name: "statement_timeout", value: "0"},
	{name: "lock_timeout", value: "0"},
	{name: "idle_in_transaction_session_timeout", value: "0"},
	{name: "idle_session_timeout", value: "0"},
	{name: "transaction_timeout", value: "0", late: true},

	// Each read wants a few rows by an index: a generic plan can't know that, and a plan
	// of its own for every read would cost more than the read.
	{name: "plan_cache_mode", value: "force_generic_plan", free: true},
	{name: "enable_seqscan", value: "off", free: true},
	{name: "enable_bitmapscan", value: "off", free: true},
	{name: "enable_indexscan", value: "on", free: true},
	{name: "enable_indexonlyscan", value: "on", free: true},
	{name: "enable_nestloop", value: "on", free: true},
	{name: "enable_partition_pruning", value: "on", free: true},
	{name: "jit", value: "off", free: true},
	{name: "max_parallel_workers_per_gather", value: "0", free: true},
}

// wanted are the settings for sessions that are made with a configuration: all but
// those that its URL decides on.
func wanted(params map[string]string) (list []setting) {
	for _, s := range settings {
		if _, theirs := params[s.name]; !theirs || !s.free {
			list = append(list, s)
		}
	}
	return list
}

// sessionState is the state of a new session.
type sessionState struct {
	standby bool
	// pooled: the process id in the start-up message is not that of the Postgres process,
	// so there is a pooler in between.
	pooled bool
	// differing are the settings that don't have the wanted values, with their values.
	differing []setting
}

// inquire reads the state of a new session. It depends on no setting: the statement is
// ASCII, all its names are qualified, and values are text.
func inquire(ctx context.Context, conn *pgconn.PgConn, want []setting) (state sessionState, err error) {
	names := make([]string, len(want))
	for i, s := range want {
		names[i] = "'" + s.name + "'"
	}
	results, err := conn.Exec(ctx, `
SELECT s.name, pg_catalog.current_setting(s.name, true), pg_catalog.pg_backend_pid(), pg_catalog.pg_is_in_recovery()
FROM pg_catalog.unnest(ARRAY[`+strings.Join(names, ", ")+`]) AS s (name)`).ReadAll()
	if err != nil {
		return state, fmt.Errorf("ask a new session for its settings: %w", err)
	}
	for i, row := range results[0].Rows {
		if i >= len(want) || len(row) != 4 || string(row[0]) != want[i].name {
			return state, errors.New("ask a new session for its settings: unexpected rows")
		}
		if row[1] != nil && string(row[1]) != want[i].value { // NULL: the server has no such setting
			differing := want[i]
			differing.value = string(row[1])
			state.differing = append(state.differing, differing)
		}
		state.pooled = string(row[2]) != fmt.Sprint(conn.PID())
		state.standby = string(row[3]) == "t"
	}
	return state, nil
}

// adopt corrects the settings of a new session, and checks the result.
//
// With a pooler in between it sets nothing for the session: another client's transaction
// may run in it next. Its statements run in transactions that set what they need, see
// database.InSession.
func adopt(ctx context.Context, conn *pgx.Conn, want []setting) error {
	ctx, cancel := database.Within(ctx, pingLimit)
	defer cancel()
	state, err := inquire(ctx, conn.PgConn(), want)
	switch {
	case err != nil:
		return err
	case state.pooled && conn.Config().DefaultQueryExecMode == pgx.QueryExecModeCacheStatement:
		return errPooler
	case state.standby:
		return database.ErrStandby
	case len(state.differing) == 0:
		return nil
	case state.pooled:
		names, values := make([]string, len(want)), make([]string, len(want))
		for i, s := range want {
			names[i], values[i] = s.name, s.value
		}
		database.SetLocally(conn, names, values)
		return database.InSession(ctx, conn, DefaultSchema, func(database.DB) error {
			inside, err := inquire(ctx, conn.PgConn(), want)
			if err != nil {
				return err
			}
			return refused(inside.differing, "a pooler keeps it so, or the role")
		})
	}
	var failed error
	for _, differing := range state.differing {
		// Not with parameters, which pgx sends in no encoding but UTF-8.
		set := fmt.Sprintf(`SELECT pg_catalog.set_config('%s', '%s', false)`, differing.name, valueOf(differing.name))
		if _, err := conn.PgConn().Exec(ctx, set).ReadAll(); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	after, err := inquire(ctx, conn.PgConn(), want)
	if err != nil {
		return err
	}
	if err := refused(after.differing, "it can't be set"); err != nil {
		return errors.Join(err, failed)
	}
	return nil
}

// errPooler ends a connection that was made as if there were no pooler in between: a
// prepared statement may be missing in the next transaction, or be another client's.
var errPooler = errors.New("a pooler is in between; reconnecting")

func valueOf(name string) string {
	for _, s := range settings {
		if s.name == name {
			return s.value
		}
	}
	return ""
}

// refused returns an error if a required setting has another value.
func refused(differing []setting, reason string) (err error) {
	for _, d := range differing {
		if d.why != "" {
			err = errors.Join(err, fmt.Errorf("the session has %s = %q, and %s: %s; ALTER ROLE … SET %[1]s = %[5]s", d.name, d.value, reason, d.why, valueOf(d.name)))
		}
	}
	return err
}

// InTransaction calls fn in a transaction of a pool of PoolConfig, and commits it if fn
// returns no error. It is like pgx.BeginFunc, but the transaction has the settings of a
// session of Connect also with a pooler in between.
func InTransaction(ctx context.Context, pool *pgxpool.Pool, fn func(pgx.Tx) error) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return database.InTransaction(ctx, conn.Conn(), pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, DefaultSchema, func(tx database.DB) error {
		return fn(tx.Tx())
	})
}
