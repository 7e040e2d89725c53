-- The audit: who was sent what. One row for each stream opened, and from it, for
-- each event, the streams that it was sent to.
--
-- No row is written for an event that is sent: at 10,000 streams that would be
-- 10,000 rows an event. It is not needed either. A stream is sent the events that
-- it asks for, from a position to a position, and positions are sets: an event
-- was sent to it if and only if it matches, is in the set that the stream stands
-- at, and was not in the set that it began with. This is the streams' own
-- reckoning, by which nothing comes twice and nothing is lost, so the receipts are
-- as exact as the streams are. "Sent" is: written to the connection.
--
-- Rows are written in batches off the path, see outbox.Audit. A stream that is
-- open has its row written on some seconds after it was sent something, so that
-- receipts come as much later; a node that dies takes its last second with it.

-- +goose Up

-- outbox.Position's two sets, in columns: what was given, and, of the read that
-- the position stands in the middle of, what was given up to event_id.
CREATE TYPE outbox_seen AS (
    given_max     xid8,
    given_except  xid8[],
    within_max    xid8,
    within_except xid8[],
    event_id      bigint
);

-- outbox_given tells whether the event is in the set; nothing is in NULL.
CREATE FUNCTION outbox_given(seen outbox_seen, xid xid8, id bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(xid <= (seen).given_max AND xid <> ALL ((seen).given_except), false)
    OR coalesce(id <= (seen).event_id AND xid <= (seen).within_max AND xid <> ALL ((seen).within_except), false);

-- outbox_span is the range of transactions outside of which nothing is in the
-- set to and not in the set from. It is what an index can know of two sets.
CREATE FUNCTION outbox_span(from_seen outbox_seen, to_seen outbox_seen) RETURNS int8range
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN int8range(
    coalesce(least((from_seen).given_except[1]::text::bigint - 1, (from_seen).given_max::text::bigint), 0),
    greatest((from_seen).given_except[1]::text::bigint - 1, (from_seen).given_max::text::bigint,
        (to_seen).given_max::text::bigint, (to_seen).within_max::text::bigint, 0), '(]');

-- outbox_matches tells whether a topic is one of a pattern's, like
-- outbox.Pattern.Match; a test holds the two together. A pattern's own stars are
-- whole segments, so that what is left to escape is what a regular expression
-- would take for its own.
CREATE FUNCTION outbox_matches(topic text, pattern text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN strpos(pattern, '*') = 0 THEN topic = pattern
    WHEN pattern = '**' THEN true
    ELSE topic ~ ('^'
        || replace(
            regexp_replace(CASE right(pattern, 3) WHEN '/**' THEN left(pattern, -3) ELSE pattern END, '([].\\+?(){}^$|[])', '\\\1', 'g'),
            '*', '[^/]+')
        || CASE right(pattern, 3) WHEN '/**' THEN '(/.*)?$' ELSE '$' END)
END;

-- outbox_selects tells whether a stream asks for the event, like
-- outbox.Filter.Match: any of its patterns, and any of its types if it has some.
CREATE FUNCTION outbox_selects(topics text[], types text[], topic text, type text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN EXISTS (SELECT FROM unnest(topics) AS p WHERE outbox_matches(topic, p))
    AND (cardinality(types) = 0 OR EXISTS (
        SELECT FROM unnest(types) AS t WHERE t = type OR right(t, 1) = '*' AND starts_with(type, left(t, -1))));

-- Which nodes there are. A node that is not seen for 30 s is lost: whichever node
-- finds it so ends its streams and takes it off. One that was only cut off, and
-- comes back, takes that back.
CREATE TABLE outbox_node (
    -- One life of a node, a number of its own choice: names may come twice.
    run        bigint      PRIMARY KEY,
    node       text        NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    streams    int         NOT NULL,
    -- Where its tail stands, and how far behind it is, if it knows.
    position   text,
    lag        interval
);

-- Times are the database's, so that they can be held against created_at: of when a
-- stream was opened rather too early, of the others rather too late, by the few
-- milliseconds that it takes a node to ask for the time.
CREATE TABLE outbox_stream (
    run           bigint      NOT NULL,
    stream        bigint      NOT NULL,
    node          text        NOT NULL,
    subject       text        NOT NULL, -- whom the token is for; '' where none is needed
    remote        text        NOT NULL,
    topics        text[]      NOT NULL,
    types         text[]      NOT NULL,
    -- Of what it was replayed, only what was appended since; NULL for all.
    since         timestamptz,
    history       bigint      NOT NULL,
    -- Where it began, for people and as a set. The text may claim less, where the
    -- set is too long to write; the set is exact.
    from_position text        NOT NULL,
    from_seen     outbox_seen NOT NULL,
    -- Where its replay met what happens now.
    live_seen     outbox_seen,
    -- Where it stands, or stood in the end, and when.
    position      text        NOT NULL,
    seen          outbox_seen NOT NULL,
    stood_at      timestamptz NOT NULL,
    events        bigint      NOT NULL,
    last_event    bigint,
    opened_at     timestamptz NOT NULL,
    closed_at     timestamptz,
    why           text,
    span          int8range   NOT NULL GENERATED ALWAYS AS (outbox_span(from_seen, seen)) STORED,
    PRIMARY KEY (run, stream)
);
-- The streams that an event may have been sent to: those whose span has its
-- transaction. Times would not do: a stream opened today may be replayed what
-- happened last week, and all the others since would have to be looked at too.
CREATE INDEX outbox_stream_span ON outbox_stream USING gist (span);
CREATE INDEX outbox_stream_subject ON outbox_stream (subject, opened_at);
CREATE INDEX outbox_stream_closed_at ON outbox_stream (closed_at);

-- Which streams of which principals an event was sent to. It was sent between
-- sent_after and sent_before: when within, nobody noted. The second is when the
-- stream was last known to have been sent something: a stream that follows what
-- happens now gets it within milliseconds of its commit, as a rule.
CREATE VIEW outbox_receipts AS
SELECT o.id, o.topic, o.type, o.created_at, s.subject, s.remote, s.node, s.run, s.stream,
    greatest(o.created_at, s.opened_at) AS sent_after, s.stood_at AS sent_before, s.closed_at, s.why
FROM outbox AS o JOIN outbox_stream AS s ON s.span @> o.xid::text::bigint
WHERE s.history = (SELECT history FROM outbox_histories ORDER BY nth DESC LIMIT 1)
    AND outbox_given(s.seen, o.xid, o.id) AND NOT outbox_given(s.from_seen, o.xid, o.id)
    AND (s.since IS NULL OR o.created_at >= s.since
        OR (s.live_seen).given_max IS NOT NULL AND NOT outbox_given(s.live_seen, o.xid, o.id))
    AND outbox_selects(s.topics, s.types, o.topic, o.type);

-- outbox_beat says that a node is there, ends the streams of those that are not
-- any more, and returns the database's time.
-- +goose StatementBegin
CREATE FUNCTION outbox_beat(run bigint, node text, streams int, "position" text, lag interval) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    fresh boolean;
    lost  record;
BEGIN
    INSERT INTO outbox_node AS n (run, node, streams, position, lag) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (run) DO UPDATE SET seen_at = clock_timestamp(), streams = $3, position = $4, lag = $5
    RETURNING n.xmax = 0 INTO fresh;
    IF fresh THEN
        UPDATE outbox_stream AS s SET closed_at = NULL, why = NULL WHERE s.run = $1 AND s.why = 'node lost';
    END IF;
    FOR lost IN
        DELETE FROM outbox_node AS n WHERE n.run IN (
            SELECT run FROM outbox_node WHERE seen_at < clock_timestamp() - interval '30 seconds' FOR UPDATE SKIP LOCKED)
        RETURNING n.run, n.seen_at
    LOOP
        UPDATE outbox_stream AS s SET closed_at = greatest(s.stood_at, lost.seen_at), why = 'node lost'
        WHERE s.run = lost.run AND s.closed_at IS NULL;
    END LOOP;
    RETURN clock_timestamp();
END
$$;
-- +goose StatementEnd

-- outbox_record writes streams, a row each as JSON, with times as ages in seconds:
-- that of opened_at at the time asked, the others now. A stream that has ended
-- is not written again: not even a server changes what it once recorded to the end.
-- +goose StatementBegin
CREATE FUNCTION outbox_record(run bigint, node text, asked timestamptz, streams json) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    present CONSTANT timestamptz := clock_timestamp();
BEGIN
    INSERT INTO outbox_stream AS s (
        run, stream, node, subject, remote, topics, types, since, history, from_position, from_seen, live_seen,
        position, seen, stood_at, events, last_event, opened_at, closed_at, why)
    SELECT $1, r.stream, $2, r.subject, r.remote, r.topics, r.types, r.since, r.history, r.from_position, r.from_seen, r.live_seen,
        r.position, r.seen, present - r.stood_age * interval '1 second', r.events, r.last_event,
        $3 - r.opened_age * interval '1 second', present - r.closed_age * interval '1 second', r.why
    FROM json_to_recordset($4) AS r (
        stream bigint, subject text, remote text, topics text[], types text[], since timestamptz, history bigint,
        from_position text, from_seen outbox_seen, live_seen outbox_seen, position text, seen outbox_seen,
        events bigint, last_event bigint, opened_age float8, stood_age float8, closed_age float8, why text)
    ON CONFLICT (run, stream) DO UPDATE SET
        history = excluded.history, from_position = excluded.from_position, from_seen = excluded.from_seen,
        live_seen = excluded.live_seen, position = excluded.position, seen = excluded.seen,
        stood_at = excluded.stood_at, events = excluded.events, last_event = excluded.last_event,
        closed_at = excluded.closed_at, why = excluded.why
    WHERE s.closed_at IS NULL OR s.why = 'node lost';
END
$$;
-- +goose StatementEnd

-- outbox_leave is a node's last word: nothing of it is left open.
-- +goose StatementBegin
CREATE FUNCTION outbox_leave(run bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    UPDATE outbox_stream SET closed_at = clock_timestamp(), why = 'node stopped' WHERE run = $1 AND closed_at IS NULL;
    DELETE FROM outbox_node WHERE run = $1;
$$;
-- +goose StatementEnd

REVOKE EXECUTE ON FUNCTION
    outbox_beat(bigint, text, int, text, interval),
    outbox_record(bigint, text, timestamptz, json),
    outbox_leave(bigint)
FROM PUBLIC;

-- A stream that had ended before the oldest event was appended is in no receipt
-- any more. Such go when no partition does: not under its lock, and not too many
-- at once.
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
    -- Ids follow the times by and large.
    DELETE FROM outbox_stream WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM outbox_stream
        WHERE closed_at < (SELECT created_at FROM outbox ORDER BY id LIMIT 1) - interval '1 minute'
        LIMIT 10000));
    RETURN NULL;
END
$$;
-- +goose StatementEnd

-- +goose Down
-- outbox_retain goes with the migration that made it.
DROP FUNCTION outbox_leave(bigint);
DROP FUNCTION outbox_record(bigint, text, timestamptz, json);
DROP FUNCTION outbox_beat(bigint, text, int, text, interval);
DROP VIEW outbox_receipts;
DROP TABLE outbox_stream;
DROP TABLE outbox_node;
DROP FUNCTION outbox_selects(text[], text[], text, text);
DROP FUNCTION outbox_matches(text, text);
DROP FUNCTION outbox_span(outbox_seen, outbox_seen);
DROP FUNCTION outbox_given(outbox_seen, xid8, bigint);
DROP TYPE outbox_seen;
