-- What admins read: views whose names, columns and meanings stay. Each answers within 100 ms
-- on ten million events, for the uses that docs/sql.md gives, and none costs writers anything.

-- +goose Up
-- +goose StatementBegin

-- jsonb_or_text returns a string of the text where jsonb can't hold a payload (\u0000, half a
-- surrogate pair, numbers without bounds), so that one event spoils no query over others.
CREATE FUNCTION outcrier.jsonb_or_text(payload json) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN payload::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN to_jsonb(payload::text);
END
$$;

CREATE VIEW outcrier.history AS
SELECT o.id, o.created_at, o.topic, o.type, outcrier.jsonb_or_text(o.payload) AS payload, o.source, o.headers, o.dedup_key, o.xid,
    t.code, t.title, t.description, t.severity, t.action, p.publisher
FROM outcrier.event AS o LEFT JOIN outcrier.event_type AS t ON t.type = o.type LEFT JOIN outcrier.publication AS p ON p.id = o.id
WHERE o.topic <> '';
COMMENT ON VIEW outcrier.history IS 'All events that are held, one a row, with what the catalogue says of their type (NULL where it says nothing). To page, newest first: WHERE id < the last one seen ORDER BY id DESC LIMIT 50, with a condition on topic, type or time. Ids are drawn by the append: in order within a transaction, across transactions not in the order of commits.';
COMMENT ON COLUMN outcrier.history.payload IS 'The payload as jsonb; as a string of its text where jsonb can''t hold it. outcrier.event.payload has it byte for byte.';
COMMENT ON COLUMN outcrier.history.xid IS 'The transaction that appended the event: those with the same one were committed together. 3: loaded or restored.';
COMMENT ON COLUMN outcrier.history.publisher IS 'Whom the token was for that the event was appended with, by HTTP; NULL for those appended by SQL.';

-- The view bounds the work, not only the time: a million events are counted in a second.
CREATE VIEW outcrier.topics AS
SELECT o.topic, count(*) AS events, sum(o.bytes)::bigint AS bytes, max(o.id) AS last_id, max(o.created_at) AS last_at
FROM (
    SELECT e.topic, pg_column_size(e.payload) AS bytes, e.id, e.created_at FROM outcrier.event AS e
    WHERE e.id >= (SELECT outcrier.id_at(now() - interval '61 minutes')) AND e.created_at > now() - interval '1 hour' AND e.topic <> ''
    ORDER BY e.id DESC LIMIT 1000000
) AS o
GROUP BY o.topic;
COMMENT ON VIEW outcrier.topics IS 'How many events came on each topic in the last hour, of the newest million; bytes is the size of their payloads as stored, compressed. For one topic at all times: SELECT count(*), max(id) FROM outcrier.history WHERE topic = ….';

-- An event was sent between sent_after and sent_before: the exact time is not recorded. The second
-- is when the stream was last known to have been sent something.
CREATE VIEW outcrier.receipts AS
SELECT o.id, o.topic, o.type, o.created_at, s.subject, s.client_address, s.node, s.run, s.stream,
    greatest(o.created_at, s.opened_at) AS sent_after, s.position_at AS sent_before, s.closed_at, s.end_reason,
    (s.sure_set).max_xid IS NOT NULL AND NOT outcrier.contains(s.sure_set, o.xid, o.id) AS perhaps
FROM outcrier.event AS o JOIN outcrier.stream AS s ON s.xid_range @> o.xid::text::bigint
WHERE o.topic <> '' AND s.history = (SELECT h.history FROM outcrier.history_id AS h ORDER BY h.nth DESC LIMIT 1)
    AND outcrier.contains(s.position_set, o.xid, o.id) AND NOT outcrier.contains(s.from_set, o.xid, o.id)
    AND (s.since IS NULL OR o.created_at >= s.since OR (s.live_set).max_xid IS NOT NULL AND NOT outcrier.contains(s.live_set, o.xid, o.id))
    AND EXISTS (SELECT FROM unnest(s.topics) AS p WHERE outcrier.matches(o.topic, p))
    AND (s.types = '{}' OR EXISTS (SELECT FROM unnest(s.types) AS k WHERE k = o.type OR right(k, 1) = '*' AND starts_with(o.type, left(k, -1))));
COMMENT ON VIEW outcrier.receipts IS 'The streams, and so the people, that an event was sent to, one a row. Ask by id; for what one person was sent, ask people. subject: whom the stream''s token is for, empty where none is needed. It was written to the connection between sent_after and sent_before; perhaps: the connection broke in that write or soon after, or that write is not over.';

-- The same from the other side: a person's streams first, and of each what it selects, by
-- the range of topics that a pattern has. The first pattern that matches an event counts.
-- A pattern whose first segment is a wildcard has no such range: the events of its stream
-- are found by the stream's range of transactions.
CREATE VIEW outcrier.people AS
SELECT s.subject, o.id, o.topic, o.type, o.created_at, s.node, s.run, s.stream, s.client_address,
    greatest(o.created_at, s.opened_at) AS sent_after, s.position_at AS sent_before,
    (s.sure_set).max_xid IS NOT NULL AND NOT outcrier.contains(s.sure_set, o.xid, o.id) AS perhaps
FROM (SELECT h.history FROM outcrier.history_id AS h ORDER BY h.nth DESC LIMIT 1) AS present
JOIN outcrier.stream AS s ON s.history = present.history
CROSS JOIN LATERAL (
    SELECT e.id, e.topic, e.type, e.created_at, e.xid, p.nth
    FROM unnest(s.topics) WITH ORDINALITY AS p (pattern, nth)
    JOIN outcrier.event AS e ON e.topic = p.pattern
    WHERE NOT EXISTS (SELECT FROM unnest(s.topics) AS t WHERE starts_with(t, '*'))
    UNION ALL
    SELECT e.id, e.topic, e.type, e.created_at, e.xid, p.nth
    FROM unnest(s.topics) WITH ORDINALITY AS p (pattern, nth)
    JOIN outcrier.event AS e ON e.topic >= rtrim(split_part(p.pattern, '*', 1), '/') AND e.topic <= rtrim(split_part(p.pattern, '*', 1), '/') || '0'
    WHERE strpos(p.pattern, '*') > 0 AND NOT EXISTS (SELECT FROM unnest(s.topics) AS t WHERE starts_with(t, '*'))
    UNION ALL
    SELECT e.id, e.topic, e.type, e.created_at, e.xid, NULL::bigint AS nth FROM outcrier.event AS e
    WHERE EXISTS (SELECT FROM unnest(s.topics) AS t WHERE starts_with(t, '*')) AND e.topic <> ''
        AND e.xid >= lower(s.xid_range)::text::xid8 AND e.xid < upper(s.xid_range)::text::xid8
) AS o
WHERE outcrier.contains(s.position_set, o.xid, o.id) AND NOT outcrier.contains(s.from_set, o.xid, o.id)
    AND (s.since IS NULL OR o.created_at >= s.since OR (s.live_set).max_xid IS NOT NULL AND NOT outcrier.contains(s.live_set, o.xid, o.id))
    AND EXISTS (SELECT FROM unnest(CASE WHEN o.nth IS NULL THEN s.topics ELSE s.topics[o.nth:o.nth] END) AS p WHERE outcrier.matches(o.topic, p))
    AND (s.types = '{}' OR EXISTS (SELECT FROM unnest(s.types) AS k WHERE k = o.type OR right(k, 1) = '*' AND starts_with(o.type, left(k, -1))))
    AND NOT EXISTS (SELECT FROM unnest(s.topics[:o.nth - 1]) AS earlier WHERE outcrier.matches(o.topic, earlier));
COMMENT ON VIEW outcrier.people IS 'What a person was sent, one row per event and stream. Ask by subject: WHERE subject = ''ann'' ORDER BY id DESC LIMIT 50, with a condition on created_at for a stretch of time. It was written to the connection between sent_after and sent_before.';

-- in_flight lists the open transactions that have written to the outbox: they hold the lock of
-- an INSERT until they end. A DELETE has that lock too, so our own maintenance is left out:
-- it holds the maintenance table and has drawn no id, which a delivery has. Prepared ones
-- have a gid and no pid. It acts as the owner, and sees of other roles' sessions what the
-- owner may: without pg_read_all_stats neither since nor query.
CREATE FUNCTION outcrier.in_flight() RETURNS TABLE (
    pid int, gid text, xid xid, role text, application text, client inet, since timestamptz, state text, query text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT w.pid, p.gid, x.transactionid, coalesce(a.usename, p.owner)::text, a.application_name, a.client_addr,
        coalesce(a.xact_start, p.prepared), CASE WHEN p.gid IS NULL THEN a.state ELSE 'prepared' END, a.query
    FROM (
        SELECT l.pid, l.virtualtransaction FROM pg_locks AS l
        WHERE l.locktype = 'relation' AND l.granted
            AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
        GROUP BY l.pid, l.virtualtransaction
        HAVING bool_or(l.mode = 'RowExclusiveLock' AND l.relation IN (
                SELECT 'outcrier.event'::regclass::oid UNION ALL SELECT i.inhrelid FROM pg_inherits AS i WHERE i.inhparent = 'outcrier.event'::regclass))
            AND (bool_or(l.relation = 'outcrier.event_id'::regclass) OR NOT bool_or(l.relation = 'outcrier.maintenance'::regclass))
    ) AS w
    JOIN (
        -- Of a transaction and its open savepoints, the transaction.
        SELECT DISTINCT ON (l.virtualtransaction) l.virtualtransaction, l.transactionid FROM pg_locks AS l
        WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
        ORDER BY l.virtualtransaction, age(l.transactionid) DESC
    ) AS x ON x.virtualtransaction = w.virtualtransaction
    LEFT JOIN pg_stat_activity AS a ON a.pid = w.pid
    LEFT JOIN pg_prepared_xacts AS p ON w.pid IS NULL AND p.transaction = x.transactionid
    WHERE w.pid IS DISTINCT FROM pg_backend_pid()
$$;

CREATE VIEW outcrier.lag AS
SELECT n.lag, n.nodes, coalesce(s.overdue, interval '0') AS overdue, f.open,
    CASE WHEN f.open = 0 THEN interval '0' ELSE clock_timestamp() - o.since END AS open_for,
    o.pid, o.gid, o.role, o.application, o.client, o.state, o.query
FROM (SELECT count(*) AS nodes, max(node.lag) AS lag FROM outcrier.node WHERE node.seen_at > clock_timestamp() - interval '30 seconds') AS n
CROSS JOIN (SELECT greatest(clock_timestamp() - min(d.deliver_at), interval '0') AS overdue FROM outcrier.scheduled AS d) AS s
CROSS JOIN (SELECT count(*) AS open FROM outcrier.in_flight()) AS f
LEFT JOIN LATERAL (SELECT * FROM outcrier.in_flight() ORDER BY since NULLS LAST, pid LIMIT 1) AS o ON true;
COMMENT ON VIEW outcrier.lag IS 'One row: what readers still wait for, 0 when nothing is outstanding, NULL where it is not known. lag: of the node that is furthest behind the table, of the nodes seen in the last 30 seconds. overdue: how long the oldest scheduled event is past its time. open: how many open transactions have appended, open_for: how long the oldest has been; the columns after it say which it is.';
COMMENT ON COLUMN outcrier.lag.gid IS 'Of a prepared transaction, which has no pid: COMMIT PREPARED or ROLLBACK PREPARED it.';
COMMENT ON COLUMN outcrier.lag.query IS 'What it runs, or ran last. It takes the outbox''s owner pg_read_all_stats to see that of other roles.';
-- +goose StatementEnd
