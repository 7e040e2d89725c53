-- Retention: partitions are made ahead and dropped when they are past, and events of single
-- topics can go earlier. Removals are on record, so that a reader who comes too late receives
-- a gap, and one who missed nothing does not.
--
-- Two digests say whether an event that a reader selects, and did not receive, was removed
-- (docs/decisions/0002-removal-digests.md): removal_topic by topic, removal_anchor by
-- transaction, with the hash by which a position names its newest event. After
-- removal_memory() both are folded into one row, of topic '**': a reader who was away for
-- longer receives a gap, whatever it selects.

-- +goose Up
-- +goose StatementBegin

CREATE TABLE outcrier.removal (
    removal    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Removals of one pattern (NULL for all topics) from one partition share a row, whose
    -- number is drawn again each time.
    partition  text        NOT NULL,
    pattern    text,
    events     bigint      NOT NULL,
    -- A reader who had all up to xid_max, with none from xid_min on in flight, lost nothing.
    xid_min    xid8        NOT NULL, xid_max xid8        NOT NULL,
    first_id   bigint      NOT NULL, last_id bigint      NOT NULL,
    oldest     timestamptz NOT NULL, newest  timestamptz NOT NULL,
    removed_at timestamptz NOT NULL
);

CREATE TABLE outcrier.removal_topic (
    topic      text        PRIMARY KEY COLLATE "C",
    removal    bigint      NOT NULL, -- the newest that removed events of the topic
    events     bigint      NOT NULL,
    xid_max    xid8        NOT NULL,
    xids       xid8[]      NOT NULL, -- the newest transactions removed, at most 16,
    ids        bigint[]    NOT NULL, -- and the largest id of each
    below      xid8        NOT NULL, -- the largest transaction removed before those; 0 for none
    removed_at timestamptz NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX removal_topic_xid_max ON outcrier.removal_topic (xid_max);
CREATE INDEX removal_topic_removed_at ON outcrier.removal_topic (removed_at);

-- At most a hundred transactions a row.
CREATE TABLE outcrier.removal_anchor (
    removal    bigint      NOT NULL,
    xid_range  int8range   NOT NULL,
    xids       xid8[]      NOT NULL, hashes int[] NOT NULL,
    removed_at timestamptz NOT NULL,
    PRIMARY KEY (removal, xid_range)
);
CREATE INDEX removal_anchor_xid_range ON outcrier.removal_anchor USING gist (xid_range);
CREATE INDEX removal_anchor_removed_at ON outcrier.removal_anchor (removed_at);

CREATE FUNCTION outcrier.removal_memory() RETURNS interval LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN interval '30 days';

-- minimum_retention is the shortest retention that a server may ask for. The owner sets it by
-- CREATE OR REPLACE FUNCTION.
CREATE FUNCTION outcrier.minimum_retention() RETURNS interval LANGUAGE sql STABLE PARALLEL SAFE RETURN interval '1 minute';

-- check_retention refuses a retention below the minimum (0 and NULL keep everything), and a
-- clock that is not now(), except to the owner: a clock ahead makes every event past. Moments
-- are compared and not intervals, for which a month has 30 days: '3607 days -120 months' is
-- seven days to them, and lies in the future.
CREATE FUNCTION outcrier.check_retention(retention interval, clock timestamptz) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF clock IS DISTINCT FROM now() AND NOT pg_has_role(session_user, (SELECT c.relowner FROM pg_class AS c WHERE c.oid = 'outcrier.event'::regclass), 'MEMBER') THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = 'a clock other than now() is for the owner of outcrier.event only';
    ELSIF retention <> interval '0' AND clock - retention > clock - outcrier.minimum_retention() THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('retention %s is too short: allowed are %s and longer', retention, outcrier.minimum_retention()),
            HINT = 'The owner replaces the function outcrier.minimum_retention() to allow less.';
    END IF;
END
$$;

-- partition_width returns how much time a partition covers: a day for up to 32 days of retention,
-- and beyond as many whole days as keep the partitions below forty. Each costs every read, and
-- locks. 0 and NULL count as ten years.
CREATE FUNCTION outcrier.partition_width(retention interval) RETURNS interval LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN make_interval(days => greatest(1, least(1200,
    ceil(extract(epoch FROM coalesce(nullif(retention, interval '0'), interval '10 years')) / 86400 / 32)))::int);

-- partitions lists the partitions except the default one, oldest first, with the bounds that the
-- catalogue has: widths differ, and names are only names.
CREATE FUNCTION outcrier.partitions() RETURNS TABLE (partition regclass, name text, begins timestamptz, ends timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO' AS $$
    SELECT c.oid::regclass, c.relname::text,
        coalesce(substring(b.bounds, 'FROM [(]''(.+?)''[)]')::timestamptz, '-infinity'),
        coalesce(substring(b.bounds, 'TO [(]''(.+?)''[)]')::timestamptz, 'infinity')
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid, pg_get_expr(c.relpartbound, c.oid) AS b (bounds)
    WHERE i.inhparent = 'outcrier.event'::regclass AND b.bounds <> 'DEFAULT'
    ORDER BY 3
$$;

-- seal takes all rights on a table from everybody but its owner. ALTER DEFAULT PRIVILEGES, which
-- hosted Postgres often sets, would open every new partition.
CREATE FUNCTION outcrier.seal(relation regclass) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE (SELECT format('REVOKE ALL ON TABLE %s FROM PUBLIC%s CASCADE', relation, string_agg(DISTINCT ', ' || a.grantee::regrole, ''))
        FROM pg_class AS c, aclexplode(c.relacl) AS a WHERE c.oid = relation AND a.grantee NOT IN (0, c.relowner));
END
$$;

-- with_lock_retry runs a statement whose lock writers would wait for. It waits for the lock for
-- a moment only, and tries again after a while: every later statement queues after one that waits.
CREATE FUNCTION outcrier.with_lock_retry(statement text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '40ms' AS $$
BEGIN
    FOR attempt IN 1..10 LOOP
        BEGIN
            EXECUTE statement;
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF attempt = 10 THEN RAISE; END IF;
        END;
        PERFORM pg_sleep(0.02 + random() * 0.1);
    END LOOP;
END
$$;

-- record_removal records which rows are about to be removed from a partition, all if doomed is
-- NULL, and returns how many. No reader misses rows of topic ''; but a position may stand on one.
CREATE FUNCTION outcrier.record_removal(partition regclass, doomed tid[], pattern text, clock timestamptz) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    relation CONSTANT text := (SELECT c.relname FROM pg_class AS c WHERE c.oid = partition);
    source   CONSTANT text := format('%s WHERE %s', partition, CASE WHEN doomed IS NULL THEN '$1 IS NULL' ELSE 'ctid = ANY ($1)' END);
    total record; number bigint;
BEGIN
    EXECUTE 'SELECT count(*) AS events, min(xid) AS xid_min, max(xid) AS xid_max, min(id) AS first_id, max(id) AS last_id,
        min(created_at) AS oldest, max(created_at) AS newest FROM ' || source INTO total USING doomed;
    IF total.events = 0 THEN RETURN 0; END IF;
    WITH earlier AS (
        DELETE FROM outcrier.removal AS r WHERE r.partition = relation AND r.pattern IS NOT DISTINCT FROM $3 RETURNING r.*
    )
    INSERT INTO outcrier.removal AS r (partition, pattern, removed_at, events, xid_min, xid_max, first_id, last_id, oldest, newest)
    SELECT relation, $3, clock, total.events + coalesce(sum(e.events), 0), least(total.xid_min, min(e.xid_min)), greatest(total.xid_max, max(e.xid_max)),
        least(total.first_id, min(e.first_id)), greatest(total.last_id, max(e.last_id)), least(total.oldest, min(e.oldest)), greatest(total.newest, max(e.newest))
    FROM earlier AS e RETURNING r.removal INTO number;
    EXECUTE format($sql$
        INSERT INTO outcrier.removal_topic AS t (topic, removal, events, xid_max, xids, ids, below, removed_at)
        SELECT topic, $2, sum(events), max(xid),
            array_agg(xid ORDER BY xid) FILTER (WHERE nth <= 16), array_agg(id ORDER BY xid) FILTER (WHERE nth <= 16),
            coalesce(max(xid) FILTER (WHERE nth > 16), '0'), $3
        FROM (
            SELECT topic, xid, count(*) AS events, max(id) AS id, row_number() OVER (PARTITION BY topic ORDER BY xid DESC) AS nth
            FROM %s AND topic <> '' GROUP BY topic, xid
        ) AS transactions GROUP BY topic ORDER BY topic
        ON CONFLICT (topic) DO UPDATE SET
            removal = excluded.removal, events = t.events + excluded.events,
            xid_max = greatest(t.xid_max, excluded.xid_max), removed_at = excluded.removed_at,
            (xids, ids, below) = (
                SELECT array_agg(xid ORDER BY xid) FILTER (WHERE nth <= 16), array_agg(id ORDER BY xid) FILTER (WHERE nth <= 16),
                    greatest(t.below, excluded.below, max(xid) FILTER (WHERE nth > 16))
                FROM (
                    SELECT xid, max(id) AS id, row_number() OVER (ORDER BY xid DESC) AS nth
                    FROM unnest(t.xids || excluded.xids, t.ids || excluded.ids) AS listed (xid, id) GROUP BY xid
                ) AS merged)
    $sql$, source) USING doomed, number, clock;
    EXECUTE format($sql$
        INSERT INTO outcrier.removal_anchor (removal, xid_range, xids, hashes, removed_at)
        SELECT $2, int8range(min(xid)::text::bigint, max(xid)::text::bigint, '[]'), array_agg(xid ORDER BY xid), array_agg(hash ORDER BY xid), $3
        FROM (
            SELECT xid, outcrier.anchor(xid, id, created_at) AS hash, (row_number() OVER (ORDER BY xid) - 1) / 100 AS part
            FROM (SELECT DISTINCT ON (xid) xid, id, created_at FROM %s ORDER BY xid, id DESC) AS newest
        ) AS anchors GROUP BY part
    $sql$, source) USING doomed, number, clock;
    RETURN total.events;
END
$$;

-- add_partition makes one missing partition, for today or the three days after it (UTC), or for
-- past rows that lie in the default partition. It returns the partition's name, or NULL when
-- none is missing or another session is at work: call it until it does. A partition only fills
-- the gap between its neighbours, so another retention, and so another width, changes nothing
-- about those that exist. Rows that the default partition receives today stay until tomorrow.
--
-- Rows keep their xid when they move: for a reader nothing has happened. ATTACH, unlike PARTITION
-- OF, locks the default partition alone. But a statement that was planned before it doesn't know
-- the new partition: it could miss a row there, and yet see one of a later transaction elsewhere.
-- So where the partition has rows, or soon will, ATTACH waits until no transaction reads the table.
CREATE FUNCTION outcrier.add_partition(retention interval DEFAULT '7 days', clock timestamptz DEFAULT now()) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET enable_seqscan = on AS $$
DECLARE
    schema CONSTANT text := (SELECT c.relnamespace::regnamespace::text FROM pg_class AS c WHERE c.oid = 'outcrier.event'::regclass);
    today  CONSTANT timestamptz := date_trunc('day'::text, clock);
    wanted timestamptz; gap record; name text; made text; moved bigint;
BEGIN
    PERFORM outcrier.check_retention(NULL::interval, clock);
    IF NOT outcrier.claim('partitions'::text) THEN RETURN NULL; END IF;
    FOR wanted IN
        SELECT today + n * interval '1 day' FROM unnest(ARRAY[1, 2, 3, 0]) AS n -- today's needs the stronger lock
        UNION ALL (
            SELECT min(o.created_at) FROM outcrier.event_default AS o
            WHERE o.created_at >= greatest('1970-01-01 00:00+00', clock - nullif(retention, interval '0')) AND o.created_at < today
            GROUP BY date_trunc('day'::text, o.created_at) ORDER BY 1)
    LOOP
        SELECT bool_or(p.begins <= wanted AND p.ends > wanted) AS filled,
            greatest(date_trunc('day'::text, wanted), max(p.ends) FILTER (WHERE p.ends <= wanted)) AS begins,
            least(date_trunc('day'::text, wanted) + outcrier.partition_width(retention), min(p.begins) FILTER (WHERE p.begins > wanted),
                CASE WHEN wanted < today THEN today END) AS ends
        INTO gap FROM outcrier.partitions() AS p;
        CONTINUE WHEN gap.filled OR wanted = today AND EXISTS (
            SELECT FROM outcrier.event_default AS o WHERE o.created_at >= gap.begins AND o.created_at < gap.ends);
        name := to_char(gap.begins, '"event_"YYYY_MM_DD');
        WHILE to_regclass(schema || '.' || name) IS NOT NULL LOOP name := name || '_'; END LOOP; -- a table that somebody detached
        made := schema || '.' || name;
        BEGIN
            -- Rows go by pattern within the day: a vacuum comes for a twentieth.
            EXECUTE format('CREATE TABLE %s (LIKE outcrier.event INCLUDING ALL, CONSTRAINT event_bounds CHECK (created_at >= %L AND created_at < %L))
                WITH (autovacuum_vacuum_scale_factor = 0.05)', made, gap.begins, gap.ends);
            PERFORM outcrier.seal(made::regclass);
            EXECUTE format($sql$
                WITH moved AS (DELETE FROM outcrier.event_default AS d WHERE d.created_at >= $1 AND d.created_at < $2 RETURNING d.*)
                INSERT INTO %s SELECT m.* FROM moved AS m
            $sql$, made) USING gap.begins, gap.ends;
            GET DIAGNOSTICS moved = ROW_COUNT;
            IF moved > 0 THEN EXECUTE format('ANALYZE %s', made); END IF;
            IF moved > 0 OR gap.begins <= clock_timestamp() THEN
                PERFORM outcrier.with_lock_retry('LOCK TABLE ONLY outcrier.event IN ACCESS EXCLUSIVE MODE'::text);
            END IF;
            PERFORM outcrier.with_lock_retry(format('ALTER TABLE outcrier.event ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)', made, gap.begins, gap.ends));
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT event_bounds', made);
            RETURN name;
        EXCEPTION WHEN check_violation THEN
            NULL; -- such rows came to the default partition meanwhile
        END;
    END LOOP;
    RETURN NULL;
END
$$;

-- drop_partition drops the oldest partition whose every event is older than retention, or removes
-- some such rows of the default partition or of one that is wider than retention asks for. It
-- returns the partition's name, or NULL when there is nothing, or another session is at work. The
-- newest event of the newest transaction stays, and its partition: readers of a quiet system
-- stand on it.
CREATE FUNCTION outcrier.drop_partition(retention interval, clock timestamptz DEFAULT now()) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = on AS $$
DECLARE
    past CONSTANT timestamptz := clock - nullif(retention, interval '0');
    old record; newest record; doomed tid[];
BEGIN
    PERFORM outcrier.check_retention(retention, clock);
    IF past IS NULL OR NOT outcrier.claim('partitions'::text) THEN RETURN NULL; END IF;
    SELECT o.tableoid AS partition, o.id INTO newest FROM outcrier.event AS o ORDER BY o.xid DESC, o.id DESC LIMIT 1;
    FOR old IN
        SELECT 'outcrier.event_default'::regclass AS partition, 'event_default' AS name, false AS whole, '-infinity'::timestamptz AS begins,
            9223372036854775807 AS id_end
        UNION ALL
        SELECT p.partition, p.name, p.ends <= past, p.begins, CASE WHEN p.ends > past THEN outcrier.id_at(past) END FROM outcrier.partitions() AS p
        WHERE CASE WHEN p.ends <= past THEN p.partition IS DISTINCT FROM newest.partition
            ELSE p.begins < past AND p.ends - p.begins > outcrier.partition_width(retention) END
        ORDER BY whole, begins
    LOOP
        IF NOT old.whole THEN
            EXECUTE format('SELECT ARRAY(SELECT ctid FROM %s WHERE created_at < $1 AND id <> $2 AND id < $3 LIMIT 5000)', old.partition)
                INTO doomed USING past, newest.id, old.id_end;
            CONTINUE WHEN doomed = '{}'::tid[];
            PERFORM outcrier.record_removal(old.partition, doomed, NULL::text, clock);
            EXECUTE format('DELETE FROM %s WHERE ctid = ANY ($1)', old.partition) USING doomed;
            RETURN old.name;
        END IF;
        -- First whether it can be dropped, and nothing stays locked: while a reader stays for
        -- hours, the partition would be read in vain each time.
        BEGIN
            PERFORM outcrier.with_lock_retry(format('LOCK TABLE ONLY outcrier.event, ONLY %s IN ACCESS EXCLUSIVE MODE', old.partition));
            RAISE EXCEPTION USING ERRCODE = 'OUTCR';
        EXCEPTION WHEN SQLSTATE 'OUTCR' THEN NULL;
        END;
        -- No transaction writes into a past partition: it is read before anything else is locked.
        PERFORM outcrier.with_lock_retry(format('LOCK TABLE %s IN SHARE MODE', old.partition));
        PERFORM outcrier.record_removal(old.partition, NULL::tid[], NULL::text, clock);
        PERFORM outcrier.with_lock_retry(format('DROP TABLE %s', old.partition));
        RETURN old.name;
    END LOOP;
    RETURN NULL;
END
$$;

-- delete_expired removes events of a pattern's topics that are older than retention, at most so
-- many, and returns how many: call it until that is less. It locks the rows alone. In each
-- partition it goes from topic to topic by the index, and in a topic through the expired events and no
-- further. The newest event of the newest transaction stays.
CREATE FUNCTION outcrier.delete_expired(pattern text, retention interval, at_most int DEFAULT 5000, clock timestamptz DEFAULT now()) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    past   CONSTANT timestamptz := clock - retention;
    -- Matching topics lie from the stem on, below what follows "/" in byte order.
    stem   CONSTANT text := CASE WHEN strpos(pattern, '*') = 0 THEN pattern ELSE rtrim(split_part(pattern, '*', 1), '/') END;
    newest CONSTANT bigint := (SELECT o.id FROM outcrier.event AS o ORDER BY o.xid DESC, o.id DESC LIMIT 1);
    recent bigint; part record; doomed tid[]; removed int := 0;
BEGIN
    PERFORM outcrier.check_retention(retention, clock);
    IF (octet_length(pattern) <= 255 AND retention <> interval '0' AND at_most > 0
        AND pattern ~ '^[^\u0001-\u001f\u007f-\u009f*/]+(/([^\u0001-\u001f\u007f-\u009f*/]+|[*]))*(/[*][*])?$') IS NOT TRUE THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('delete_expired(%L, %L, %s) is not valid', left(pattern, 300), retention, at_most),
            HINT = 'Allowed are a topic, with "*" for a segment but the first or "**" for the last ones; a retention other than 0; and an at_most of 1 and more.';
    END IF;
    IF NOT outcrier.claim('partitions'::text) THEN RETURN 0; END IF;
    -- About the first id that stays. Older events with larger ids go when it has passed them.
    recent := outcrier.id_at(past);
    FOR part IN
        SELECT p.partition AS name, CASE WHEN p.ends <= past THEN 9223372036854775807 ELSE recent END AS id_end
        FROM outcrier.partitions() AS p WHERE p.begins < past
        UNION ALL SELECT 'outcrier.event_default'::regclass, recent
    LOOP
        EXECUTE format($sql$
            SELECT ARRAY(
                WITH RECURSIVE topics (name) AS (
                    (SELECT topic FROM %s WHERE topic >= $1 AND topic < $2 ORDER BY topic LIMIT 1)
                    UNION ALL
                    SELECT (SELECT topic FROM %1$s WHERE topic > topics.name AND topic < $2 ORDER BY topic LIMIT 1)
                    FROM topics WHERE topics.name IS NOT NULL
                )
                SELECT e.ctid FROM topics CROSS JOIN LATERAL (
                    SELECT ctid FROM %1$s WHERE topic = topics.name AND id < $4 AND created_at < $5 AND id <> $6 LIMIT $7
                ) AS e
                WHERE outcrier.matches(topics.name::text, $3) LIMIT $7)
        $sql$, part.name)
        INTO doomed USING stem, stem || '0', pattern, part.id_end, past, newest, at_most - removed;
        IF doomed <> '{}'::tid[] THEN
            PERFORM outcrier.record_removal(part.name, doomed, pattern, clock);
            EXECUTE format('DELETE FROM %s WHERE ctid = ANY ($1)', part.name) USING doomed;
            removed := removed + cardinality(doomed);
            EXIT WHEN removed >= at_most;
        END IF;
    END LOOP;
    RETURN removed;
END
$$;

-- purge_records removes the records of events that are gone: dedup keys, and removals older
-- than removal_memory(); the audit has purge_audit. It removes some thousands: call it until it
-- returns 0.
CREATE FUNCTION outcrier.purge_records(retention interval, clock timestamptz DEFAULT now()) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at_most   CONSTANT int := 5000;
    forgotten CONSTANT timestamptz := clock - outcrier.removal_memory();
    newest    CONSTANT xid8 := (SELECT o.xid FROM outcrier.event AS o ORDER BY o.xid DESC LIMIT 1);
    past      CONSTANT timestamptz := clock - nullif(retention, interval '0');
    -- Older events lie in the default partition alone.
    held_from CONSTANT timestamptz := least(past, (SELECT min(p.begins) FROM outcrier.partitions() AS p));
    purged bigint;
BEGIN
    PERFORM outcrier.check_retention(retention, clock);
    IF NOT outcrier.claim('partitions'::text) THEN RETURN 0; END IF;
    -- The time is compared again, for a key that an append takes over at this moment.
    DELETE FROM outcrier.dedup WHERE created_at < held_from AND key = ANY (ARRAY(
        SELECT d.key FROM outcrier.dedup AS d
        WHERE d.created_at < held_from AND NOT EXISTS (SELECT FROM outcrier.scheduled AS s WHERE s.id = d.id)
            AND NOT EXISTS (SELECT FROM outcrier.event_default AS o WHERE o.id = d.id AND o.created_at = d.created_at)
        ORDER BY d.created_at LIMIT at_most));
    GET DIAGNOSTICS purged = ROW_COUNT;
    -- Never beyond the newest transaction: a quiet system stands there. The folded row has
    -- the newest removal that is forgotten: a reader who came since needs none of it.
    WITH topics AS (
        DELETE FROM outcrier.removal_topic WHERE topic = ANY (ARRAY(
            SELECT t.topic FROM outcrier.removal_topic AS t WHERE t.removed_at < forgotten AND t.topic <> '**' AND t.xid_max < newest LIMIT at_most))
        RETURNING events, xid_max, removal
    ), anchors AS (
        DELETE FROM outcrier.removal_anchor WHERE ctid = ANY (ARRAY(
            SELECT a.ctid FROM outcrier.removal_anchor AS a WHERE a.removed_at < forgotten AND upper(a.xid_range) <= newest::text::bigint LIMIT at_most))
        RETURNING (upper(xid_range) - 1)::text::xid8 AS xid_max, removal
    ), folded AS (
        SELECT sum(g.events) AS events, max(g.xid_max) AS xid_max, max(g.removal) AS removal, count(*) AS n
        FROM (SELECT events, xid_max, removal FROM topics UNION ALL SELECT 0, xid_max, removal FROM anchors) AS g
    ), floor AS (
        INSERT INTO outcrier.removal_topic AS t (topic, removal, events, xid_max, xids, ids, below, removed_at)
        SELECT '**', f.removal, f.events, f.xid_max, '{}', '{}', f.xid_max, clock FROM folded AS f WHERE f.n > 0
        ON CONFLICT (topic) DO UPDATE SET removal = greatest(t.removal, excluded.removal), events = t.events + excluded.events,
            xid_max = greatest(t.xid_max, excluded.xid_max), below = greatest(t.below, excluded.below), removed_at = excluded.removed_at
    )
    SELECT purged + f.n INTO purged FROM folded AS f;
    RETURN purged;
END
$$;

-- maintain does what nodes do by themselves, for pg_cron and psql:
--     CALL outcrier.maintain('7 days', '{"presence/**": "1 hour"}');
-- Each step is a transaction of its own, so it can't be called within one, nor have a
-- search_path: everything in it is qualified.
CREATE PROCEDURE outcrier.maintain(retention interval DEFAULT '7 days', topic_retention jsonb DEFAULT '{}', audit_retention interval DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
    rule record; done boolean := false;
BEGIN
    WHILE NOT done LOOP
        BEGIN
            done := coalesce(outcrier.add_partition(retention), outcrier.drop_partition(retention)) IS NULL;
        EXCEPTION WHEN lock_not_available THEN
            done := true; -- the next time
        END;
        COMMIT;
    END LOOP;
    FOR rule IN SELECT r.key, r.value::pg_catalog.interval AS retention FROM pg_catalog.jsonb_each_text(topic_retention) AS r LOOP
        WHILE outcrier.delete_expired(rule.key, rule.retention) OPERATOR(pg_catalog.>) 0 LOOP COMMIT; END LOOP;
    END LOOP;
    WHILE outcrier.purge_records(retention) OPERATOR(pg_catalog.>) 0 LOOP COMMIT; END LOOP;
    WHILE outcrier.link_audit_days() OPERATOR(pg_catalog.>) 0 LOOP COMMIT; END LOOP;
    WHILE outcrier.purge_audit(audit_retention) OPERATOR(pg_catalog.>) 0 LOOP COMMIT; END LOOP;
END
$$;

DO $$ BEGIN WHILE outcrier.add_partition() IS NOT NULL LOOP END LOOP; END $$;

-- The first history, so that a position from before the first node can be resumed from.
SELECT outcrier.begin_history();
-- +goose StatementEnd
