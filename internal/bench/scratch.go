package bench

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// schema holds what is compared to the outbox, while a measure needs it.
func (b *bench) schema() string { return "outcrier_bench_" + b.name }

// The tables of the scratch schema: a small business; the outbox's columns,
// constraints and indexes without trigger, watcher and partitions; and the same with
// the trigger that other outboxes notify by, a NOTIFY for each row.
const scratchSQL = `
CREATE SCHEMA scratch;
CREATE TABLE scratch.business (
	id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	account int         NOT NULL,
	amount  int         NOT NULL,
	done_at timestamptz NOT NULL DEFAULT now()
);
CREATE SEQUENCE scratch.plain_id AS bigint;
CREATE TABLE scratch.plain (LIKE outbox INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES);
ALTER TABLE scratch.plain ALTER id SET DEFAULT nextval('scratch.plain_id');
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
			_, err = conn.Exec(ending, `DROP SCHEMA `+b.schema()+` CASCADE`)
			_ = conn.Close(ending)
		}
		if err != nil {
			b.Log.Error("scratch schema left behind", "schema", b.schema(), "err", err)
		}
	}()
	return fn()
}
