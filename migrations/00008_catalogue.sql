-- The catalogue: what the types of events mean to people, and what their payloads
-- must look like.
--
-- It is no list of what is allowed: a type that nobody described is appended and
-- delivered all the same. Only a type with a schema is held to it, by
-- outbox.Append and POST /events; Postgres itself knows no JSON Schema, so that an
-- INSERT or a call of outbox_append is not checked.

-- +goose Up
CREATE TABLE outbox_event_type (
    type           text        PRIMARY KEY COLLATE "C",
    -- A short name for people to quote: to a support desk, in a manual.
    code           text        COLLATE "C",
    title          text        NOT NULL,
    description    text        NOT NULL DEFAULT '',
    severity       text        NOT NULL DEFAULT 'info',
    -- What the client should do.
    action         text        NOT NULL DEFAULT 'none',
    -- A JSON Schema (2020-12, unless $schema says otherwise) without references to
    -- anything outside of itself. NULL accepts every payload.
    payload_schema jsonb,
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT outbox_event_type_code_key UNIQUE (code),
    CONSTRAINT outbox_event_type_type CHECK (
        (octet_length(type) <= 255 AND type ~ '^[^\u0001-\u001f\u007f-\u009f]+$' AND type !~ '^outcrier\.')
        OR outbox_refuse('outbox_event_type_type', format(
            'type %s is not valid: allowed are 1 to 255 bytes without control characters, and not beginning with "outcrier.", which is the server''s own',
            to_json(left(type, 300))))),
    CONSTRAINT outbox_event_type_code CHECK (
        code IS NULL OR code ~ '^[A-Za-z0-9._-]{1,64}$'
        OR outbox_refuse('outbox_event_type_code', format(
            'code %s is not valid: allowed are 1 to 64 letters, digits, ".", "_" and "-", or NULL for none', to_json(left(code, 100))))),
    CONSTRAINT outbox_event_type_title CHECK (
        char_length(title) BETWEEN 1 AND 200
        OR outbox_refuse('outbox_event_type_title', format('title is %s characters long: allowed are 1 to 200', char_length(title)))),
    CONSTRAINT outbox_event_type_description CHECK (
        char_length(description) <= 4000
        OR outbox_refuse('outbox_event_type_description', format('description is %s characters long: allowed are at most 4000', char_length(description)))),
    CONSTRAINT outbox_event_type_severity CHECK (
        severity IN ('info', 'warning', 'error')
        OR outbox_refuse('outbox_event_type_severity', format(
            'severity %s is not known: allowed are info, warning and error', to_json(left(severity, 100))))),
    -- Open, because clients may know more: none, refresh, retry, sign_in_again,
    -- contact_support and show_details are what the ones here know.
    CONSTRAINT outbox_event_type_action CHECK (
        action ~ '^[a-z][a-z0-9_]{0,62}$'
        OR outbox_refuse('outbox_event_type_action', format(
            'action %s is not valid: want one of none, refresh, retry, sign_in_again, contact_support and show_details, or one of your clients'' own in lower case, digits and "_"',
            to_json(left(action, 100))))),
    CONSTRAINT outbox_event_type_payload_schema CHECK (
        payload_schema IS NULL
        OR (jsonb_typeof(payload_schema) IN ('object', 'boolean') AND octet_length(payload_schema::text) <= 65536)
        OR outbox_refuse('outbox_event_type_payload_schema', 'payload_schema must be a JSON Schema, an object or a boolean of at most 65536 bytes, or NULL for none'))
);

INSERT INTO outbox_event_type (type, code, title, description, severity, action) VALUES
    ('user.logged_in',     'AUTH-1',   'Signed in',           'The user signed in, perhaps on another device.',                     'info',    'none'),
    ('user.logged_out',    'AUTH-2',   'Signed out',          'The session has ended: what the page shows belongs to nobody now.',   'info',    'sign_in_again'),
    ('account.locked',     'AUTH-3',   'Account locked',      'The account can''t be used until support unlocks it.',               'error',   'contact_support'),
    ('info.updated',       'INFO-1',   'Information updated', 'What the page shows has changed.',                                   'info',    'refresh'),
    ('data.synced',        'DATA-1',   'Data synchronised',   'Data of another system has arrived.',                                'info',    'refresh'),
    ('client.error',       'CLIENT-1', 'Request failed',      'Something that the user asked for could not be done.',               'error',   'retry'),
    ('system.maintenance', 'SYS-1',    'Maintenance',         'The system will be or is under maintenance; the payload says when.', 'warning', 'show_details'),
    ('trade.executed',     'TRADE-1',  'Trade executed',      'An order was executed; the payload has quantity and price.',         'info',    'show_details');

-- The version of the schemas: another one with every change of the catalogue, 0
-- while no type has a schema. Whoever checks payloads keeps the schemas compiled,
-- and names with the append the version by which it passed (outbox_append_checked),
-- so that a change counts at once and costs nobody a question more.
CREATE TABLE outbox_catalogue (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint  NOT NULL
);
INSERT INTO outbox_catalogue (version) VALUES (0);

-- The row is locked first, so that the version is that of all changes, also of
-- those that were committed meanwhile.
-- +goose StatementBegin
CREATE FUNCTION outbox_catalogue_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM FROM outbox_catalogue FOR UPDATE;
    UPDATE outbox_catalogue SET version = CASE
        WHEN EXISTS (SELECT FROM outbox_event_type WHERE payload_schema IS NOT NULL)
        THEN hashtextextended(gen_random_uuid()::text, 0) ELSE 0 END;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER outbox_catalogue_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON outbox_event_type
FOR EACH STATEMENT EXECUTE FUNCTION outbox_catalogue_changed();

-- +goose StatementBegin
CREATE FUNCTION outbox_event_type_updated() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER outbox_event_type_updated BEFORE UPDATE ON outbox_event_type
FOR EACH ROW EXECUTE FUNCTION outbox_event_type_updated();

-- outbox_schemas gives the schemas and their version; without a schema one row
-- with the version alone.
-- +goose StatementBegin
CREATE FUNCTION outbox_schemas() RETURNS TABLE (version bigint, type text, payload_schema jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
BEGIN ATOMIC
    SELECT c.version, t.type, t.payload_schema
    FROM outbox_catalogue AS c LEFT JOIN outbox_event_type AS t ON t.payload_schema IS NOT NULL;
END;
-- +goose StatementEnd

-- outbox_append_checked is outbox_append_all for those who check payloads: it
-- appends if the schemas' version is one of those by which the events passed, and
-- else appends nothing and returns nothing.
-- +goose StatementBegin
CREATE FUNCTION outbox_append_checked(
    passed bigint[], topics text[], types text[], payloads json[], sources text[],
    headers jsonb[], dedup_keys text[], deliver_ats timestamptz[]
) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF (SELECT c.version FROM outbox_catalogue AS c) = ANY (passed) THEN
        RETURN QUERY SELECT outbox_append_all($2, $3, $4, $5, $6, $7, $8);
    END IF;
END
$$;
-- +goose StatementEnd

-- What is scheduled under a key is scheduled once, and not at all when the key's
-- event has been delivered. So far the second one waited too, and cancelling one
-- left the other. Of those that wait the first stays, as it would have on delivery.
DELETE FROM outbox_scheduled AS s WHERE dedup_key IS NOT NULL AND EXISTS (
    SELECT FROM outbox_scheduled AS first
    WHERE first.dedup_key = s.dedup_key AND (first.deliver_at, first.id) < (s.deliver_at, s.id));
CREATE UNIQUE INDEX outbox_scheduled_dedup_key ON outbox_scheduled (dedup_key) WHERE dedup_key IS NOT NULL;

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION outbox_append(
    topic text, type text, payload json DEFAULT '{}', source text DEFAULT '/',
    headers jsonb DEFAULT NULL, dedup_key text DEFAULT NULL, deliver_at timestamptz DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    appended bigint;
BEGIN
    IF $7 > clock_timestamp() THEN
        -- Again when what took the key is delivered or cancelled meanwhile.
        LOOP
            SELECT id INTO appended FROM outbox_dedup WHERE dedup_key = $6;
            EXIT WHEN FOUND;
            INSERT INTO outbox_scheduled (topic, type, payload, source, headers, dedup_key, deliver_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            ON CONFLICT (dedup_key) WHERE dedup_key IS NOT NULL DO NOTHING
            RETURNING id INTO appended;
            EXIT WHEN FOUND;
            SELECT id INTO appended FROM outbox_scheduled WHERE dedup_key = $6;
            EXIT WHEN FOUND;
        END LOOP;
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

REVOKE EXECUTE ON FUNCTION
    outbox_catalogue_changed(),
    outbox_event_type_updated(),
    outbox_schemas(),
    outbox_append_checked(bigint[], text[], text[], json[], text[], jsonb[], text[], timestamptz[])
FROM PUBLIC;

-- +goose Down
-- outbox_append goes with the migration that made it.
DROP INDEX outbox_scheduled_dedup_key;
DROP FUNCTION outbox_append_checked(bigint[], text[], text[], json[], text[], jsonb[], text[], timestamptz[]);
DROP FUNCTION outbox_schemas();
DROP TABLE outbox_event_type;
DROP FUNCTION outbox_event_type_updated();
DROP FUNCTION outbox_catalogue_changed();
DROP TABLE outbox_catalogue;
