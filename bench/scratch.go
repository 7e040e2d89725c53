package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/outcrier/outcrier/migrations"
	"github.com/outcrier/outcrier/outbox"
)

// schema is the scratch schema, with the tables that the outbox is compared with, while a
// measure needs it.
func (b *bench) schema() string { return "outcrier_bench_" + b.name }

// Tables of the scratch schema.
func (b *bench) bare() string      { return b.schema() + ".bare" }
func (b *bench) notifying() string { return b.schema() + ".notifying" }

// The scratch schema: a small business, a bare outbox table as one writes it in an
// afternoon, and the same with the trigger that other outboxes notify by, a NOTIFY for
// each row.
const scratchSQL = `
CREATE SCHEMA scratch;
CREATE TABLE scratch.business (
	id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	account int         NOT NULL,
	amount  int         NOT NULL,
	done_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE scratch.bare (
	id         bigserial   PRIMARY KEY,
	topic      text        NOT NULL,
	type       text        NOT NULL,
	payload    json        NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE scratch.notifying (
	id         bigserial   PRIMARY KEY,
	topic      text        NOT NULL,
	type       text        NOT NULL,
	payload    json        NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now()
);
CREATE FUNCTION scratch.notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_notify('scratch', NEW.id::text);
	RETURN NULL;
END
$$;
CREATE TRIGGER notify AFTER INSERT ON scratch.notifying FOR EACH ROW EXECUTE FUNCTION scratch.notify()`

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
				`DROP SCHEMA IF EXISTS scratch_quiet CASCADE; DROP SCHEMA scratch CASCADE`, "scratch", b.schema()))
			_ = conn.Close(ending)
		}
		if err != nil {
			b.Log.Error("scratch schema left behind", "schema", b.schema(), "err", err)
		}
	}()
	return fn()
}

// quiet is an outbox of its own that no node reads. Its view costs what an append
// costs by itself; its table, without triggers, takes rows without a view.
type quiet struct{ view, table string }

func (b *bench) newQuiet(ctx context.Context) (quiet, error) {
	schema := b.schema() + "_quiet"
	q := quiet{view: b.schema() + ".outbox", table: schema + ".event"}
	if err := (migrations.Migrations{URL: b.target.database, Schema: outbox.Schema(schema), Outbox: q.view}).Up(ctx); err != nil {
		return q, fmt.Errorf("make an outbox that no node reads: %w", err)
	}
	return q, nil
}

// withoutTriggers drops the triggers of the table: those for rows that come another way,
// and for changes.
func (b *bench) withoutTriggers(ctx context.Context, q quiet) error {
	_, err := b.target.admin.Exec(ctx, `DROP TRIGGER settle_foreign ON `+q.table+`; DROP TRIGGER mark_change ON `+q.table)
	return err
}
