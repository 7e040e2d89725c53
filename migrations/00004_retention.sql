-- Days come and go: partitions are made ahead and dropped when past, and what
-- was dropped is on record, so that a reader who comes too late can be told.

-- +goose Up

CREATE TABLE outbox_trim (
    trim       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    partition  text        NOT NULL,
    events     bigint      NOT NULL,
    -- The smallest and largest xid among the events removed: a reader who had
    -- everything up to xid_max, and none of them in flight, lost nothing.
    xid_min    xid8        NOT NULL,
    xid_max    xid8        NOT NULL,
    first_id   bigint      NOT NULL,
    last_id    bigint      NOT NULL,
    oldest     timestamptz NOT NULL,
    newest     timestamptz NOT NULL,
    trimmed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- outbox_partitions_ahead makes the missing partitions of today and of this
-- many days after it (UTC), and returns how many it made. A table is made on
-- its own and then attached, because ATTACH, unlike PARTITION OF, does not lock
-- out the writers; it asks for a short lock on the DEFAULT partition, under the
-- caller's lock_timeout. A day whose rows already lie in the DEFAULT partition
-- stays there.
-- +goose StatementBegin
CREATE FUNCTION outbox_partitions_ahead(days int DEFAULT 3) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    day       date;
    today     date := (now() AT TIME ZONE 'UTC')::date;
    partition text;
    made      int := 0;
BEGIN
    FOR day IN SELECT today + n FROM generate_series(0, days) AS n LOOP
        partition := to_char(day, '"outbox_"YYYY_MM_DD');
        CONTINUE WHEN to_regclass(quote_ident(partition)) IS NOT NULL;
        BEGIN
            EXECUTE format('CREATE TABLE %I (LIKE outbox INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition);
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

-- outbox_retain drops the oldest daily partition whose every event is older
-- than keep, records it in outbox_trim, and returns its name, or NULL when
-- there is none. The partition that holds the newest transaction stays, however
-- old: a quiet system's readers stand on it. DROP locks the table: call it
-- under a short lock_timeout, again until it returns NULL.
-- +goose StatementBegin
CREATE FUNCTION outbox_retain(keep interval) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    candidate record;
    newest    regclass := (SELECT tableoid FROM outbox ORDER BY xid DESC LIMIT 1);
BEGIN
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

SELECT outbox_partitions_ahead();

-- +goose Down
DROP FUNCTION outbox_retain(interval);
DROP FUNCTION outbox_partitions_ahead(int);
DROP TABLE outbox_trim;
