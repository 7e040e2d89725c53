-- The catalogue: what the types of events mean to people, and what their payloads must
-- look like.
--
-- It is no list of allowed types: a type without an entry is appended and delivered all the
-- same. Only a type with a schema is held to it, by outbox.Append and POST /events. Postgres
-- knows no JSON Schema, so an INSERT or outcrier.append is not checked.

-- +goose Up
-- +goose StatementBegin

CREATE TABLE outcrier.event_type (
    type           text        PRIMARY KEY COLLATE "C",
    code           text        COLLATE "C" CONSTRAINT event_type_code_key UNIQUE, -- for people to quote to a support desk
    title          text        NOT NULL,
    description    text        NOT NULL DEFAULT '',
    severity       text        NOT NULL DEFAULT 'info',
    action         text        NOT NULL DEFAULT 'none', -- what the client should do
    -- A JSON Schema (2020-12, unless $schema says otherwise) without references to the outside.
    payload_schema jsonb, -- NULL accepts every payload
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT type_valid CHECK (octet_length(type) <= 255 AND type ~ '^[^\u0001-\u001f\u007f-\u009f\u2028\u2029]+$' AND NOT starts_with(type, 'outcrier.')
        OR outcrier.refuse('event_type', 'type', type, 'are 1 to 255 bytes without control characters or line separators, not beginning with "outcrier.", which is reserved')),
    CONSTRAINT code_valid CHECK (code IS NULL OR code ~ '^[A-Za-z0-9._-]{1,64}$'
        OR outcrier.refuse('event_type', 'code', code, 'are 1 to 64 letters, digits, ".", "_" and "-", or NULL for none')),
    CONSTRAINT title_valid CHECK (char_length(title) BETWEEN 1 AND 200 OR outcrier.refuse('event_type', 'title', title, 'are 1 to 200 characters')),
    CONSTRAINT description_valid CHECK (char_length(description) <= 4000 OR outcrier.refuse('event_type', 'description', description, 'are at most 4000 characters')),
    CONSTRAINT severity_valid CHECK (severity IN ('info', 'warning', 'error') OR outcrier.refuse('event_type', 'severity', severity, 'are info, warning and error')),
    CONSTRAINT action_valid CHECK (action ~ '^[a-z][a-z0-9_]{0,62}$'
        OR outcrier.refuse('event_type', 'action', action, 'are none, refresh, retry, sign_in_again, contact_support and show_details, or one of your clients'' own in lower case, digits and "_"')),
    CONSTRAINT payload_schema_valid CHECK (payload_schema IS NULL OR jsonb_typeof(payload_schema) IN ('object', 'boolean') AND octet_length(payload_schema::text) <= 65536
        OR outcrier.refuse('event_type', 'payload_schema', payload_schema::text, 'is a JSON Schema, an object or a boolean of at most 65536 bytes, or NULL for none'))
);

INSERT INTO outcrier.event_type (type, code, title, description, severity, action) VALUES
    ('user.logged_in',     'AUTH-1',   'Signed in',           'The user signed in, perhaps on another device.',                     'info',    'none'),
    ('user.logged_out',    'AUTH-2',   'Signed out',          'The session has ended: what the page shows belongs to nobody now.',   'info',    'sign_in_again'),
    ('account.locked',     'AUTH-3',   'Account locked',      'The account can''t be used until support unlocks it.',               'error',   'contact_support'),
    ('info.updated',       'INFO-1',   'Information updated', 'What the page shows has changed.',                                   'info',    'refresh'),
    ('data.synced',        'DATA-1',   'Data synchronised',   'Data of another system has arrived.',                                'info',    'refresh'),
    ('client.error',       'CLIENT-1', 'Request failed',      'Something that the user asked for could not be done.',               'error',   'retry'),
    ('system.maintenance', 'SYS-1',    'Maintenance',         'The system will be or is under maintenance; the payload says when.', 'warning', 'show_details'),
    ('trade.executed',     'TRADE-1',  'Trade executed',      'An order was executed; the payload has quantity and price.',         'info',    'show_details');

-- The version of the schemas: another one with every change of the catalogue, and 0 while no
-- type has a schema. A node keeps the schemas compiled, and names with the append the
-- version by which the payloads passed (append_checked), so that a change counts at once
-- and costs no further query. Without its row the version is 0, or -1 with some schema.
CREATE TABLE outcrier.catalogue_version (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint  NOT NULL
);

-- The row is locked first, so that the version covers changes that were committed meanwhile.
CREATE FUNCTION outcrier.renew_catalogue_version() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO outcrier.catalogue_version (version) VALUES (-1) ON CONFLICT (one) DO NOTHING;
    PERFORM FROM outcrier.catalogue_version FOR UPDATE;
    UPDATE outcrier.catalogue_version SET version = CASE WHEN EXISTS (SELECT FROM outcrier.event_type AS t WHERE t.payload_schema IS NOT NULL)
        THEN hashtextextended(gen_random_uuid()::text, 0) ELSE 0 END;
    RETURN NULL;
END
$$;
CREATE TRIGGER renew_catalogue_version AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON outcrier.event_type
FOR EACH STATEMENT EXECUTE FUNCTION outcrier.renew_catalogue_version();

CREATE FUNCTION outcrier.set_updated_at() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
CREATE TRIGGER set_updated_at BEFORE UPDATE ON outcrier.event_type FOR EACH ROW EXECUTE FUNCTION outcrier.set_updated_at();

-- payload_schemas returns the schemas and their version; without any a row of the version.
CREATE FUNCTION outcrier.payload_schemas() RETURNS TABLE (version bigint, type text, payload_schema jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT c.version FROM outcrier.catalogue_version AS c), CASE WHEN t.type IS NULL THEN 0 ELSE -1 END), t.type::text, t.payload_schema
    FROM (SELECT) AS one LEFT JOIN outcrier.event_type AS t ON t.payload_schema IS NOT NULL
$$;

-- append_checked is append_all for payloads that were checked: it appends if the version is
-- one of those by which they passed, and otherwise appends and returns nothing.
CREATE FUNCTION outcrier.append_checked(passed bigint[], topics text[], types text[], payloads json[], sources text[],
    headers jsonb[], dedup_keys text[], deliver_ats timestamptz[]) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF coalesce((SELECT c.version FROM outcrier.catalogue_version AS c),
        (SELECT s.version FROM outcrier.payload_schemas() AS s LIMIT 1)) = ANY (passed)
    THEN
        RETURN QUERY SELECT outcrier.append_all($2, $3, $4, $5, $6, $7, $8);
    END IF;
END
$$;
-- +goose StatementEnd
