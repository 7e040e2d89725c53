-- Erasing and redacting events, and an empty outbox for test suites. An erased event
-- leaves a tombstone, its row with xid, id and time, because a position may stand on it.
-- The UPDATE appends a marker (mark_change in 00001), which makes every node forget what
-- it holds in memory with its next read.

-- +goose Up
-- +goose StatementBegin

-- Who erased or redacted which events, when and why; never their payload.
CREATE TABLE outcrier.erasure (
    erasure   bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind      text        NOT NULL CHECK (kind IN ('erase', 'redact')),
    event_id  bigint,     -- of one event
    pattern   text,       -- of all events on matching topics
    events    bigint      NOT NULL,
    reason    text        NOT NULL,
    erased_by text        NOT NULL DEFAULT concat_ws(' for ', session_user, nullif(current_setting('outcrier.admin', true), '')),
    erased_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- erase_found erases one event, or all on topics that match a pattern, scheduled ones
-- included, frees their dedup keys, records it, and returns how many they were.
CREATE FUNCTION outcrier.erase_found(event_id bigint, pattern text, reason text) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- Matching topics lie from the stem on, in byte order.
    stem   CONSTANT text := CASE WHEN strpos(pattern, '*') = 0 THEN pattern ELSE rtrim(split_part(pattern, '*', 1), '/') END;
    ids    bigint[];
    planned bigint[];
    erased bigint;
BEGIN
    IF coalesce(btrim(reason), '') = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'an erasure needs a reason: it is kept on record';
    ELSIF event_id IS NULL AND coalesce(pattern, '') = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'an erasure needs an event''s id or a topic pattern';
    -- "user/4*" would take more than its author may mean, and "user/42/" nothing, quietly.
    ELSIF event_id IS NULL AND (octet_length(pattern) > 255 OR pattern COLLATE "C"
        !~ E'^(?:[^\\u0001-\\u001f\\u007f-\\u009f*/]+|[*]|[*][*]$)(?:/(?:[^\\u0001-\\u001f\\u007f-\\u009f*/]+|[*]))*(?:/[*][*])?$') THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('topic pattern %L is not valid', left(pattern, 300)),
            HINT = 'Allowed are a topic, with "*" for a whole segment or "**" for the last ones.';
    END IF;
    -- Nothing that matches may move from scheduled to event meanwhile.
    LOCK TABLE outcrier.scheduled IN SHARE ROW EXCLUSIVE MODE;
    IF event_id IS NOT NULL THEN
        ids := ARRAY(SELECT o.id FROM outcrier.event AS o WHERE o.id = $1 AND o.topic <> '');
        planned := ARRAY(SELECT s.id FROM outcrier.scheduled AS s WHERE s.id = $1);
    ELSE
        ids := ARRAY(SELECT o.id FROM outcrier.event AS o
            WHERE (stem = '' OR o.topic >= stem AND o.topic < stem || '0') AND o.topic <> '' AND outcrier.matches(o.topic::text, pattern));
        planned := ARRAY(SELECT s.id FROM outcrier.scheduled AS s WHERE outcrier.matches(s.topic::text, pattern));
    END IF;
    erased := cardinality(ids) + cardinality(planned);
    IF erased > 0 THEN
        DELETE FROM outcrier.dedup AS d WHERE d.id = ANY (ids || planned);
        DELETE FROM outcrier.scheduled AS s WHERE s.id = ANY (planned);
        IF ids <> '{}'::bigint[] THEN
            UPDATE outcrier.event AS o
            SET topic = '', type = 'outcrier.erased', payload = '{}', source = '/', headers = NULL, dedup_key = NULL
            WHERE o.id = ANY (ids);
        END IF;
        INSERT INTO outcrier.erasure (kind, event_id, pattern, events, reason) VALUES ('erase', $1, $2, erased, $3);
    END IF;
    RETURN erased;
END
$$;

-- erase removes one event, or all events on topics that match a pattern, from the
-- history and from the memory of every node, and returns how many they were.
CREATE FUNCTION outcrier.erase(id bigint, reason text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT outcrier.erase_found($1, NULL::text, $2) $$;
CREATE FUNCTION outcrier.erase(pattern text, reason text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT outcrier.erase_found(NULL::bigint, $1, $2) $$;

-- redact replaces an event's payload, scheduled or not, and reports whether the
-- event was found. Replays give the new payload; a client that has the event already
-- keeps the old one.
CREATE FUNCTION outcrier.redact(id bigint, payload json, reason text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    checked outcrier.new_event := outcrier.prepared(ROW(NULL, 't', 't', $2, NULL, NULL, NULL, NULL, NULL)::outcrier.new_event);
    changed bigint;
BEGIN
    IF coalesce(btrim(reason), '') = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'a redaction needs a reason: it is kept on record';
    END IF;
    UPDATE outcrier.scheduled AS s SET payload = checked.payload WHERE s.id = $1;
    IF NOT FOUND THEN
        IF NOT EXISTS (SELECT FROM outcrier.event AS o WHERE o.id = $1 AND o.topic <> '') THEN
            RETURN false;
        END IF;
        UPDATE outcrier.event AS o SET payload = checked.payload WHERE o.id = $1 AND o.topic <> '';
    END IF;
    INSERT INTO outcrier.erasure (kind, event_id, events, reason) VALUES ('redact', $1, 1, $3);
    RETURN true;
END
$$;

-- reset empties the outbox, for test suites: events, scheduled events, dedup keys and
-- records. A new history begins, so that a client of the old one receives a gap. Running
-- nodes begin again with their next read.
CREATE FUNCTION outcrier.reset() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    TRUNCATE outcrier.event, outcrier.scheduled, outcrier.dedup, outcrier.stream, outcrier.erasure, outcrier.admin_request, outcrier.publication, outcrier.audit_day,
        outcrier.removal, outcrier.removal_topic, outcrier.removal_anchor;
    PERFORM outcrier.begin_history();
    INSERT INTO outcrier.event (topic, type) VALUES ('', 'outcrier.reset');
    PERFORM outcrier.wake_up();
END
$$;
-- +goose StatementEnd
