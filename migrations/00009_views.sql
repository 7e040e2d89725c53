-- What admins read: views whose names, columns and meanings stay.
--
-- Each answers within 100 ms on ten million events, for the uses that docs/sql.md
-- gives. None of it is paid for by writers.

-- +goose Up

-- outbox_jsonb gives what jsonb can hold of a payload. json takes more: \u0000,
-- half a surrogate pair, numbers without bounds. Such a payload comes as its text,
-- a string, so that one event spoils no query over others.
-- +goose StatementBegin
CREATE FUNCTION outbox_jsonb(payload json) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path FROM CURRENT AS $$
BEGIN
    RETURN payload::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN to_jsonb(payload::text);
END
$$;
-- +goose StatementEnd

CREATE VIEW outbox_history AS
SELECT o.id, o.created_at, o.topic, o.type, outbox_jsonb(o.payload) AS payload, o.source, o.headers, o.dedup_key, o.xid,
    t.code, t.title, t.description, t.severity, t.action
FROM outbox AS o LEFT JOIN outbox_event_type AS t ON t.type = o.type;

COMMENT ON VIEW outbox_history IS
'All events that are held, one a row, with what the catalogue says of their type (NULL where it says nothing). To page, newest first: WHERE id < the last one seen ORDER BY id DESC LIMIT 50, with topic, type or a time beside it.';
COMMENT ON COLUMN outbox_history.payload IS
'The payload as jsonb; as a string of its text where jsonb can''t hold it. outbox.payload has it byte for byte.';
COMMENT ON COLUMN outbox_history.id IS 'Drawn when the event was appended: within a transaction in the order of its appends, across transactions not in the order of commits.';
COMMENT ON COLUMN outbox_history.xid IS 'The transaction that appended the event: those with the same one were committed together.';
COMMENT ON COLUMN outbox_history.action IS 'What the client should do, by the catalogue.';

-- How many events there are on each topic. To count ten million rows takes seconds,
-- so they are counted when they come: not by writers, but once a minute by one of
-- the nodes, which reads what is new since the last time. What is new is the
-- difference of two snapshots, as it is for a tail, so that each event is counted
-- once however late it was committed.
--
-- Of each partition the busiest topics are kept, so that no number of topics makes
-- this large; what is on others is summed up under the topic ''.
CREATE TABLE outbox_topic_count (
    partition oid         NOT NULL,
    topic     text        NOT NULL COLLATE "C",
    events    bigint      NOT NULL,
    bytes     bigint      NOT NULL,
    last_id   bigint      NOT NULL,
    last_at   timestamptz NOT NULL,
    PRIMARY KEY (partition, topic)
);

-- What has been counted: everything of transactions up to given_max, but of those
-- that were in flight. NULL before the first time.
CREATE TABLE outbox_counted (
    one          boolean     PRIMARY KEY DEFAULT true CHECK (one),
    given_max    xid8,
    given_except xid8[],
    counted_at   timestamptz
);
INSERT INTO outbox_counted DEFAULT VALUES;

-- The state of each partition when it was last counted as a whole, file 0 if it was
-- not yet. Where events have been deleted since, it is counted anew.
CREATE TABLE outbox_counted_partition (
    partition  oid         PRIMARY KEY,
    file       oid         NOT NULL DEFAULT 0,
    deleted    bigint      NOT NULL DEFAULT 0,
    counted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

INSERT INTO outbox_turn (work) VALUES ('count');

-- outbox_count_topics counts what is new, and one partition as a whole if one waits
-- for that. It returns whether another one does; NULL while another node counts.
-- +goose StatementBegin
CREATE FUNCTION outbox_count_topics(at_most int DEFAULT 1000) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    own    CONSTANT xid8 := pg_current_xact_id();
    before record;
    whole  regclass;
BEGIN
    PERFORM set_config('work_mem', '64MB', true);
    PERFORM FROM outbox_turn WHERE work = 'count' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;

    DELETE FROM outbox_topic_count WHERE partition NOT IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'outbox'::regclass);
    DELETE FROM outbox_counted_partition WHERE partition NOT IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'outbox'::regclass);
    INSERT INTO outbox_counted_partition (partition)
    SELECT inhrelid FROM pg_inherits WHERE inhparent = 'outbox'::regclass ON CONFLICT (partition) DO NOTHING;
    UPDATE outbox_counted_partition AS p
    SET file = c.relfilenode, deleted = pg_stat_get_tuples_deleted(c.oid), counted_at = clock_timestamp()
    FROM pg_class AS c
    WHERE c.oid = p.partition AND p.partition = (
        SELECT q.partition FROM outbox_counted_partition AS q JOIN pg_class AS d ON d.oid = q.partition
        WHERE d.relfilenode <> q.file
            OR pg_stat_get_tuples_deleted(d.oid) <> q.deleted AND q.counted_at < clock_timestamp() - interval '10 minutes'
        ORDER BY q.file <> 0, q.counted_at, q.partition LIMIT 1)
    RETURNING p.partition::regclass INTO whole;

    -- Before the first time nothing is new: the partitions are counted as a whole.
    UPDATE outbox_counted SET given_max = newest.xid, given_except = '{}'
    FROM (SELECT coalesce((SELECT xid FROM outbox WHERE xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY xid DESC LIMIT 1), '0') AS xid) AS newest
    WHERE given_max IS NULL;
    SELECT given_max, given_except INTO before FROM outbox_counted;

    -- One statement, so one snapshot. What this transaction appended itself counts
    -- as in flight.
    EXECUTE format($sql$
        WITH read AS (
            SELECT tableoid AS partition, topic, pg_column_size(payload) AS bytes, id, created_at, xid FROM outbox WHERE xid > $1
            UNION ALL
            SELECT tableoid, topic, pg_column_size(payload), id, created_at, xid FROM outbox WHERE xid = ANY ($2) AND xid <= $1
        ), fresh AS MATERIALIZED (
            SELECT partition, topic, count(*) AS events, sum(bytes) AS bytes, max(id) AS last_id, max(created_at) AS last_at, max(xid) AS xid
            FROM read WHERE xid <> $4 GROUP BY partition, topic
        ), together AS (
            SELECT partition, topic, sum(events) AS events, sum(bytes) AS bytes, max(last_id) AS last_id, max(last_at) AS last_at
            FROM (
                SELECT partition, topic, events, bytes, last_id, last_at FROM fresh WHERE partition <> %1$s
                UNION ALL
                SELECT partition, topic, events, bytes, last_id, last_at FROM outbox_topic_count
                WHERE partition IN (SELECT partition FROM fresh) AND partition <> %1$s
                UNION ALL
                SELECT %1$s::oid, topic, count(*), sum(pg_column_size(payload)), max(id), max(created_at)
                FROM %2$s AS w WHERE xid <> $4 GROUP BY topic
            ) AS counts
            GROUP BY partition, topic
        ), ranked AS (
            SELECT partition, topic, events, bytes, last_id, last_at, topic <> ''
                AND row_number() OVER (PARTITION BY partition, topic = '' ORDER BY events DESC, last_id DESC) <= $3 AS kept
            FROM together
        ), present AS MATERIALIZED (
            SELECT partition, CASE WHEN kept THEN topic ELSE '' END AS topic,
                sum(events) AS events, sum(bytes) AS bytes, max(last_id) AS last_id, max(last_at) AS last_at
            FROM ranked GROUP BY 1, 2
        ), gone AS (
            DELETE FROM outbox_topic_count AS c
            WHERE (c.partition IN (SELECT partition FROM fresh) OR c.partition = %1$s)
                AND NOT EXISTS (SELECT FROM present AS p WHERE p.partition = c.partition AND p.topic = c.topic)
        ), kept AS (
            INSERT INTO outbox_topic_count AS c (partition, topic, events, bytes, last_id, last_at)
            SELECT partition, topic, events, bytes, last_id, last_at FROM present
            ON CONFLICT (partition, topic) DO UPDATE
            SET events = excluded.events, bytes = excluded.bytes, last_id = excluded.last_id, last_at = excluded.last_at
            WHERE (c.events, c.last_id) IS DISTINCT FROM (excluded.events, excluded.last_id)
        ), newest AS (
            SELECT greatest(max(xid), $1) AS xid FROM fresh
        )
        UPDATE outbox_counted SET counted_at = clock_timestamp(), given_max = newest.xid, given_except = ARRAY(
            SELECT x FROM (SELECT pg_snapshot_xip(pg_current_snapshot()) AS x UNION SELECT $4) AS flying
            WHERE x < newest.xid ORDER BY x)
        FROM newest
    $sql$, coalesce(whole::oid, 0), coalesce(whole::text, '(SELECT topic, payload, id, created_at, xid FROM outbox WHERE false)'))
    USING before.given_max, before.given_except, at_most, own;
    RETURN EXISTS (SELECT FROM outbox_counted_partition WHERE file = 0);
END
$$;
-- +goose StatementEnd

CREATE VIEW outbox_topic_stats AS
SELECT nullif(c.topic, '') AS topic, sum(c.events)::bigint AS events, sum(c.bytes)::bigint AS bytes,
    max(c.last_id) AS last_id, max(c.last_at) AS last_at, (SELECT counted_at FROM outbox_counted) AS counted_at
FROM outbox_topic_count AS c JOIN pg_inherits AS i ON i.inhrelid = c.partition AND i.inhparent = 'outbox'::regclass
GROUP BY c.topic;

COMMENT ON VIEW outbox_topic_stats IS
'How many events each topic holds, as of counted_at: within a minute while a node runs. Exact for outboxes of up to 1,000 topics a day; beyond that the busiest 1,000 of each day are listed, with what was counted since they were, and the rest is summed up in the row whose topic is NULL. For one topic exactly: SELECT count(*), max(id) FROM outbox WHERE topic = ….';
COMMENT ON COLUMN outbox_topic_stats.bytes IS 'What the payloads take in the table, compressed as they are stored.';
COMMENT ON COLUMN outbox_topic_stats.last_id IS 'The largest id on the topic.';

-- outbox_in_flight lists the open transactions that have written to the outbox:
-- those hold the lock of every INSERT until they end. A DELETE has it too, and so our
-- own work is left out: it holds the table of turns, and has drawn no id, as a
-- delivery has. Prepared ones have a gid and no pid. It acts as the owner, and sees of other roles' sessions what the owner
-- may: without pg_read_all_stats neither since when nor the query.
-- +goose StatementBegin
CREATE FUNCTION outbox_in_flight() RETURNS TABLE (
    pid int, gid text, xid xid, role text, application text, client inet, since timestamptz, state text, query text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
BEGIN ATOMIC
    SELECT w.pid, p.gid, x.transactionid, coalesce(a.usename, p.owner)::text, a.application_name, a.client_addr,
        coalesce(a.xact_start, p.prepared), CASE WHEN p.gid IS NULL THEN a.state ELSE 'prepared' END, a.query
    FROM (
        SELECT l.pid, l.virtualtransaction FROM pg_locks AS l
        WHERE l.locktype = 'relation' AND l.granted
            AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
        GROUP BY l.pid, l.virtualtransaction
        HAVING bool_or(l.mode = 'RowExclusiveLock' AND l.relation IN (
                SELECT 'outbox'::regclass::oid UNION ALL SELECT i.inhrelid FROM pg_inherits AS i WHERE i.inhparent = 'outbox'::regclass))
            AND (bool_or(l.relation = 'outbox_id_seq'::regclass) OR NOT bool_or(l.relation = 'outbox_turn'::regclass))
    ) AS w
    JOIN (
        -- Of a transaction and its open savepoints, the transaction.
        SELECT DISTINCT ON (l.virtualtransaction) l.virtualtransaction, l.transactionid FROM pg_locks AS l
        WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
        ORDER BY l.virtualtransaction, age(l.transactionid) DESC
    ) AS x ON x.virtualtransaction = w.virtualtransaction
    LEFT JOIN pg_stat_activity AS a ON a.pid = w.pid
    LEFT JOIN pg_prepared_xacts AS p ON w.pid IS NULL AND p.transaction = x.transactionid
    WHERE w.pid IS DISTINCT FROM pg_backend_pid();
END;
-- +goose StatementEnd

CREATE VIEW outbox_lag AS
SELECT coalesce(n.lag, interval '0') AS lag, n.nodes, coalesce(s.overdue, interval '0') AS overdue, f.open,
    coalesce(clock_timestamp() - o.since, interval '0') AS open_for,
    o.pid, o.gid, o.role, o.application, o.client, o.state, o.query
FROM (SELECT count(*) AS nodes, max(node.lag) AS lag FROM outbox_node AS node WHERE seen_at > clock_timestamp() - interval '30 seconds') AS n
CROSS JOIN (SELECT greatest(clock_timestamp() - min(deliver_at), interval '0') AS overdue FROM outbox_scheduled) AS s
CROSS JOIN (SELECT count(*) AS open FROM outbox_in_flight()) AS f
LEFT JOIN LATERAL (SELECT * FROM outbox_in_flight() ORDER BY since NULLS LAST, pid LIMIT 1) AS o ON true;

COMMENT ON VIEW outbox_lag IS
'One row: what readers still wait for. All of it is 0 when nothing is owed.';
COMMENT ON COLUMN outbox_lag.lag IS 'For how long the node that is furthest behind has not followed the table.';
COMMENT ON COLUMN outbox_lag.nodes IS 'How many nodes were seen in the last 30 seconds; none when they keep no audit.';
COMMENT ON COLUMN outbox_lag.overdue IS 'How long the oldest scheduled event is past its time.';
COMMENT ON COLUMN outbox_lag.open IS 'How many open transactions have appended: their events come with their commit.';
COMMENT ON COLUMN outbox_lag.open_for IS 'How long the oldest of them has been open; the columns after it say which it is.';
COMMENT ON COLUMN outbox_lag.gid IS 'Of a prepared transaction, which has no pid: COMMIT PREPARED or ROLLBACK PREPARED it.';
COMMENT ON COLUMN outbox_lag.query IS 'What it runs, or ran last. It takes the outbox''s owner pg_read_all_stats to see that of other roles.';

COMMENT ON VIEW outbox_receipts IS
'Which streams of which principals an event was sent to, one a row. Ask by id, or by subject and a time. "Sent" is written to the connection.';
COMMENT ON COLUMN outbox_receipts.subject IS 'Whom the stream''s token is for; empty where none is needed.';
COMMENT ON COLUMN outbox_receipts.sent_after IS 'It was sent between this and sent_before.';

REVOKE EXECUTE ON FUNCTION outbox_jsonb(json), outbox_count_topics(int), outbox_in_flight() FROM PUBLIC;

-- +goose Down
DROP VIEW outbox_lag;
DROP FUNCTION outbox_in_flight();
DROP VIEW outbox_topic_stats;
DROP FUNCTION outbox_count_topics(int);
DELETE FROM outbox_turn WHERE work = 'count';
DROP TABLE outbox_counted_partition;
DROP TABLE outbox_counted;
DROP TABLE outbox_topic_count;
DROP VIEW outbox_history;
DROP FUNCTION outbox_jsonb(json);
