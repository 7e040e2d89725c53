-- The outbox: a business transaction appends a row here, and the row becomes
-- an event with that transaction's commit. The table is the truth; everything
-- else in this schema only helps to find rows in it.

-- +goose Up

-- outbox_refuse makes a CHECK speak: the constraint's own test runs inline and
-- costs nothing more, and only a row that fails it comes here, to be refused
-- with a message that says what is allowed instead of "violates check
-- constraint". VOLATILE, or the planner would call it to fold a constant.
-- +goose StatementBegin
CREATE FUNCTION outbox_refuse(constraint_name text, message text) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = message,
        CONSTRAINT = constraint_name, TABLE = 'outbox';
END
$$;
-- +goose StatementEnd

-- Ids come from a sequence of our own and not from an identity column: before
-- Postgres 17 a partition does not inherit its parent's identity, and an
-- INSERT straight into a partition must work too. CACHE 1, because a session
-- that holds ids in advance would append with ids older than the order of its
-- appends.
CREATE SEQUENCE outbox_id_seq AS bigint CACHE 1;

CREATE TABLE outbox (
    -- The inserting transaction: what tells seen from unseen (see
    -- outbox_position). It stands before id so that it is assigned before the
    -- id is drawn; defaults are evaluated in the order of the columns.
    xid        xid8        NOT NULL DEFAULT pg_current_xact_id(),
    id         bigint      NOT NULL DEFAULT nextval('outbox_id_seq'),
    topic      text        NOT NULL COLLATE "C",
    type       text        NOT NULL COLLATE "C",
    -- json and not jsonb: what was appended is delivered byte for byte.
    payload    json        NOT NULL DEFAULT '{}',
    source     text        NOT NULL DEFAULT '/',
    headers    jsonb,
    dedup_key  text        COLLATE "C",
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    PRIMARY KEY (id, created_at),

    -- Control characters forge fields of an event stream; "*" belongs to
    -- patterns.
    CONSTRAINT outbox_topic CHECK (
        (octet_length(topic) <= 255 AND topic ~ '^[^\u0001-\u001f\u007f-\u009f*/]+(/[^\u0001-\u001f\u007f-\u009f*/]+)*$')
        OR outbox_refuse('outbox_topic', format(
            'topic %s is not valid: allowed are 1 to 255 bytes in segments separated by "/", none empty, without control characters or "*"',
            to_json(left(topic, 300))))),
    CONSTRAINT outbox_type CHECK (
        (octet_length(type) <= 255 AND type ~ '^[^\u0001-\u001f\u007f-\u009f]+$' AND type !~ '^outcrier\.')
        OR outbox_refuse('outbox_type', format(
            'type %s is not valid: allowed are 1 to 255 bytes without control characters, and not beginning with "outcrier.", which is the server''s own',
            to_json(left(type, 300))))),
    CONSTRAINT outbox_source CHECK (
        (octet_length(source) <= 255 AND source ~ '^[^\u0001-\u001f\u007f-\u009f]+$')
        OR outbox_refuse('outbox_source', format(
            'source %s is not valid: allowed are 1 to 255 bytes without control characters', to_json(left(source, 300))))),
    CONSTRAINT outbox_headers CHECK (
        headers IS NULL
        OR (jsonb_typeof(headers) = 'object' AND NOT jsonb_path_exists(headers, 'strict $.* ? (@.type() != "string")')
            AND octet_length(headers::text) <= 16384)
        OR outbox_refuse('outbox_headers', 'headers must be a JSON object whose values are all strings, of at most 16384 bytes')),
    CONSTRAINT outbox_dedup_key CHECK (
        dedup_key IS NULL OR octet_length(dedup_key) BETWEEN 1 AND 255
        OR outbox_refuse('outbox_dedup_key', 'dedup_key must be 1 to 255 bytes long, or NULL for none')),
    -- What RFC 3339 can write. One row of the year 10000, or of infinity, would stop
    -- every reader.
    CONSTRAINT outbox_created_at CHECK (
        created_at >= '0001-01-01 00:00Z' AND created_at < '9999-12-31 00:00Z'
        OR outbox_refuse('outbox_created_at', format('created_at %s is not valid: allowed are the years 1 to 9999', created_at)))
) PARTITION BY RANGE (created_at);

ALTER SEQUENCE outbox_id_seq OWNED BY outbox.id;

-- The payload's limit is the one setting of a migration: outbox.payload_limit,
-- in bytes.
-- +goose StatementBegin
DO $do$
DECLARE
    payload_limit int := coalesce(nullif(current_setting('outbox.payload_limit', true), ''), '1048576');
BEGIN
    EXECUTE format($sql$
        ALTER TABLE outbox ADD CONSTRAINT outbox_payload CHECK (
            octet_length(payload::text) <= %1$s
            OR outbox_refuse('outbox_payload', format('payload is %%s bytes long: allowed are at most %1$s', octet_length(payload::text))))
    $sql$, payload_limit);
END
$do$;
-- +goose StatementEnd

-- The tail and replays find rows by the transaction, streams replay their
-- topics in the order of ids, and a start by time needs a hint only, which a
-- BRIN index gives for next to nothing.
CREATE INDEX outbox_xid ON outbox (xid, id);
CREATE INDEX outbox_topic_id ON outbox (topic, id);
CREATE INDEX outbox_created_at ON outbox USING brin (created_at) WITH (pages_per_range = 32, autosummarize = on);

-- The history by type, "the last lockouts", is the one index that admins cost the
-- writers. There are few types and ids rise, so that an insert finds its page at the
-- end of its type's, in memory; docs/sql.md has what it costs.
CREATE INDEX outbox_type_id ON outbox (type, id);

-- What no daily partition holds lands here: an append never fails for want of
-- a partition.
CREATE TABLE outbox_default PARTITION OF outbox DEFAULT;

-- +goose Down
DROP TABLE outbox;
DROP FUNCTION outbox_refuse(text, text);
