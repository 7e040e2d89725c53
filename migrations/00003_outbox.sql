-- The view `outbox`: where applications append, by one INSERT in the business transaction
-- from any driver or ORM. A view with an INSTEAD OF trigger checks a row for half of what
-- CHECK constraints and row triggers on the table cost, and keeps the rest of the schema
-- out of the applications' sight (docs/decisions/0001-view-outbox.md).

-- +goose Up
-- +goose StatementBegin

-- One event as the view's columns have it.
CREATE TYPE outcrier.new_event AS (
    id bigint, topic text, type text, payload json, source text, headers jsonb,
    dedup_key text, deliver_at timestamptz, created_at timestamptz
);

-- refuse raises the error for an invalid value: SQLSTATE 23514, with the column. It
-- returns a boolean so that it can stand in a CHECK, and is VOLATILE so that the planner
-- does not call it to fold a constant.
CREATE FUNCTION outcrier.refuse(relation text, field text, value text, allowed text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = relation, COLUMN = field, CONSTRAINT = relation || '_' || field,
        MESSAGE = format('%s %s is not valid: allowed %s', field, coalesce(to_json(left(value, 300))::text, 'NULL'), allowed);
END
$$;

-- too_deep reports whether JSON nests deeper than 64 levels: it strips strings and
-- scalars, then 64 times the innermost brackets.
CREATE FUNCTION outcrier.too_deep(payload text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    brackets text := regexp_replace(regexp_replace(payload, '"(\\.|[^"\\])*"', '', 'g'), '[^][{}]+', '', 'g');
BEGIN
    FOR level IN 1..64 LOOP
        EXIT WHEN brackets = '';
        brackets := regexp_replace(brackets, '(\[\]|\{\})+', '', 'g');
    END LOOP;
    RETURN brackets <> '';
END
$$;

-- plain reports whether an append is valid as it stands and needs nothing but its
-- row: what most appends are. Postgres inlines it. As many brackets as levels are
-- allowed can't nest too deep. Two regular expressions are six times faster than one
-- with a look-ahead.
CREATE FUNCTION outcrier.plain(topic text, type text, payload text, source text, headers jsonb, dedup_key text, deliver_at timestamptz)
RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN headers IS NULL AND dedup_key IS NULL AND deliver_at IS NULL AND source IS NULL
    AND octet_length(topic) <= 255 AND octet_length(type) <= 255
    AND topic COLLATE "C" ~ '^[^\u0001-\u001f\u007f-\u009f*/]+(?:/[^\u0001-\u001f\u007f-\u009f*/]+)*$'
    AND type COLLATE "C" ~ '^[^\u0001-\u001f\u007f-\u009f\u2028\u2029]+$' AND NOT starts_with(type, 'outcrier.')
    AND octet_length(payload) <= 8192
    AND octet_length(payload) - octet_length(replace(replace(payload, '[', ''), '{', '')) <= 64;

-- prepared returns the event with defaults in place of NULL and '', its xid assigned
-- and then its id drawn, or refuses it. A delivery time that is past is none.
CREATE FUNCTION outcrier.prepared(e outcrier.new_event) RETURNS outcrier.new_event
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    payload_limit CONSTANT int := /* payload limit */ 1048576;
    size int;
BEGIN
    e.source := coalesce(nullif(e.source, ''), '/');
    e.payload := coalesce(e.payload, '{}');
    e.dedup_key := nullif(e.dedup_key, '');
    e.headers := nullif(e.headers, 'null');
    IF e.topic IS NULL OR octet_length(e.topic) > 255
        OR e.topic COLLATE "C" !~ '^[^\u0001-\u001f\u007f-\u009f*/]+(?:/[^\u0001-\u001f\u007f-\u009f*/]+)*$'
    THEN
        PERFORM outcrier.refuse('outbox', 'topic', e.topic, 'are 1 to 255 bytes in segments separated by "/", none empty, without control characters or "*"');
    ELSIF e.type IS NULL OR octet_length(e.type) > 255 OR e.type COLLATE "C" !~ '^[^\u0001-\u001f\u007f-\u009f\u2028\u2029]+$' OR starts_with(e.type, 'outcrier.') THEN
        PERFORM outcrier.refuse('outbox', 'type', e.type, 'are 1 to 255 bytes without control characters or line separators, not beginning with "outcrier.", which is reserved');
    ELSIF octet_length(e.source) > 255 OR e.source COLLATE "C" ~ '[\u0001-\u001f\u007f-\u009f]' THEN
        PERFORM outcrier.refuse('outbox', 'source', e.source, 'are 1 to 255 bytes without control characters');
    ELSIF octet_length(e.dedup_key) > 255 THEN
        PERFORM outcrier.refuse('outbox', 'dedup_key', e.dedup_key, 'are at most 255 bytes, or NULL for none');
    ELSIF e.headers IS NOT NULL AND (jsonb_typeof(e.headers) <> 'object' OR octet_length(e.headers::text) > 16384
        OR jsonb_path_exists(e.headers, 'strict $.* ? (@.type() != "string")'))
    THEN
        PERFORM outcrier.refuse('outbox', 'headers', e.headers::text, 'is a JSON object of at most 16384 bytes whose values are all strings');
    ELSIF NOT isfinite(e.deliver_at) OR e.deliver_at > clock_timestamp() + interval '100 years' THEN
        PERFORM outcrier.refuse('outbox', 'deliver_at', e.deliver_at::text, 'is a time at most 100 years ahead');
    END IF;
    size := octet_length(e.payload::text);
    IF size > payload_limit THEN
        PERFORM outcrier.refuse('outbox', 'payload', format('%s bytes', size), format('are at most %s bytes', payload_limit));
    ELSIF size - octet_length(replace(replace(e.payload::text, '[', ''), '{', '')) > 64 AND outcrier.too_deep(e.payload::text) THEN
        PERFORM outcrier.refuse('outbox', 'payload', left(e.payload::text, 70), 'are at most 64 levels of nesting');
    END IF;
    PERFORM pg_current_xact_id();
    e.id := nextval('outcrier.event_id'::regclass);
    e.created_at := clock_timestamp();
    e.deliver_at := CASE WHEN e.deliver_at > e.created_at THEN e.deliver_at END;
    RETURN e;
END
$$;

-- same_event refuses a dedup key that an event of another topic or type has.
CREATE FUNCTION outcrier.same_event(e outcrier.new_event, topic text, type text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF e.topic <> $2 OR e.type <> $3 THEN
        RAISE EXCEPTION USING ERRCODE = 'unique_violation', TABLE = 'outbox', COLUMN = 'dedup_key', CONSTRAINT = 'outbox_dedup_key',
            MESSAGE = format('dedup_key %s belongs to an event of another topic or type', to_json(e.dedup_key)),
            HINT = 'A retry repeats topic and type. Use one key for one event.';
    END IF;
END
$$;

-- claim_key gives the event its dedup key, or returns the id and created_at of the
-- event that has it: then nothing is to be stored. An append waits for an open
-- transaction that claims the same key, and only for that: its outcome decides. In a
-- REPEATABLE READ transaction a key that was claimed after the snapshot is a
-- serialization failure (40001), never a wrong id.
CREATE FUNCTION outcrier.claim_key(e outcrier.new_event, OUT id bigint, OUT created_at timestamptz)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    later CONSTANT boolean := e.deliver_at IS NOT NULL;
    holder outcrier.dedup;
BEGIN
    id := e.id;
    created_at := e.created_at;
    INSERT INTO outcrier.dedup AS d (key, id, topic, type, created_at, scheduled)
    VALUES (e.dedup_key, e.id, e.topic, e.type, e.created_at, later) ON CONFLICT (key) DO NOTHING;
    IF FOUND THEN
        RETURN;
    END IF;
    -- Without a lock: retries of one key don't wait for each other.
    SELECT d.* INTO holder FROM outcrier.dedup AS d WHERE d.key = e.dedup_key;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'serialization_failure', MESSAGE = 'the dedup_key was freed at this moment; retry the transaction';
    ELSIF holder.scheduled AND EXISTS (SELECT FROM outcrier.scheduled AS s WHERE s.id = holder.id)
        OR NOT holder.scheduled AND EXISTS (SELECT FROM outcrier.event AS o WHERE o.id = holder.id AND o.created_at = holder.created_at AND o.topic <> '')
    THEN
        PERFORM outcrier.same_event(e, holder.topic::text, holder.type::text);
        id := holder.id;
        created_at := holder.created_at;
        RETURN;
    END IF;
    UPDATE outcrier.dedup AS d SET id = e.id, topic = e.topic, type = e.type, created_at = e.created_at, scheduled = later
    WHERE d.key = e.dedup_key AND d.id = holder.id;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'serialization_failure', MESSAGE = 'the dedup_key was claimed at this moment; retry the transaction';
    END IF;
END
$$;

-- store writes an event that is valid, has its id and owns its key.
CREATE FUNCTION outcrier.store(e outcrier.new_event) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF e.deliver_at IS NULL THEN
        INSERT INTO outcrier.event (xid, id, topic, type, payload, source, headers, dedup_key, created_at)
        VALUES (pg_current_xact_id(), e.id, e.topic, e.type, e.payload, e.source, e.headers, e.dedup_key, e.created_at);
    ELSE
        INSERT INTO outcrier.scheduled (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)
        VALUES (e.id, e.topic, e.type, e.payload, e.source, e.headers, e.dedup_key, e.deliver_at, e.created_at);
    END IF;
END
$$;

-- repeated lets a retry be read back, as some ORMs do after an INSERT: own_rows shows the
-- row that it sent under the id of the key's event, and lastval() returns that id. The
-- setting ends with the transaction; a session that forges it sees its own value.
CREATE SEQUENCE outcrier.repeated_id AS bigint;
CREATE FUNCTION outcrier.repeated(e outcrier.new_event) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    setting CONSTANT text := 'outbox.repeated_' || 'outcrier.event'::regclass::oid;
    earlier CONSTANT text := current_setting(setting, true);
BEGIN
    PERFORM set_config(setting, concat_ws(','::text, CASE WHEN octet_length(earlier) BETWEEN 1 AND 65536 THEN earlier END, to_json(e)), true);
    FOR attempt IN 1..1000 LOOP
        PERFORM setval('outcrier.repeated_id'::regclass, e.id, false);
        EXIT WHEN nextval('outcrier.repeated_id'::regclass) = e.id; -- else another session's retry came between
    END LOOP;
END
$$;

-- append_event appends one event of any kind and returns it with its id, or with the
-- id of the event that has its key.
CREATE FUNCTION outcrier.append_event(e outcrier.new_event) RETURNS outcrier.new_event
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    claimed record;
BEGIN
    e := outcrier.prepared(e);
    IF e.dedup_key IS NOT NULL THEN
        SELECT c.id, c.created_at INTO claimed FROM outcrier.claim_key(e) AS c;
        IF claimed.id <> e.id THEN
            e.id := claimed.id;
            e.created_at := claimed.created_at;
            PERFORM outcrier.repeated(e);
            RETURN e;
        END IF;
    END IF;
    PERFORM outcrier.store(e);
    PERFORM outcrier.wake_up();
    RETURN e;
END
$$;

-- append_row is the view's trigger. A SET clause would be a tenth of its price, so the
-- caller's search_path and settings reach it: every name and operator is qualified, no
-- string has a backslash, and nothing looks an operator up by itself (NULLIF, IN,
-- BETWEEN, simple CASE, IS DISTINCT FROM).
CREATE FUNCTION outcrier.append_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    request pg_catalog.int8;
    own     pg_catalog.xid8;
    special outcrier.new_event;
BEGIN
    IF outcrier.plain(NEW.topic, NEW.type, NEW.payload::pg_catalog.text, NEW.source, NEW.headers, NEW.dedup_key, NEW.deliver_at) IS NOT TRUE THEN
        special := NEW;
        NEW := outcrier.append_event(special);
        RETURN NEW;
    END IF;
    own := pg_catalog.pg_current_xact_id(); -- before the id is drawn
    NEW.id := pg_catalog.nextval('outcrier.event_id'::pg_catalog.regclass);
    NEW.created_at := pg_catalog.clock_timestamp();
    NEW.source := '/';
    INSERT INTO outcrier.event (xid, id, topic, type, payload, source, created_at)
    VALUES (own, NEW.id, NEW.topic, NEW.type, NEW.payload, NEW.source, NEW.created_at);
    request := pg_catalog.pg_sequence_last_value('outcrier.wake_request'::pg_catalog.regclass);
    IF request OPERATOR(pg_catalog.>) coalesce(pg_catalog.pg_sequence_last_value('outcrier.wake_answer'::pg_catalog.regclass), 0) THEN
        PERFORM outcrier.notify(request);
    END IF;
    RETURN NEW;
END
$$;

-- own_rows returns what the calling transaction appended: for RETURNING, for ORMs that
-- read back, and for tests. It is a function because a WHERE would leak the history:
-- leakproof operators are evaluated before a security barrier, and EXPLAIN ANALYZE
-- counts the rows that a filter removes.
CREATE FUNCTION outcrier.own_rows() RETURNS SETOF outcrier.new_event
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp ROWS 10 AS $$
DECLARE
    own CONSTANT xid8 := pg_current_xact_id_if_assigned();
BEGIN
    IF own IS NOT NULL THEN
        RETURN QUERY SELECT DISTINCT ON (u.id) u.* FROM (
            SELECT o.id, o.topic::text, o.type::text, o.payload, o.source::text, o.headers, o.dedup_key::text, NULL::timestamptz, o.created_at
            FROM outcrier.event AS o WHERE o.xid = own AND o.topic <> ''
            UNION ALL
            SELECT s.id, s.topic::text, s.type::text, s.payload, s.source::text, s.headers, s.dedup_key::text, s.deliver_at, s.created_at
            FROM outcrier.scheduled AS s WHERE s.xid = own
            UNION ALL
            SELECT r.* FROM json_populate_recordset(NULL::outcrier.new_event,
                ('[' || current_setting('outbox.repeated_' || 'outcrier.event'::regclass::oid, true) || ']')::json) AS r
        ) AS u ORDER BY u.id;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    IF has_table_privilege(session_user, 'outcrier.history'::text, 'SELECT'::text) THEN
        RAISE NOTICE 'outbox shows only the rows of the current transaction; SELECT from outcrier.history for all events';
    END IF;
END
$$;

CREATE VIEW public.outbox AS
SELECT id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at FROM outcrier.own_rows();
REVOKE ALL ON public.outbox FROM PUBLIC;

COMMENT ON VIEW public.outbox IS 'INSERT appends an event that exists when the transaction commits. SELECT shows the rows of the current transaction; all events are in outcrier.history.';
COMMENT ON COLUMN public.outbox.id IS 'Always drawn by the outbox; a given value is replaced. With a dedup_key that is taken: the id of its event.';
COMMENT ON COLUMN public.outbox.payload IS 'JSON, delivered byte for byte. NULL is {}.';
COMMENT ON COLUMN public.outbox.dedup_key IS 'A retry with the same key, topic and type stores nothing and returns the first event''s id.';
COMMENT ON COLUMN public.outbox.deliver_at IS 'A time in the future schedules the event.';

CREATE TRIGGER append_row INSTEAD OF INSERT ON public.outbox FOR EACH ROW EXECUTE FUNCTION outcrier.append_row();

-- Under session_replication_role = replica Postgres skips the view's trigger, answers
-- INSERT 0 1 and stores nothing. A column default is evaluated even there.
CREATE FUNCTION outcrier.refuse_replica() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = 'under session_replication_role = replica no trigger runs, so nothing would be appended to outbox',
        HINT = 'SET session_replication_role = DEFAULT, or load rows into outcrier.event.';
END
$$;
ALTER VIEW public.outbox ALTER id SET DEFAULT CASE WHEN current_setting('session_replication_role') = 'replica' THEN outcrier.refuse_replica() END;
ALTER VIEW public.outbox ALTER created_at SET DEFAULT CASE WHEN current_setting('session_replication_role') = 'replica' THEN to_timestamp(outcrier.refuse_replica()) END;

-- refuse_change answers UPDATE and DELETE of the view, whether or not they find rows.
CREATE FUNCTION outcrier.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = format('%s of outbox: an event that was appended does not change', TG_OP),
        HINT = 'The owner uses outcrier.erase, outcrier.redact or outcrier.reset, and outcrier.cancel for a scheduled event.';
END
$$;
CREATE TRIGGER refuse_change INSTEAD OF UPDATE OR DELETE ON public.outbox FOR EACH ROW EXECUTE FUNCTION outcrier.refuse_change();
CREATE TRIGGER refuse_statement BEFORE UPDATE OR DELETE ON public.outbox FOR EACH STATEMENT EXECUTE FUNCTION outcrier.refuse_change();

-- append is the INSERT for those who prefer a call. More of it below, for other types.
CREATE FUNCTION outcrier.append(topic text, type text, payload json DEFAULT NULL, source text DEFAULT NULL,
    headers jsonb DEFAULT NULL, dedup_key text DEFAULT NULL, deliver_at timestamptz DEFAULT NULL) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT (outcrier.append_event(ROW(NULL, $1, $2, $3, $4, $5, $6, $7, NULL)::outcrier.new_event)).id $$;
-- append_all appends many events, an array per column (NULL leaves it out), and returns
-- their ids in the arrays' order. Plain events go in by one statement. Keys are claimed in
-- sorted order, so that two calls with the same keys don't deadlock.
CREATE FUNCTION outcrier.append_all(
    topics text[], types text[], payloads json[], sources text[] DEFAULT NULL,
    headers jsonb[] DEFAULT NULL, dedup_keys text[] DEFAULT NULL, deliver_ats timestamptz[] DEFAULT NULL
) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp ROWS 100 AS $$
#variable_conflict use_column
DECLARE
    events   outcrier.new_event[];
    e        outcrier.new_event;
    previous outcrier.new_event;
    claimed  record;
    n        CONSTANT int := coalesce(cardinality(topics), 0);
BEGIN
    IF n <> coalesce(cardinality(types), 0) OR n <> coalesce(cardinality(payloads), n) OR n <> coalesce(cardinality(sources), n)
        OR n <> coalesce(cardinality($5), n) OR n <> coalesce(cardinality(dedup_keys), n) OR n <> coalesce(cardinality(deliver_ats), n)
    THEN
        RAISE EXCEPTION USING ERRCODE = 'array_subscript_error', MESSAGE = 'the arrays of append_all differ in length';
    END IF;
    PERFORM pg_current_xact_id();
    -- A source of '/' is what the default would be.
    IF NOT EXISTS (
        SELECT FROM unnest($1, $2, $3, $4, $5, $6, $7) AS u (topic, type, payload, source, headers, dedup_key, deliver_at)
        WHERE outcrier.plain(u.topic, u.type, coalesce(u.payload, '{}')::text, nullif(nullif(u.source, '/'), ''), nullif(u.headers, 'null'::jsonb),
            nullif(u.dedup_key, ''), u.deliver_at) IS NOT TRUE)
    THEN
        RETURN QUERY
            INSERT INTO outcrier.event (xid, id, topic, type, payload, created_at)
            SELECT pg_current_xact_id(), nextval('outcrier.event_id'::regclass), u.topic, u.type, coalesce(u.payload, '{}'), clock_timestamp()
            FROM unnest($1, $2, $3) AS u (topic, type, payload)
            RETURNING id;
        PERFORM outcrier.wake_up();
        RETURN;
    END IF;
    FOR i IN 1..n LOOP
        events[i] := outcrier.prepared(ROW(NULL, topics[i], types[i], payloads[i], sources[i], $5[i], dedup_keys[i], deliver_ats[i], NULL)::outcrier.new_event);
    END LOOP;
    FOR claimed IN
        SELECT u.nth, u.dedup_key FROM unnest(events) WITH ORDINALITY AS u (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at, nth)
        WHERE u.dedup_key IS NOT NULL ORDER BY u.dedup_key COLLATE "C", u.nth
    LOOP
        e := events[claimed.nth];
        IF e.dedup_key = previous.dedup_key THEN -- a repeat within this call
            PERFORM outcrier.same_event(e, previous.topic, previous.type);
            events[claimed.nth].id := -previous.id;
            CONTINUE;
        END IF;
        previous := e;
        SELECT c.id INTO previous.id FROM outcrier.claim_key(e) AS c;
        IF previous.id <> e.id THEN
            events[claimed.nth].id := -previous.id;
        END IF;
    END LOOP;
    FOREACH e IN ARRAY events LOOP
        IF e.id > 0 THEN
            PERFORM outcrier.store(e);
        END IF;
        RETURN NEXT abs(e.id);
    END LOOP;
    PERFORM outcrier.wake_up();
END
$$;
-- The same for jsonb and text payloads, and for uuid keys. Arguments of unknown type go to
-- the text payload: no overload has another type than text at the place of a text.
DO $do$
DECLARE
    payload text;
BEGIN
    FOREACH payload IN ARRAY ARRAY['json', 'jsonb', 'text'] LOOP
        EXECUTE format($sql$
            CREATE FUNCTION outcrier.append(topic text, type text, dedup_key uuid, payload %1$s %2$s) RETURNS bigint
            LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT outcrier.append($1, $2, $4::json, dedup_key => $3::text) $$
        $sql$, payload, CASE payload WHEN 'json' THEN 'DEFAULT NULL' END);
        CONTINUE WHEN payload = 'json';
        EXECUTE format($sql$
            CREATE FUNCTION outcrier.append(topic text, type text, payload %1$s, source text DEFAULT NULL,
                headers jsonb DEFAULT NULL, dedup_key text DEFAULT NULL, deliver_at timestamptz DEFAULT NULL) RETURNS bigint
            LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
            AS $$ SELECT outcrier.append($1, $2, $3::json, $4, $5, $6, $7) $$;
            CREATE FUNCTION outcrier.append_all(topics text[], types text[], payloads %1$s[], sources text[] DEFAULT NULL,
                headers jsonb[] DEFAULT NULL, dedup_keys text[] DEFAULT NULL, deliver_ats timestamptz[] DEFAULT NULL) RETURNS SETOF bigint
            LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
            AS $$ SELECT outcrier.append_all($1, $2, $3::json[], $4, $5, $6, $7) $$
        $sql$, payload);
    END LOOP;
END
$do$;

-- deliver moves these scheduled events into the outbox, oldest first, and their
-- dedup keys with them.
CREATE FUNCTION outcrier.deliver(ids bigint[]) RETURNS int
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moved int;
BEGIN
    PERFORM pg_current_xact_id();
    WITH due AS (
        DELETE FROM outcrier.scheduled AS s WHERE s.id = ANY ($1) RETURNING s.*
    ), numbered AS MATERIALIZED (
        SELECT nextval('outcrier.event_id'::regclass) AS event_id, clock_timestamp() AS now, o.* FROM (SELECT d.* FROM due AS d ORDER BY d.deliver_at, d.id) AS o
    ), keys AS (
        UPDATE outcrier.dedup AS d SET id = n.event_id, created_at = n.now, scheduled = false FROM numbered AS n WHERE d.key = n.dedup_key AND d.id = n.id
    ), publishers AS (
        INSERT INTO outcrier.publication (id, publisher, client_address)
        SELECT n.event_id, p.publisher, p.client_address FROM numbered AS n JOIN outcrier.publication AS p ON p.id = n.id
    )
    INSERT INTO outcrier.event (xid, id, topic, type, payload, source, headers, dedup_key, created_at)
    SELECT pg_current_xact_id(), n.event_id, n.topic, n.type, n.payload, n.source, n.headers, n.dedup_key, n.now FROM numbered AS n;
    GET DIAGNOSTICS moved = ROW_COUNT;
    PERFORM outcrier.wake_up();
    RETURN moved;
END
$$;

-- deliver_scheduled moves due events, at most this many, and returns how many it moved.
-- Any number of nodes may call it: one moves, so that order is kept, and the others return
-- 0. The index on deliver_at gives what is due, so that the cost does not depend on how
-- many events are scheduled. If moving all fails, each is tried alone: one that can't be stored (a
-- trigger or constraint of the owner's) keeps its error in problem and is tried again
-- after half its delay, 0.1 to 10 s.
CREATE FUNCTION outcrier.deliver_scheduled(at_most int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET lock_timeout = '5ms' SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    present CONSTANT timestamptz := clock_timestamp();
    due   bigint[];
    one   bigint;
    moved int := 0;
    held  int := 0;
BEGIN
    IF NOT outcrier.claim('deliver'::text) THEN
        RETURN 0;
    END IF;
    due := ARRAY(
        SELECT s.id FROM outcrier.scheduled AS s WHERE s.deliver_at <= present AND s.retry_at IS NULL
        ORDER BY s.deliver_at, s.id LIMIT at_most FOR UPDATE SKIP LOCKED);
    IF cardinality(due) < at_most THEN
        due := due || ARRAY(
            SELECT s.id FROM outcrier.scheduled AS s WHERE s.deliver_at <= present AND s.retry_at <= present
            ORDER BY s.retry_at, s.deliver_at, s.id LIMIT at_most - cardinality(due) FOR UPDATE SKIP LOCKED);
    END IF;
    IF due = '{}'::bigint[] THEN
        RETURN 0;
    END IF;
    BEGIN
        LOCK TABLE outcrier.event IN ROW EXCLUSIVE MODE;
    EXCEPTION WHEN lock_not_available THEN
        RETURN 0; -- a partition is being made or dropped
    END;
    BEGIN
        RETURN outcrier.deliver(due);
    EXCEPTION WHEN OTHERS THEN
        NULL;
    END;
    FOREACH one IN ARRAY due LOOP
        BEGIN
            moved := moved + outcrier.deliver(ARRAY[one]);
        EXCEPTION WHEN OTHERS THEN
            -- Resources, an operator, the system: not the row's fault.
            IF SQLSTATE ~ '^(53|57|58|XX)' THEN
                RAISE;
            END IF;
            UPDATE outcrier.scheduled AS s SET problem = SQLERRM, retry_at = clock_timestamp()
                + greatest(interval '100 ms', least(interval '10 s', (clock_timestamp() - s.deliver_at) / 2))
            WHERE s.id = one;
            held := held + 1;
            EXIT WHEN held = 100;
        END;
    END LOOP;
    RETURN moved;
END
$$;

-- hold_for is called by a node in the transaction that appends by HTTP: it records who
-- scheduled the events of the transaction, and returns how many of theirs are scheduled.
-- Transactions of one principal pass here one after the other: the next one counts when the
-- one before has ended, so that parallel requests can't all count before any has committed.
-- Principals share 64 rows to lock, so that they leave none behind.
CREATE FUNCTION outcrier.hold_for(principal text, ids bigint[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    row_to_lock CONSTANT text := 'hold_for ' || (hashtext(hold_for.principal) & 63);
BEGIN
    INSERT INTO outcrier.maintenance AS m (work) VALUES (row_to_lock) ON CONFLICT DO NOTHING;
    PERFORM FROM outcrier.maintenance AS m WHERE m.work = row_to_lock FOR UPDATE;
    UPDATE outcrier.scheduled AS s SET principal = hold_for.principal WHERE s.id = ANY (ids) AND s.xid = pg_current_xact_id();
    RETURN (SELECT count(*) FROM outcrier.scheduled AS s WHERE s.principal = hold_for.principal);
END
$$;

-- cancel deletes a scheduled event, frees its dedup key, and reports whether the
-- event was still scheduled.
CREATE FUNCTION outcrier.cancel(id bigint) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH cancelled AS (DELETE FROM outcrier.scheduled AS s WHERE s.id = $1 RETURNING s.id, s.dedup_key),
        freed AS (DELETE FROM outcrier.dedup AS d USING cancelled AS c WHERE d.key = c.dedup_key AND d.id = c.id)
    SELECT EXISTS (SELECT FROM cancelled)
$$;
-- +goose StatementEnd
