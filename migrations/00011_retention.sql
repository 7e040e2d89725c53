-- Retention again: by pattern too, and told to those alone who missed something.
--
-- What a reader must be told is whether an event that they ask for, and were not
-- given, has been removed. The removed rows themselves would answer that, and
-- would be as large as the outbox. Two digests of them do:
--
-- outbox_trim_topic has a row for each topic: the newest transactions removed, one
-- by one, and of those before only the largest. A position is a set of
-- transactions up to M, less a few that were in flight: whatever is beyond M shows
-- in the largest. What was in flight is looked up one by one.
--
-- outbox_trim_anchor has four bytes of each transaction removed. A position names
-- the newest event of its largest transaction by such a hash, and one whose event
-- is gone is believed only if that event is known to have been removed: else it may
-- be of commits that a failover lost, whose xids others have now, and to go on from
-- it would pass over their events. It also tells which of those in flight had
-- events at all.
--
-- Both are kept for outbox_memory() after the removal. Then they are folded into
-- one row, of topic "**": who was away for longer is told of a gap, whatever they
-- ask for.

-- +goose Up

-- Which topics were removed by a rule of their own; NULL for all. The removals of
-- one pattern from one partition are one entry, with a number that is drawn anew.
ALTER TABLE outbox_trim ADD COLUMN pattern text;

CREATE TABLE outbox_trim_topic (
    topic      text        PRIMARY KEY COLLATE "C",
    -- The newest entry of outbox_trim that removed events of the topic.
    trim       bigint      NOT NULL,
    events     bigint      NOT NULL,
    xid_max    xid8        NOT NULL,
    -- The newest transactions removed, 16 at most, and of each the largest id.
    xids       xid8[]      NOT NULL,
    ids        bigint[]    NOT NULL,
    -- The largest transaction removed that is not among them; 0 for none.
    below      xid8        NOT NULL,
    trimmed_at timestamptz NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX outbox_trim_topic_xid_max ON outbox_trim_topic (xid_max);
CREATE INDEX outbox_trim_topic_trimmed_at ON outbox_trim_topic (trimmed_at);

-- Up to a hundred transactions a row.
CREATE TABLE outbox_trim_anchor (
    span       int8range   NOT NULL,
    xids       xid8[]      NOT NULL,
    hashes     int[]       NOT NULL,
    trim       bigint      NOT NULL,
    trimmed_at timestamptz NOT NULL
);
CREATE INDEX outbox_trim_anchor_span ON outbox_trim_anchor USING gist (span);
CREATE INDEX outbox_trim_anchor_trimmed_at ON outbox_trim_anchor (trimmed_at);

-- Of what was removed before, there is nothing but the outline.
INSERT INTO outbox_trim_topic (topic, trim, events, xid_max, xids, ids, below, trimmed_at)
SELECT '**', max(trim), sum(events), max(xid_max), '{}', '{}', max(xid_max), max(trimmed_at)
FROM outbox_trim HAVING count(*) > 0;

CREATE FUNCTION outbox_memory() RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN interval '30 days';

-- outbox_anchor is an event's hash, as outbox_position and outbox.Anchor have it.
CREATE FUNCTION outbox_anchor(xid xid8, id bigint, created_at timestamptz) RETURNS int
LANGUAGE sql STABLE PARALLEL SAFE
RETURN ('x' || encode(substr(sha256(convert_to(format('%s:%s:%s', xid, id,
    CASE WHEN isfinite(created_at) THEN (extract(epoch FROM created_at) * 1000000)::bigint END), 'UTF8')), 1, 4), 'hex'))::bit(32)::int;

-- A new history has transactions of its own; positions of the old one are told so.
-- +goose StatementBegin
CREATE FUNCTION outbox_forget_history() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM outbox_trim_topic;
    DELETE FROM outbox_trim_anchor;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER outbox_forget AFTER INSERT ON outbox_histories
FOR EACH STATEMENT EXECUTE FUNCTION outbox_forget_history();

-- outbox_note puts on record what is about to be removed from a partition: the rows
-- named, or all; and returns how many.
-- +goose StatementBegin
CREATE FUNCTION outbox_note(leaf regclass, doomed tid[], pattern text, clock timestamptz) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    leaf_name CONSTANT text := (SELECT relname FROM pg_class WHERE oid = leaf);
    source    CONSTANT text := format('%s AS o WHERE %s', leaf, CASE WHEN doomed IS NULL THEN '$1 IS NULL' ELSE 'ctid = ANY ($1)' END);
    total     record;
    number    bigint;
BEGIN
    EXECUTE 'SELECT count(*) AS events, min(xid) AS xid_min, max(xid) AS xid_max, min(id) AS first_id, max(id) AS last_id,
        min(created_at) AS oldest, max(created_at) AS newest FROM ' || source INTO total USING doomed;
    IF total.events = 0 THEN
        RETURN 0;
    END IF;

    WITH before AS (
        DELETE FROM outbox_trim AS t WHERE t.partition = leaf_name AND t.pattern = $3 RETURNING t.*
    )
    INSERT INTO outbox_trim AS t (partition, pattern, trimmed_at, events, xid_min, xid_max, first_id, last_id, oldest, newest)
    SELECT leaf_name, $3, clock, total.events + coalesce(sum(b.events), 0),
        least(total.xid_min, min(b.xid_min)), greatest(total.xid_max, max(b.xid_max)),
        least(total.first_id, min(b.first_id)), greatest(total.last_id, max(b.last_id)),
        least(total.oldest, min(b.oldest)), greatest(total.newest, max(b.newest))
    FROM before AS b
    RETURNING t.trim INTO number;

    EXECUTE format($sql$
        INSERT INTO outbox_trim_topic AS t (topic, trim, events, xid_max, xids, ids, below, trimmed_at)
        SELECT topic, $2, sum(events), max(xid),
            array_agg(xid ORDER BY xid) FILTER (WHERE nth <= 16), array_agg(id ORDER BY xid) FILTER (WHERE nth <= 16),
            coalesce(max(xid) FILTER (WHERE nth > 16), '0'), $3
        FROM (
            SELECT topic, xid, count(*) AS events, max(id) AS id, row_number() OVER (PARTITION BY topic ORDER BY xid DESC) AS nth
            FROM %s GROUP BY topic, xid
        ) AS transactions
        GROUP BY topic
        ORDER BY topic
        ON CONFLICT (topic) DO UPDATE SET
            trim = excluded.trim, events = t.events + excluded.events,
            xid_max = greatest(t.xid_max, excluded.xid_max), trimmed_at = excluded.trimmed_at,
            (xids, ids, below) = (
                SELECT array_agg(xid ORDER BY xid) FILTER (WHERE nth <= 16), array_agg(id ORDER BY xid) FILTER (WHERE nth <= 16),
                    greatest(t.below, excluded.below, max(xid) FILTER (WHERE nth > 16))
                FROM (
                    SELECT xid, max(id) AS id, row_number() OVER (ORDER BY xid DESC) AS nth
                    FROM unnest(t.xids || excluded.xids, t.ids || excluded.ids) AS listed (xid, id) GROUP BY xid
                ) AS merged)
    $sql$, source) USING doomed, number, clock;

    EXECUTE format($sql$
        INSERT INTO outbox_trim_anchor (span, xids, hashes, trim, trimmed_at)
        SELECT int8range(min(xid)::text::bigint, max(xid)::text::bigint, '[]'),
            array_agg(xid ORDER BY xid), array_agg(hash ORDER BY xid), $2, $3
        FROM (
            SELECT xid, outbox_anchor(xid, id, created_at) AS hash, (row_number() OVER (ORDER BY xid) - 1) / 100 AS part
            FROM (SELECT DISTINCT ON (xid) xid, id, created_at FROM %s ORDER BY xid, id DESC) AS newest
        ) AS anchors
        GROUP BY part
    $sql$, source) USING doomed, number, clock;
    RETURN total.events;
END
$$;
-- +goose StatementEnd

-- What locks is tried for a moment, and again after a while: whoever waits for a
-- lock has all who come later wait behind. A lock is had at once, or not as long as
-- a transaction that has it goes on.

-- outbox_patiently runs a statement that needs a lock which writers would wait for.
-- +goose StatementBegin
CREATE FUNCTION outbox_patiently(statement text) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '40ms' SET search_path FROM CURRENT AS $$
BEGIN
    FOR attempt IN 1..10 LOOP
        BEGIN
            EXECUTE statement;
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF attempt = 10 THEN
                RAISE;
            END IF;
        END;
        PERFORM pg_sleep(0.02 + random() * 0.1);
    END LOOP;
END
$$;
-- +goose StatementEnd

-- outbox_day makes the partition of a day, with the rows of that day which the
-- DEFAULT partition holds. They keep their xid: to a reader nothing has moved. All
-- is done on a table of its own; ATTACH then needs the DEFAULT partition alone, for
-- as long as it takes to see that it holds nothing of that day.
--
-- It returns the partition's name, or NULL when rows of that day came to the
-- DEFAULT partition meanwhile.
-- +goose StatementBegin
CREATE FUNCTION outbox_day(day date) RETURNS text
LANGUAGE plpgsql SET enable_seqscan = on SET search_path FROM CURRENT AS $$
DECLARE
    leaf   CONSTANT text := to_char(day, '"outbox_"YYYY_MM_DD');
    begins CONSTANT timestamptz := day::timestamp AT TIME ZONE 'UTC';
    ends   CONSTANT timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
    moved  bigint;
BEGIN
    -- Rows go by pattern in the midst of a day: a vacuum comes for a twentieth.
    EXECUTE format('CREATE TABLE %I (LIKE outbox INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES,
        CONSTRAINT outbox_day CHECK (created_at >= %L AND created_at < %L)) WITH (autovacuum_vacuum_scale_factor = 0.05)', leaf, begins, ends);
    PERFORM outbox_seal(quote_ident(leaf)::regclass);
    EXECUTE format($sql$
        WITH moved AS (DELETE FROM outbox_default WHERE created_at >= %L AND created_at < %L RETURNING *)
        INSERT INTO %I SELECT * FROM moved
    $sql$, begins, ends, leaf);
    GET DIAGNOSTICS moved = ROW_COUNT;
    EXECUTE format('CREATE TRIGGER outbox_ring AFTER INSERT ON %I FOR EACH STATEMENT EXECUTE FUNCTION outbox_ring()', leaf);
    IF moved > 0 THEN
        EXECUTE format('ANALYZE %I', leaf);
    END IF;
    PERFORM outbox_patiently(format('ALTER TABLE outbox ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', leaf, begins, ends));
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT outbox_day', leaf);
    RETURN leaf;
EXCEPTION WHEN check_violation THEN
    RETURN NULL;
END
$$;
-- +goose StatementEnd

-- What follows goes by the time of now. It can be given another, by the owner alone:
-- by a clock that is ahead all would be past.

-- outbox_ahead makes one missing partition of today and of this many days after it
-- (UTC), or of a day of which rows lie in the DEFAULT partition, and returns its
-- name, or NULL when none is missing or another session is at it: call it again
-- until it does. A day whose rows the DEFAULT partition is just being given stays
-- there until it is past.
-- +goose StatementBegin
CREATE FUNCTION outbox_ahead(days int, clock timestamptz) RETURNS text
LANGUAGE plpgsql SET enable_seqscan = on SET search_path FROM CURRENT AS $$
DECLARE
    today CONSTANT date := (clock AT TIME ZONE 'UTC')::date;
    wanted date;
    made   text;
BEGIN
    PERFORM FROM outbox_turn WHERE work = 'partitions' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    FOR wanted IN
        SELECT today + n FROM generate_series(0, days) AS n
        UNION
        SELECT (created_at AT TIME ZONE 'UTC')::date FROM outbox_default
        WHERE created_at >= '1970-01-01+00' AND created_at < today::timestamp AT TIME ZONE 'UTC'
        ORDER BY 1 DESC
    LOOP
        CONTINUE WHEN to_regclass(quote_ident(to_char(wanted, '"outbox_"YYYY_MM_DD'))) IS NOT NULL;
        -- A look before the work, for the day that is being written.
        CONTINUE WHEN wanted = today AND EXISTS (
            SELECT FROM outbox_default WHERE created_at >= today::timestamp AT TIME ZONE 'UTC'
                AND created_at < (today + 1)::timestamp AT TIME ZONE 'UTC');
        made := outbox_day(wanted);
        IF made IS NOT NULL THEN
            RETURN made;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE FUNCTION outbox_ahead(days int DEFAULT 3) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS 'SELECT outbox_ahead(days, now())';

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION outbox_partitions_ahead(days int DEFAULT 3) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    made int := 0;
BEGIN
    WHILE outbox_ahead(days) IS NOT NULL LOOP
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;
-- +goose StatementEnd

-- outbox_drop removes the oldest daily partition whose every event is older than
-- keep, or some rows of the DEFAULT partition that are, and returns the partition's
-- name; NULL when there is nothing, or another session is at it. The partition that
-- holds the newest transaction stays, however old: a quiet system's readers stand on
-- it.
-- +goose StatementBegin
CREATE FUNCTION outbox_drop(keep interval, clock timestamptz) RETURNS text
LANGUAGE plpgsql SET enable_seqscan = on SET search_path FROM CURRENT AS $$
DECLARE
    past      CONSTANT date := ((clock - keep) AT TIME ZONE 'UTC')::date;
    candidate record;
    newest    record;
    doomed    tid[];
BEGIN
    PERFORM FROM outbox_turn WHERE work = 'partitions' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT tableoid AS leaf, xid INTO newest FROM outbox ORDER BY xid DESC LIMIT 1;

    doomed := ARRAY(SELECT ctid FROM outbox_default
        WHERE created_at < past::timestamp AT TIME ZONE 'UTC' AND xid IS DISTINCT FROM newest.xid LIMIT 5000);
    IF doomed <> '{}' THEN
        PERFORM outbox_note('outbox_default', doomed, NULL, clock);
        DELETE FROM outbox_default WHERE ctid = ANY (doomed);
        RETURN 'outbox_default';
    END IF;

    FOR candidate IN
        SELECT c.oid::regclass AS leaf, c.relname
        FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'outbox'::regclass AND c.relname ~ '^outbox_\d{4}_\d\d_\d\d$'
            AND to_date(c.relname, '"outbox_"YYYY_MM_DD') + 1 <= past
            AND c.oid IS DISTINCT FROM newest.leaf
        ORDER BY c.relname
        LIMIT 1
    LOOP
        -- Whether it can be dropped now, and nothing is locked any more: beside a reader
        -- that stays for hours the day would be looked at in vain, again and again.
        BEGIN
            PERFORM outbox_patiently(format('LOCK TABLE ONLY outbox, ONLY %s IN ACCESS EXCLUSIVE MODE', candidate.leaf));
            RAISE EXCEPTION USING ERRCODE = 'OUTBX';
        EXCEPTION WHEN SQLSTATE 'OUTBX' THEN
            NULL;
        END;
        -- Nobody writes into a day that is past. To look at what is removed takes its
        -- time, and so it is done before anything is locked that others need.
        PERFORM outbox_patiently(format('LOCK TABLE %s IN SHARE MODE', candidate.leaf));
        PERFORM outbox_note(candidate.leaf, NULL, NULL, clock);
        PERFORM outbox_patiently(format('DROP TABLE %s', candidate.leaf));
        RETURN candidate.relname;
    END LOOP;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE FUNCTION outbox_drop(keep interval) RETURNS text
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS 'SELECT outbox_drop(keep, now())';

-- outbox_forget lets go of what only made sense beside events that are gone: dedup
-- keys older than keep, records of streams that had ended before the oldest event
-- was appended, or keep ago where there is none, and what is remembered of removals
-- for longer than outbox_memory().
-- Some thousands at a time: it returns how many, so call it again until that is 0.
-- +goose StatementBegin
CREATE FUNCTION outbox_forget(keep interval, clock timestamptz) RETURNS bigint
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    at_most  CONSTANT int := 5000;
    newest   CONSTANT xid8 := (SELECT xid FROM outbox ORDER BY xid DESC LIMIT 1);
    forgotten bigint := 0;
    removed   bigint;
BEGIN
    PERFORM FROM outbox_turn WHERE work = 'partitions' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    DELETE FROM outbox_dedup WHERE dedup_key = ANY (ARRAY(
        SELECT dedup_key FROM outbox_dedup WHERE created_at < clock - keep ORDER BY created_at LIMIT at_most));
    GET DIAGNOSTICS removed = ROW_COUNT;
    forgotten := forgotten + removed;

    -- Ids follow the times by and large.
    DELETE FROM outbox_stream WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM outbox_stream
        WHERE closed_at < coalesce((SELECT created_at FROM outbox ORDER BY id LIMIT 1), clock - keep) - interval '1 minute'
        LIMIT at_most));
    GET DIAGNOSTICS removed = ROW_COUNT;
    forgotten := forgotten + removed;

    -- Never beyond the newest transaction: a quiet system stands there. The entry's
    -- number is the last that is forgotten: whoever was told of that, or has been
    -- there since, needs none of it.
    WITH gone AS (
        DELETE FROM outbox_trim_topic WHERE topic = ANY (ARRAY(
            SELECT topic FROM outbox_trim_topic
            WHERE trimmed_at < clock - outbox_memory() AND topic <> '**' AND xid_max < newest LIMIT at_most))
        RETURNING events, xid_max, trim
    ), anchors AS (
        DELETE FROM outbox_trim_anchor WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM outbox_trim_anchor
            WHERE trimmed_at < clock - outbox_memory() AND upper(span) <= newest::text::bigint LIMIT at_most))
        RETURNING (upper(span) - 1)::text::xid8 AS xid_max, trim
    ), folded AS (
        SELECT sum(events) AS events, max(xid_max) AS xid_max, max(trim) AS trim, count(*) AS n
        FROM (SELECT events, xid_max, trim FROM gone UNION ALL SELECT 0, xid_max, trim FROM anchors) AS g
    ), floor AS (
        INSERT INTO outbox_trim_topic AS t (topic, trim, events, xid_max, xids, ids, below, trimmed_at)
        SELECT '**', folded.trim, events, xid_max, '{}', '{}', xid_max, clock FROM folded WHERE n > 0
        ON CONFLICT (topic) DO UPDATE SET trim = greatest(t.trim, excluded.trim), events = t.events + excluded.events,
            xid_max = greatest(t.xid_max, excluded.xid_max), below = greatest(t.below, excluded.below), trimmed_at = excluded.trimmed_at
    )
    SELECT folded.n INTO removed FROM folded;
    RETURN forgotten + removed;
END
$$;
-- +goose StatementEnd

CREATE FUNCTION outbox_forget(keep interval) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS 'SELECT outbox_forget(keep, now())';

-- outbox_retain is outbox_drop and outbox_forget in one, for those who knew it.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION outbox_retain(keep interval) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    dropped text := outbox_drop(keep);
BEGIN
    IF dropped IS NULL THEN
        PERFORM outbox_forget(keep);
    END IF;
    RETURN dropped;
END
$$;
-- +goose StatementEnd

-- outbox_sweep removes events of a pattern's topics that are older than keep, some
-- thousands at a time: it returns how many, so call it again until that is less than
-- at_most. Nothing is locked but the rows. In each partition it goes from topic to
-- topic by the index, and in a topic through what is past and no further.
--
-- Events of the newest transaction stay until there is a newer one.
-- +goose StatementBegin
CREATE FUNCTION outbox_sweep(pattern text, keep interval, at_most int, clock timestamptz) RETURNS int
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off SET search_path FROM CURRENT AS $$
DECLARE
    past    CONSTANT timestamptz := clock - keep;
    -- The topics lie from the stem on and below what follows "/", in the order of bytes.
    head    CONSTANT text := split_part(pattern, '*', 1);
    stem    CONSTANT text := CASE WHEN strpos(pattern, '*') = 0 THEN pattern ELSE rtrim(head, '/') END;
    newest  CONSTANT xid8 := (SELECT xid FROM outbox ORDER BY xid DESC LIMIT 1);
    leaf    record;
    id_end  bigint;
    lowest  bigint;
    middle  bigint;
    middle_at timestamptz;
    doomed  tid[];
    removed int := 0;
BEGIN
    IF stem = '' OR pattern !~ '^[^\u0001-\u001f\u007f-\u009f/]+(/[^\u0001-\u001f\u007f-\u009f/]+)*$' OR octet_length(pattern) > 255
        OR EXISTS (SELECT FROM regexp_split_to_table(pattern, '/') AS segment WHERE strpos(segment, '*') > 0 AND segment NOT IN ('*', '**'))
        OR strpos(pattern, '**') BETWEEN 1 AND length(pattern) - 2
    THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('pattern %s is not valid: allowed is a topic, with "*" for a segment but the first or "**" for the last ones', to_json(left(pattern, 300)));
    ELSIF keep < interval '1 minute' OR at_most < 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'allowed are a keep of 1 minute and longer, and an at_most of 1 and more';
    END IF;
    PERFORM FROM outbox_turn WHERE work = 'partitions' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    FOR leaf IN
        SELECT c.oid::regclass AS name, to_date(c.relname, '"outbox_"YYYY_MM_DD') + 1 <= (past AT TIME ZONE 'UTC')::date AS all_past
        FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'outbox'::regclass AND c.relname ~ '^outbox_\d{4}_\d\d_\d\d$'
            AND to_date(c.relname, '"outbox_"YYYY_MM_DD') <= (past AT TIME ZONE 'UTC')::date
        UNION ALL
        SELECT 'outbox_default'::regclass, false
    LOOP
        id_end := 9223372036854775807;
        IF NOT leaf.all_past THEN
            -- Where by and large the ids of what is to stay begin. What lies above
            -- and is older comes when this has passed it.
            EXECUTE format('SELECT (SELECT id FROM %s ORDER BY id LIMIT 1), (SELECT id + 1 FROM %1$s ORDER BY id DESC LIMIT 1)', leaf.name)
                INTO lowest, id_end;
            WHILE lowest < id_end LOOP
                middle := lowest + (id_end - lowest) / 2;
                EXECUTE format('SELECT created_at FROM %s WHERE id >= $1 ORDER BY id LIMIT 1', leaf.name) INTO middle_at USING middle;
                IF middle_at < past THEN
                    lowest := middle + 1;
                ELSE
                    id_end := middle;
                END IF;
            END LOOP;
        END IF;
        EXECUTE format($sql$
            SELECT ARRAY(
                WITH RECURSIVE topics (name) AS (
                    (SELECT topic FROM %s WHERE topic >= $1 AND topic < $2 ORDER BY topic LIMIT 1)
                    UNION ALL
                    SELECT (SELECT topic FROM %1$s WHERE topic > topics.name AND topic < $2 ORDER BY topic LIMIT 1)
                    FROM topics WHERE topics.name IS NOT NULL
                )
                SELECT e.ctid FROM topics CROSS JOIN LATERAL (
                    SELECT ctid FROM %1$s WHERE topic = topics.name AND id < $4 AND created_at < $5 AND xid <> $6 LIMIT $7
                ) AS e
                WHERE outbox_matches(topics.name, $3) LIMIT $7)
        $sql$, leaf.name)
        INTO doomed USING stem, stem || '0', pattern, id_end, past, newest, at_most - removed;
        IF doomed <> '{}' THEN
            PERFORM outbox_note(leaf.name, doomed, pattern, clock);
            EXECUTE format('DELETE FROM %s WHERE ctid = ANY ($1)', leaf.name) USING doomed;
            removed := removed + cardinality(doomed);
            EXIT WHEN removed >= at_most;
        END IF;
    END LOOP;
    RETURN removed;
END
$$;
-- +goose StatementEnd

CREATE FUNCTION outbox_sweep(pattern text, keep interval, at_most int DEFAULT 5000) RETURNS int
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS 'SELECT outbox_sweep(pattern, keep, at_most, now())';

REVOKE EXECUTE ON FUNCTION
    outbox_forget_history(),
    outbox_note(regclass, tid[], text, timestamptz),
    outbox_patiently(text),
    outbox_day(date),
    outbox_ahead(int, timestamptz), outbox_ahead(int),
    outbox_drop(interval, timestamptz), outbox_drop(interval),
    outbox_forget(interval, timestamptz), outbox_forget(interval),
    outbox_sweep(text, interval, int, timestamptz), outbox_sweep(text, interval, int)
FROM PUBLIC;

-- outbox_keep does all that there is to do, for pg_cron and psql:
--
--     CALL outbox_keep('7 days', '{"presence/**": "1 hour"}');
--
-- Nodes do the same by themselves. Each step is a transaction of its own, so it
-- can't be called within one, nor have a search_path: it names the schema.
-- +goose StatementBegin
DO $migration$
BEGIN
    EXECUTE format($procedure$
        CREATE PROCEDURE outbox_keep(keep interval, shorter jsonb DEFAULT '{}')
        LANGUAGE plpgsql AS $$
        DECLARE
            rule record;
            busy boolean := true;
        BEGIN
            WHILE busy LOOP
                BEGIN
                    busy := %1$I.outbox_drop(keep) IS NOT NULL;
                EXCEPTION WHEN lock_not_available THEN
                    busy := false; -- the next time
                END;
                COMMIT;
            END LOOP;
            busy := true;
            WHILE busy LOOP
                BEGIN
                    busy := %1$I.outbox_ahead() IS NOT NULL;
                EXCEPTION WHEN lock_not_available THEN
                    busy := false;
                END;
                COMMIT;
            END LOOP;
            FOR rule IN SELECT * FROM pg_catalog.jsonb_each_text(shorter) LOOP
                busy := true;
                WHILE busy LOOP
                    busy := %1$I.outbox_sweep(rule.key, rule.value::pg_catalog.interval) > 0;
                    COMMIT;
                END LOOP;
            END LOOP;
            busy := true;
            WHILE busy LOOP
                busy := %1$I.outbox_forget(keep) > 0;
                COMMIT;
            END LOOP;
        END
        $$
    $procedure$, current_schema());
END
$migration$;
-- +goose StatementEnd
REVOKE EXECUTE ON PROCEDURE outbox_keep(interval, jsonb) FROM PUBLIC;

-- +goose Down
-- outbox_partitions_ahead and outbox_retain go with the migration that made them.
DROP PROCEDURE outbox_keep(interval, jsonb);
DROP FUNCTION outbox_sweep(text, interval, int), outbox_sweep(text, interval, int, timestamptz);
DROP FUNCTION outbox_forget(interval), outbox_forget(interval, timestamptz);
DROP FUNCTION outbox_drop(interval), outbox_drop(interval, timestamptz);
DROP FUNCTION outbox_ahead(int), outbox_ahead(int, timestamptz);
DROP FUNCTION outbox_day(date);
DROP FUNCTION outbox_patiently(text);
DROP FUNCTION outbox_note(regclass, tid[], text, timestamptz);
DROP TRIGGER outbox_forget ON outbox_histories;
DROP FUNCTION outbox_forget_history();
DROP FUNCTION outbox_anchor(xid8, bigint, timestamptz);
DROP FUNCTION outbox_memory();
DROP TABLE outbox_trim_anchor;
DROP TABLE outbox_trim_topic;
ALTER TABLE outbox_trim DROP COLUMN pattern;
