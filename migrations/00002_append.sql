-- Appending with everything that an INSERT can't say in one line: dedup keys,
-- a time to deliver at, and many events at once.

-- +goose Up

-- A unique key can't span partitions, so dedup keys have a table of their own.
CREATE TABLE outbox_dedup (
    dedup_key  text        PRIMARY KEY COLLATE "C",
    id         bigint      NOT NULL,
    created_at timestamptz NOT NULL
);

-- A second append with the same key is not stored. While the first is still in
-- flight it waits for it: only its outcome tells whether there is a first one.
-- +goose StatementBegin
CREATE FUNCTION outbox_dedup() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO outbox_dedup (dedup_key, id, created_at)
    VALUES (NEW.dedup_key, NEW.id, NEW.created_at)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER outbox_dedup BEFORE INSERT ON outbox
FOR EACH ROW WHEN (NEW.dedup_key IS NOT NULL) EXECUTE FUNCTION outbox_dedup();

-- Events whose time has not come. They get xid and id when they are moved into
-- outbox, so that order and positions stay true. To cancel one, delete its row.
CREATE TABLE outbox_scheduled (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic      text        NOT NULL COLLATE "C",
    type       text        NOT NULL COLLATE "C",
    payload    json        NOT NULL DEFAULT '{}',
    source     text        NOT NULL DEFAULT '/',
    headers    jsonb,
    dedup_key  text        COLLATE "C",
    deliver_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX outbox_scheduled_due ON outbox_scheduled (deliver_at, id);

-- The same rules as outbox's, so that what is scheduled can always be moved.
-- +goose StatementBegin
DO $do$
DECLARE
    rule record;
BEGIN
    FOR rule IN
        SELECT conname, pg_get_constraintdef(oid) AS definition FROM pg_constraint
        WHERE conrelid = 'outbox'::regclass AND contype = 'c'
    LOOP
        EXECUTE format('ALTER TABLE outbox_scheduled ADD CONSTRAINT %I %s', rule.conname, rule.definition);
    END LOOP;
END
$do$;
-- +goose StatementEnd

-- outbox_append appends one event and returns its id. With deliver_at in the
-- future it returns the id of the row in outbox_scheduled; with a dedup_key
-- that is taken, the id of the event that took it.
-- +goose StatementBegin
CREATE FUNCTION outbox_append(
    topic text, type text, payload json DEFAULT '{}', source text DEFAULT '/',
    headers jsonb DEFAULT NULL, dedup_key text DEFAULT NULL, deliver_at timestamptz DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    appended bigint;
BEGIN
    IF $7 > clock_timestamp() THEN
        INSERT INTO outbox_scheduled (topic, type, payload, source, headers, dedup_key, deliver_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        RETURNING id INTO appended;
        RETURN appended;
    END IF;
    INSERT INTO outbox (topic, type, payload, source, headers, dedup_key)
    VALUES ($1, $2, $3, $4, $5, $6)
    RETURNING id INTO appended;
    IF NOT FOUND THEN
        SELECT id INTO appended FROM outbox_dedup WHERE dedup_key = $6;
    END IF;
    RETURN appended;
END
$$;
-- +goose StatementEnd

-- outbox_append_all appends many, a column an array, in their order, and
-- returns their ids in that order. Plain ones go in by a single statement.
-- +goose StatementBegin
CREATE FUNCTION outbox_append_all(
    topics text[], types text[], payloads json[], sources text[],
    headers jsonb[], dedup_keys text[], deliver_ats timestamptz[]
) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF num_nonnulls(VARIADIC dedup_keys) = 0 AND num_nonnulls(VARIADIC deliver_ats) = 0 THEN
        RETURN QUERY
            INSERT INTO outbox (topic, type, payload, source, headers)
            SELECT * FROM unnest($1, $2, $3, $4, $5)
            RETURNING id;
    ELSE
        RETURN QUERY
            SELECT outbox_append(d.topic, d.type, d.payload, d.source, d.headers, d.dedup_key, d.deliver_at)
            FROM unnest($1, $2, $3, $4, $5, $6, $7)
                AS d(topic, type, payload, source, headers, dedup_key, deliver_at);
    END IF;
END
$$;
-- +goose StatementEnd

-- outbox_deliver_due moves scheduled events whose time has come into outbox, at
-- most this many, oldest first, and returns how many it moved. Any number of
-- nodes may call it at once: one of them moves, so that the order is kept, and the
-- others return 0. Nor does it wait for a row that is being cancelled.
-- +goose StatementBegin
CREATE FUNCTION outbox_deliver_due(at_most int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    moved int;
BEGIN
    IF NOT pg_try_advisory_xact_lock('outbox_scheduled'::regclass::oid::int, 0) THEN
        RETURN 0;
    END IF;
    WITH due AS (
        DELETE FROM outbox_scheduled WHERE id IN (
            SELECT id FROM outbox_scheduled WHERE deliver_at <= clock_timestamp()
            ORDER BY deliver_at, id LIMIT at_most FOR UPDATE SKIP LOCKED)
        RETURNING id, topic, type, payload, source, headers, dedup_key, deliver_at
    )
    INSERT INTO outbox (topic, type, payload, source, headers, dedup_key)
    SELECT topic, type, payload, source, headers, dedup_key FROM due ORDER BY deliver_at, id;
    GET DIAGNOSTICS moved = ROW_COUNT;
    RETURN moved;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION outbox_deliver_due(int);
DROP FUNCTION outbox_append_all(text[], text[], json[], text[], jsonb[], text[], timestamptz[]);
DROP FUNCTION outbox_append(text, text, json, text, jsonb, text, timestamptz);
DROP TABLE outbox_scheduled;
DROP TRIGGER outbox_dedup ON outbox;
DROP FUNCTION outbox_dedup();
DROP TABLE outbox_dedup;
