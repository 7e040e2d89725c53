-- The wake-up: how a sleeping tail learns of a commit. A NOTIFY serialises the writers'
-- commits by one lock of the whole cluster, held through the WAL flush. So a writer
-- notifies only while a tail requests it, and a tail requests it only when nothing goes
-- on. The flag is a pair of sequences: they are read without a snapshot and so mean the
-- same under every isolation level.

-- +goose Up
-- +goose StatementBegin

-- A tail that is about to sleep draws a request; a tail that was woken for it, and stays
-- awake, writes its number to wake_answer.
CREATE SEQUENCE outcrier.wake_request AS bigint CACHE 1;
CREATE SEQUENCE outcrier.wake_answer AS bigint CACHE 1;

-- notify sends the request's number, and no data, on the channel that has the
-- schema's name.
--
-- Three kinds of sessions don't notify; the tail's idle poll finds their events:
-- two-phase commit, because NOTIFY makes PREPARE TRANSACTION fail (members of
-- outcrier_two_phase; superusers are members of every role and don't count); a
-- session that says SET outcrier.notify = 'off'; and everybody while the cluster's
-- notification queue is more than half full, because a full queue fails every COMMIT
-- that notifies.
CREATE FUNCTION outcrier.notify(request bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF coalesce(current_setting('outcrier.notify', true), '') <> 'off' AND pg_notification_queue_usage() < 0.5
        AND NOT (to_regrole('outcrier_two_phase') IS NOT NULL AND pg_has_role(session_user, to_regrole('outcrier_two_phase')::oid, 'USAGE')
            AND NOT (SELECT r.rolsuper FROM pg_roles AS r WHERE r.rolname = session_user))
    THEN
        -- The schema's name: the path has no part of ours, so the text is qualified.
        PERFORM pg_notify((parse_ident('outcrier.wake_request'::regclass::text))[1], request::text);
    END IF;
END
$$;

-- wake_up notifies if a tail waits for it.
CREATE FUNCTION outcrier.wake_up() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    request CONSTANT bigint := pg_sequence_last_value('outcrier.wake_request'::regclass);
BEGIN
    IF request > coalesce(pg_sequence_last_value('outcrier.wake_answer'::regclass), 0) THEN
        PERFORM outcrier.notify(request);
    END IF;
END
$$;

-- answer_wake_up ends the notifications for a request. Two nodes may race and leave
-- the older request: that costs one needless notification, which is answered in turn.
CREATE FUNCTION outcrier.answer_wake_up(request bigint) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT setval('outcrier.wake_answer'::regclass, request)
    WHERE request > coalesce(pg_sequence_last_value('outcrier.wake_answer'::regclass), 0)
        AND request <= pg_sequence_last_value('outcrier.wake_request'::regclass)
$$;
-- +goose StatementEnd
