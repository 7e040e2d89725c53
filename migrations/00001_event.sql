-- The table that the view `outbox` (00003) writes to. A row becomes an event when the transaction
-- that inserted it commits. This table is the truth; the rest helps to find rows in it.
-- `migrate` makes the schema before, and only the owner may use it until 00011.

-- +goose Up
-- +goose StatementBegin

-- CACHE 1: a session that drew ids in advance would append with ids older than the
-- order of its appends. It is a sequence of its own and not an identity column,
-- because before Postgres 17 a partition does not inherit an identity.
CREATE SEQUENCE outcrier.event_id AS bigint CACHE 1;

CREATE TABLE outcrier.event (
    -- The inserting transaction: what separates seen from unseen (00004). It is
    -- assigned before the id is drawn; defaults are evaluated in column order.
    xid        xid8        NOT NULL DEFAULT pg_current_xact_id(),
    id         bigint      NOT NULL DEFAULT nextval('outcrier.event_id'),
    -- '' marks rows that no reader receives: tombstones and markers (00005).
    topic      text        NOT NULL COLLATE "C",
    type       text        NOT NULL COLLATE "C",
    -- json and not jsonb: a payload is delivered byte for byte as it was appended.
    payload    json        NOT NULL DEFAULT '{}',
    source     text        NOT NULL DEFAULT '/' COLLATE "C",
    headers    jsonb,
    dedup_key  text        COLLATE "C",
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
ALTER SEQUENCE outcrier.event_id OWNED BY outcrier.event.id;

-- The tail and replays find rows by transaction, streams replay topics in id order,
-- admins page by type. There is no index on created_at: every append would pay for it,
-- even for BRIN, and id_at (00004) finds the id that a time begins with.
CREATE INDEX event_xid_id ON outcrier.event (xid, id);
CREATE INDEX event_topic_id ON outcrier.event (topic, id);
CREATE INDEX event_by_type ON outcrier.event (type, id);

-- An append never fails for want of a partition.
CREATE TABLE outcrier.event_default PARTITION OF outcrier.event DEFAULT;

-- A row that did not come through the view (a data-only load, a subscription's apply
-- worker, the owner by hand) carries a foreign xid. Such a row is history: xid 3 is
-- older than every transaction, so replays from the start include it and no stream
-- receives it as new. Its id stays, and the sequence moves past it. The distance
-- covers the ids that other sessions draw between the two calls.
CREATE FUNCTION outcrier.settle_foreign() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.xid := '3';
    IF NEW.id > coalesce(pg_sequence_last_value('outcrier.event_id'::regclass), 0) THEN
        PERFORM setval('outcrier.event_id'::regclass, NEW.id + 1000);
    END IF;
    RETURN NEW;
END
$$;

-- ALWAYS: the trigger must also run under session_replication_role = replica.
CREATE TRIGGER settle_foreign BEFORE INSERT ON outcrier.event FOR EACH ROW
WHEN (NEW.xid <> pg_current_xact_id()) EXECUTE FUNCTION outcrier.settle_foreign();
ALTER TABLE outcrier.event ENABLE ALWAYS TRIGGER settle_foreign;
-- An UPDATE can bring one too: a subscription applies the publisher's erasures.
CREATE TRIGGER settle_changed BEFORE UPDATE ON outcrier.event FOR EACH ROW
WHEN (NEW.xid <> OLD.xid AND NEW.xid <> '3') EXECUTE FUNCTION outcrier.settle_foreign();
ALTER TABLE outcrier.event ENABLE ALWAYS TRIGGER settle_changed;

-- Nodes hold events in memory. Every statement that changes rows of this table
-- (erase and redact, or the owner by hand) appends a marker in its own transaction.
-- A marker is a row like any other, so each node reads it exactly once, after a
-- crash or a late commit too, and then forgets what it holds. Retention works on the
-- partitions and appends no marker: no node has to forget events that only became old.
CREATE FUNCTION outcrier.mark_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO outcrier.event (topic, type) VALUES ('', 'outcrier.erased');
    PERFORM outcrier.wake_up();
    RETURN NULL;
END
$$;
CREATE TRIGGER mark_change AFTER UPDATE OR DELETE OR TRUNCATE ON outcrier.event
FOR EACH STATEMENT EXECUTE FUNCTION outcrier.mark_change();
ALTER TABLE outcrier.event ENABLE ALWAYS TRIGGER mark_change;

-- Events whose time has not come. An event gets a new id and its xid when it moves
-- into outcrier.event, so that order and positions stay true.
CREATE TABLE outcrier.scheduled (
    id         bigint      PRIMARY KEY DEFAULT nextval('outcrier.event_id'),
    xid        xid8        NOT NULL DEFAULT pg_current_xact_id(),
    topic      text        NOT NULL COLLATE "C",
    type       text        NOT NULL COLLATE "C",
    payload    json        NOT NULL,
    source     text        NOT NULL COLLATE "C",
    headers    jsonb,
    dedup_key  text        COLLATE "C",
    deliver_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- After a failed delivery: the next attempt, and the last error.
    retry_at   timestamptz,
    problem    text,
    -- Who scheduled it by HTTP, for the limit of how many may wait.
    principal  text        COLLATE "C"
);
CREATE INDEX scheduled_due ON outcrier.scheduled (deliver_at, id);
CREATE INDEX scheduled_principal ON outcrier.scheduled (principal) WHERE principal IS NOT NULL;
CREATE INDEX scheduled_xid ON outcrier.scheduled (xid);

-- A unique key can't span partitions, so dedup keys have a table of their own. A key
-- counts only while the row exists that it leads to: by id and created_at in
-- outcrier.event, or by id in outcrier.scheduled. A key whose event was removed,
-- erased or truncated is taken over by the next append.
CREATE TABLE outcrier.dedup (
    key        text        PRIMARY KEY COLLATE "C",
    id         bigint      NOT NULL,
    topic      text        NOT NULL COLLATE "C",
    type       text        NOT NULL COLLATE "C",
    created_at timestamptz NOT NULL,
    scheduled  boolean     NOT NULL
);
CREATE INDEX dedup_id ON outcrier.dedup (id);
CREATE INDEX dedup_created_at ON outcrier.dedup (created_at);

-- Work that one session does at a time locks its row here. An advisory lock would do,
-- but every login of the database may take any advisory lock and keep it; to lock a
-- row takes a right.
CREATE TABLE outcrier.maintenance (
    work text PRIMARY KEY
);

-- claim reports whether this transaction now holds the work. A missing row, after
-- a restored schema or a test suite that empties tables, is put back.
CREATE FUNCTION outcrier.claim(work text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5ms' AS $$
BEGIN
    PERFORM FROM outcrier.maintenance AS m WHERE m.work = $1 FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        RETURN true;
    END IF;
    IF EXISTS (SELECT FROM outcrier.maintenance AS m WHERE m.work = $1) THEN
        RETURN false;
    END IF;
    BEGIN
        INSERT INTO outcrier.maintenance AS m (work) VALUES ($1) ON CONFLICT DO NOTHING;
        RETURN FOUND;
    EXCEPTION WHEN lock_not_available THEN
        RETURN false; -- another session puts the row back, and so has the work
    END;
END
$$;
-- +goose StatementEnd
