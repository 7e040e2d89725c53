-- Rights: what those may do who are not the owner of these objects.
--
-- Postgres lets everybody execute every function, and a SECURITY DEFINER one
-- acts as the owner: as the schema stood, whoever could connect could append,
-- drop the history by outbox_retain('0'), or silence the bell. So PUBLIC loses
-- them here, whether or not there are roles. Who gets what is in roles.sql, on
-- request: "outcrier migrate roles".
--
-- The search_path of each function is the outbox's schema and then pg_temp,
-- named and last, so that a caller's temporary tables shadow nothing. pg_catalog
-- is searched before both. What is left is the schema itself: whoever may create
-- in it could overload a function of Postgres for ours to call. roles.sql
-- refuses to call that safe.

-- +goose Up

-- Trigger functions too: anybody could put outbox_dedup on a table of their own,
-- and take the keys of events still to come.
REVOKE EXECUTE ON FUNCTION
    outbox_refuse(text, text),
    outbox_dedup(),
    outbox_append(text, text, json, text, jsonb, text, timestamptz),
    outbox_append_all(text[], text[], json[], text[], jsonb[], text[], timestamptz[]),
    outbox_deliver_due(int),
    outbox_bell_channel(),
    outbox_ring(),
    outbox_bell_answer(bigint),
    outbox_partitions_ahead(int),
    outbox_retain(interval),
    outbox_settle(),
    outbox_varint(bigint),
    outbox_position()
FROM PUBLIC;

-- Whose turn it is at the work that one does at a time: its row is locked for
-- as long. An advisory lock would do, but anyone may take any advisory lock and
-- keep it; to lock a row takes a right, and nobody has one here.
CREATE TABLE outbox_turn (
    work text PRIMARY KEY
);
INSERT INTO outbox_turn (work) VALUES ('deliver'), ('partitions');

-- When to deliver is the writer's to say, and the one who waits for it must be
-- able to compute with it: infinity has no distance, and centuries don't fit the
-- nanoseconds of a duration.
ALTER TABLE outbox_scheduled ADD CONSTRAINT outbox_deliver_at CHECK (
    (isfinite(deliver_at) AND deliver_at <= created_at + interval '100 years')
    OR outbox_refuse('outbox_deliver_at', format(
        'deliver_at %s is not valid: allowed is what is at most 100 years ahead', deliver_at)));

-- A row that can't be moved yet waits on its own: until when, and what was in the
-- way the last time.
ALTER TABLE outbox_scheduled ADD COLUMN held_until timestamptz, ADD COLUMN problem text;

-- outbox_move moves these rows, and returns how many are stored: of two with one
-- dedup key the second is not.
-- +goose StatementBegin
CREATE FUNCTION outbox_move(ids bigint[]) RETURNS int
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    moved int;
BEGIN
    WITH due AS (
        DELETE FROM outbox_scheduled WHERE id = ANY (ids)
        RETURNING id, topic, type, payload, source, headers, dedup_key, deliver_at
    )
    INSERT INTO outbox (topic, type, payload, source, headers, dedup_key)
    SELECT topic, type, payload, source, headers, dedup_key FROM due ORDER BY deliver_at, id;
    GET DIAGNOSTICS moved = ROW_COUNT;
    RETURN moved;
END
$$;
-- +goose StatementEnd
REVOKE EXECUTE ON FUNCTION outbox_move(bigint[]) FROM PUBLIC;

-- All that is due is moved by one statement. Where that fails each row is tried by
-- itself: one whose dedup key an open transaction has taken waits for that, and one
-- that the outbox refuses for whoever sees to it, and neither keeps the others. It is
-- tried again when half as late again as it is, after 0.1 s at least and 10 s at most.
--
-- The lock_timeout is short because the others wait for as long, and so does whoever
-- appends with a key that was just moved.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION outbox_deliver_due(at_most int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '5ms' SET search_path FROM CURRENT AS $$
DECLARE
    due   bigint[];
    one   bigint;
    moved int := 0;
    held  int := 0;
BEGIN
    PERFORM FROM outbox_turn WHERE work = 'deliver' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    due := ARRAY(
        SELECT id FROM outbox_scheduled
        WHERE deliver_at <= clock_timestamp() AND (held_until IS NULL OR held_until <= clock_timestamp())
        ORDER BY held_until NULLS FIRST, deliver_at, id LIMIT at_most FOR UPDATE SKIP LOCKED);
    IF due = '{}' THEN
        RETURN 0; -- to insert nothing would ring, too
    END IF;
    BEGIN
        LOCK TABLE outbox IN ROW EXCLUSIVE MODE;
    EXCEPTION WHEN lock_not_available THEN
        RETURN 0; -- a partition comes or goes, which is no fault of a row
    END;
    BEGIN
        RETURN outbox_move(due);
    EXCEPTION WHEN OTHERS THEN
        NULL;
    END;
    FOREACH one IN ARRAY due LOOP
        BEGIN
            moved := moved + outbox_move(ARRAY[one]);
        EXCEPTION WHEN OTHERS THEN
            -- Resources, an operator, the system: no fault of the row.
            IF SQLSTATE ~ '^(53|57|58|XX)' THEN
                RAISE;
            END IF;
            UPDATE outbox_scheduled
            SET problem = SQLERRM, held_until = clock_timestamp()
                + greatest(interval '100 ms', least(interval '10 s', (clock_timestamp() - deliver_at) / 2))
            WHERE id = one;
            held := held + 1;
            EXIT WHEN held = 100;
        END;
    END LOOP;
    RETURN moved;
END
$$;
-- +goose StatementEnd

-- outbox_seal makes a partition no wider open than outbox itself: ALTER DEFAULT
-- PRIVILEGES, which hosts of Postgres are fond of, would have every new partition
-- be a side door, with an INSERT that gives xid and id, or a DELETE.
-- +goose StatementBegin
CREATE FUNCTION outbox_seal(partition regclass) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    door record;
BEGIN
    FOR door IN
        SELECT grantee, privilege_type FROM pg_class, aclexplode(relacl) WHERE oid = partition AND grantee <> relowner
        EXCEPT
        SELECT grantee, privilege_type FROM pg_class, aclexplode(relacl) WHERE oid = 'outbox'::regclass
    LOOP
        EXECUTE format('REVOKE %s ON TABLE %s FROM %s CASCADE', door.privilege_type, partition,
            CASE door.grantee WHEN 0 THEN 'PUBLIC' ELSE door.grantee::regrole::text END);
    END LOOP;
END
$$;
-- +goose StatementEnd
REVOKE EXECUTE ON FUNCTION outbox_seal(regclass) FROM PUBLIC;

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION outbox_partitions_ahead(days int DEFAULT 3) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    day       date;
    today     date := (now() AT TIME ZONE 'UTC')::date;
    partition text;
    made      int := 0;
BEGIN
    PERFORM FROM outbox_turn WHERE work = 'partitions' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    FOR day IN SELECT today + n FROM generate_series(0, days) AS n LOOP
        partition := to_char(day, '"outbox_"YYYY_MM_DD');
        CONTINUE WHEN to_regclass(quote_ident(partition)) IS NOT NULL;
        BEGIN
            EXECUTE format('CREATE TABLE %I (LIKE outbox INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition);
            PERFORM outbox_seal(quote_ident(partition)::regclass);
            EXECUTE format('CREATE TRIGGER outbox_ring AFTER INSERT ON %I FOR EACH STATEMENT EXECUTE FUNCTION outbox_ring()', partition);
            EXECUTE format('ALTER TABLE outbox ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                partition, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
            made := made + 1;
        EXCEPTION WHEN check_violation THEN
            NULL;
        END;
    END LOOP;
    RETURN made;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION outbox_retain(keep interval) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    candidate record;
    newest    regclass := (SELECT tableoid FROM outbox ORDER BY xid DESC LIMIT 1);
BEGIN
    PERFORM FROM outbox_turn WHERE work = 'partitions' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    FOR candidate IN
        SELECT c.oid::regclass AS partition, c.relname
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'outbox'::regclass AND c.relname ~ '^outbox_\d{4}_\d\d_\d\d$'
            AND to_date(c.relname, '"outbox_"YYYY_MM_DD') + 1 <= ((now() - keep) AT TIME ZONE 'UTC')::date
            AND c.oid IS DISTINCT FROM newest
        ORDER BY c.relname
    LOOP
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', candidate.partition);
        EXECUTE format($sql$
            INSERT INTO outbox_trim (partition, events, xid_min, xid_max, first_id, last_id, oldest, newest)
            SELECT %L, count(*), min(xid), max(xid), min(id), max(id), min(created_at), max(created_at)
            FROM %s HAVING count(*) > 0
        $sql$, candidate.relname, candidate.partition);
        DELETE FROM outbox_dedup WHERE created_at < now() - keep;
        EXECUTE format('DROP TABLE %s', candidate.partition);
        RETURN candidate.relname;
    END LOOP;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

-- The lock under which a history begins is one that only the owner can take: a
-- stranger's would have kept every node from starting.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION outbox_settle() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    cluster bigint := (SELECT system_identifier FROM pg_control_system());
    present record;
BEGIN
    FOR attempt IN 1..2 LOOP
        SELECT history, system_identifier INTO present FROM outbox_histories ORDER BY nth DESC LIMIT 1;
        IF present.system_identifier = cluster THEN
            RETURN present.history;
        END IF;
        -- Once more under the lock: another node may be at it.
        LOCK TABLE outbox_histories IN SHARE ROW EXCLUSIVE MODE;
    END LOOP;
    UPDATE outbox SET xid = '3' WHERE xid <> '3';
    -- Sequences are dumped one after the other: an answer to a ticket that is
    -- still to be drawn would keep the bell silent.
    IF pg_sequence_last_value('outbox_bell_answered') > coalesce(pg_sequence_last_value('outbox_bell_asked'), 0) THEN
        PERFORM setval('outbox_bell_asked', pg_sequence_last_value('outbox_bell_answered'));
    END IF;
    INSERT INTO outbox_histories (history, nth, system_identifier)
    SELECT 1 + floor(random() * 4294967295)::bigint, 1 + coalesce(max(nth), 0), cluster FROM outbox_histories
    RETURNING history, system_identifier INTO present;
    RETURN present.history;
END
$$;
-- +goose StatementEnd

-- +goose Down
-- The functions replaced here are dropped by the migrations that made them,
-- which come down with this one. The roles stay, they are the cluster's; what
-- they were granted goes with the objects, and on the schema here.
-- +goose StatementBegin
DO $do$
DECLARE
    grantee name;
BEGIN
    FOR grantee IN SELECT rolname FROM pg_roles WHERE rolname IN ('outbox_writer', 'outbox_reader', 'outbox_server') LOOP
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', current_schema(), grantee);
    END LOOP;
END
$do$;
-- +goose StatementEnd
DROP FUNCTION outbox_seal(regclass);
DROP FUNCTION outbox_move(bigint[]);
ALTER TABLE outbox_scheduled DROP COLUMN held_until, DROP COLUMN problem;
ALTER TABLE outbox_scheduled DROP CONSTRAINT outbox_deliver_at;
DROP TABLE outbox_turn;
