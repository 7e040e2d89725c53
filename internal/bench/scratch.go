package bench

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/outcrier/outcrier/migrations"
)

// schema holds what is compared to the outbox, while a measure needs it.
func (b *bench) schema() string { return "outcrier_bench_" + b.name }

// notifying is the table of the scratch schema with the trigger that others notify by.
func (b *bench) notifying() string { return b.schema() + ".notifying" }

// The tables of the scratch schema: a small business, and the outbox's columns,
// constraints and indexes with the trigger that other outboxes notify by, a NOTIFY
// for each row.
const scratchSQL = `
CREATE SCHEMA scratch;
CREATE TABLE scratch.business (
	id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	account int         NOT NULL,
	amount  int         NOT NULL,
	done_at timestamptz NOT NULL DEFAULT now()
);
CREATE SEQUENCE scratch.notifying_id AS bigint;
CREATE TABLE scratch.notifying (LIKE outbox INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES);
ALTER TABLE scratch.notifying ALTER id SET DEFAULT nextval('scratch.notifying_id');
CREATE FUNCTION scratch.ring() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_notify('scratch', NEW.id::text);
	RETURN NULL;
END
$$;
CREATE TRIGGER ring AFTER INSERT ON scratch.notifying FOR EACH ROW EXECUTE FUNCTION scratch.ring()`

// withScratch calls fn while the scratch schema is there. The channel of its NOTIFY
// has the schema's name.
func (b *bench) withScratch(ctx context.Context, fn func() error) error {
	if _, err := b.target.admin.Exec(ctx, strings.ReplaceAll(scratchSQL, "scratch", b.schema())); err != nil {
		return fmt.Errorf("make the scratch schema: %w", err)
	}
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		conn, err := b.connect(ending) // admin's may have been interrupted
		if err == nil {
			_, err = conn.Exec(ending, strings.ReplaceAll(
				`DROP SCHEMA IF EXISTS scratch_quiet CASCADE; DROP SCHEMA IF EXISTS scratch_notifying CASCADE; DROP SCHEMA scratch CASCADE`, "scratch", b.schema()))
			_ = conn.Close(ending)
		}
		if err != nil {
			b.Log.Error("scratch schema left behind", "schema", b.schema(), "err", err)
		}
	}()
	return fn()
}

// outboxIn makes an outbox of its own in a schema, the same as the one measured but
// without the bell, and returns its table. Nobody watches it.
func (b *bench) outboxIn(ctx context.Context, schema string) (table string, err error) {
	if _, err := b.target.admin.Exec(ctx, `CREATE SCHEMA `+schema); err != nil {
		return "", err
	}
	if err := (migrations.Migrations{URL: withSearchPath(b.target.database, schema)}).Up(ctx); err != nil {
		return "", err
	}
	table = schema + ".outbox"
	_, err = b.target.admin.Exec(ctx, strings.ReplaceAll(`
		DO $$
		DECLARE part regclass;
		BEGIN
			FOR part IN SELECT relid FROM pg_partition_tree('outbox') LOOP
				EXECUTE format('DROP TRIGGER outbox_ring ON %s', part);
			END LOOP;
		END
		$$`, "'outbox'", "'"+table+"'"))
	return table, err
}

// withSearchPath is a DSN of either form with a search_path.
func withSearchPath(dsn, schema string) string {
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme == "" {
		return dsn + " search_path=" + schema
	}
	query := u.Query()
	query.Set("search_path", schema)
	u.RawQuery = query.Encode()
	return u.String()
}
