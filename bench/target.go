package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/internal/pgserver"
)

// target is the measured system: a database and a server on it.
type target struct {
	database string
	endpoint *endpoint
	private  *pgserver.Server // nil for an existing database
	own      *server          // nil for an existing server
	shim     *slowSync        // nil without a delay
	// admin is a session for statements that are not measured.
	admin *pgx.Conn
}

// open finds or starts the measured system.
func (b *bench) open(ctx context.Context) (t *target, err error) {
	t = &target{database: b.DatabaseURL}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	if t.database == "" {
		if err := b.startPostgres(ctx, t); err != nil {
			return nil, err
		}
	}
	base := b.URL
	if base == "" {
		b.say("start a server")
		if t.own, err = b.startOutcrier(ctx, t.database); err != nil {
			return nil, err
		}
		base = t.own.base
	}
	if t.endpoint, err = newEndpoint(base, b.Token, b.Format); err != nil {
		return nil, err
	}
	t.endpoint.webSocket = b.WebSocket
	if t.admin, err = pgx.Connect(ctx, t.database); err != nil {
		return nil, err
	}
	where := "a private Postgres, thrown away at the end"
	if t.private == nil {
		where = fmt.Sprintf("database %s at %s", t.admin.Config().Database, t.admin.Config().Host)
	}
	b.Log.Info("bench writes", "where", where, "topics", b.topic("**"), "scratch_schema", b.schema())
	if t.private == nil {
		b.Log.Warn("the bench's events stay in the outbox until retention removes them")
	}
	return t, b.probe(ctx, t)
}

// postgresSettings make writers wait for the disk, as honest ones do, whatever the
// defaults.
var postgresSettings = map[string]string{
	"fsync":              "on",
	"synchronous_commit": "on",
	"full_page_writes":   "on",
}

// sessions returns how many sessions the bench needs at most: a team of writers for
// each variant at a time, the servers', and its own.
func (b *bench) sessions() int {
	return len(businessVariants)*slices.Max(append(b.Writers, 1)) + 100
}

func (b *bench) startPostgres(ctx context.Context, t *target) (err error) {
	b.say("start a private Postgres")
	settings := maps.Clone(postgresSettings)
	settings["max_connections"] = strconv.Itoa(max(300, b.sessions()))
	config := pgserver.Config{Settings: settings, Log: b.Log}
	if b.SyncDelay > 0 {
		if t.shim, err = compileSlowSync(ctx); err != nil {
			return err
		}
		config.Env = t.shim.env(b.SyncDelay)
	}
	if t.private, err = pgserver.Start(ctx, config); err != nil {
		return err
	}
	t.database = t.private.URL("")
	return nil
}

// probeLimit is how long the first event may take.
const probeLimit = 20 * time.Second

// probe makes sure that the server serves the database that is written to.
func (b *bench) probe(ctx context.Context, t *target) error {
	ctx, cancel := context.WithTimeoutCause(ctx, probeLimit, fmt.Errorf("the server at %s did not deliver an event from the database: is it that database's?", t.endpoint.base))
	defer cancel()
	topic := b.topic("probe")
	c := newCrowd(t.endpoint, 1, func(int) string { return topic }, nil)
	defer c.drop()
	if err := c.open(ctx); err != nil {
		return err
	}
	w := writer{conn: t.admin, table: "outbox", topic: topic, size: b.Payload}
	if err := w.append(ctx, 1); err != nil {
		return err
	}
	_, err := c.await(ctx, 1)
	return err
}

// close stops the processes that were started, and undoes the changes.
func (t *target) close() error {
	// Clean up after Ctrl-C too.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var errs []error
	if t.admin != nil {
		errs = append(errs, t.admin.Close(ctx))
	}
	if t.own != nil {
		errs = append(errs, t.own.stop())
	}
	if t.private != nil {
		errs = append(errs, t.private.Stop())
	}
	if t.shim != nil {
		errs = append(errs, os.RemoveAll(t.shim.folder))
	}
	return errors.Join(errs...)
}

// pid is the server's process, 0 when not known.
func (b *bench) pid() int {
	if b.target.own != nil {
		return b.target.own.pid()
	}
	return b.ServerPID
}

// describe fills in what the figures depend on.
func (b *bench) describe(ctx context.Context) error {
	machine := &b.report.Machine
	const settingsSQL = `SELECT current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit')`
	err := b.target.admin.QueryRow(ctx, settingsSQL).Scan(&machine.Postgres, &machine.Fsync, &machine.SynchronousCommit)
	if err != nil {
		return err
	}
	if machine.Fsync != "on" || machine.SynchronousCommit == "off" {
		b.Log.Warn("commits do not wait for the disk: what writers reach is not durable", "fsync", machine.Fsync, "synchronous_commit", machine.SynchronousCommit)
	}
	if b.target.private != nil {
		cost, err := syncCost(os.TempDir())
		if err != nil {
			return err
		}
		machine.SyncMicroseconds = float64(cost) / 1e3
		machine.SyncDelayMicroseconds = float64(b.SyncDelay) / 1e3
	}
	b.report.Server = Subject{URL: b.target.endpoint.base.Redacted(), PID: b.pid(), Own: b.target.own != nil}
	return nil
}
