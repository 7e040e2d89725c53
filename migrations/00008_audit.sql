-- The audit: who was sent what. One row per stream, and from it, for each event, the streams
-- that it was sent to. A row per event sent would be 10,000 rows an event with 10,000 streams,
-- and is not needed: a stream is sent the events that it selects, from a position to a
-- position, and positions are sets. An event was sent to it if and only if it matches, is in
-- the set where the stream is now, and was not in the set where the stream began. The streams
-- go by these sets themselves. "Sent" means written to the connection.
--
-- Rows are written in batches off the path, see outbox.Audit. The row of an open stream is
-- renewed some seconds after something was sent, so receipts come that much later; a node
-- that dies loses its last second of them.

-- +goose Up
-- +goose StatementBegin

-- outbox.Position's two sets: what was received, and, of the read that the position stands
-- within, what was received up to event_id.
CREATE TYPE outcrier.position_set AS (max_xid xid8, in_flight xid8[], within_max_xid xid8, within_in_flight xid8[], event_id bigint);

-- contains reports whether the event is in the set; nothing is in NULL.
CREATE FUNCTION outcrier.contains(set outcrier.position_set, xid xid8, id bigint) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(xid <= (set).max_xid AND xid <> ALL ((set).in_flight), false)
    OR coalesce(id <= (set).event_id AND xid <= (set).within_max_xid AND xid <> ALL ((set).within_in_flight), false);

-- xid_range returns the range of transactions outside of which nothing is in to_set and not
-- in from_set: what an index can know of two sets.
CREATE FUNCTION outcrier.xid_range(from_set outcrier.position_set, to_set outcrier.position_set) RETURNS int8range LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN int8range(
    coalesce(least((from_set).in_flight[1]::text::bigint - 1, (from_set).max_xid::text::bigint), 0),
    greatest((from_set).in_flight[1]::text::bigint - 1, (from_set).max_xid::text::bigint,
        (to_set).max_xid::text::bigint, (to_set).within_max_xid::text::bigint, 0), '(]');

-- matches reports whether a topic is one of a pattern's, like outbox.Pattern.Match; a test
-- holds the two together. Stars are whole segments: the rest is escaped for the regex.
CREATE FUNCTION outcrier.matches(topic text, pattern text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN CASE
    WHEN strpos(pattern, '*') = 0 THEN topic = pattern
    WHEN pattern = '**' THEN true
    ELSE topic ~ ('^'
        || replace(regexp_replace(CASE right(pattern, 3) WHEN '/**' THEN left(pattern, -3) ELSE pattern END, '([].\\+?(){}^$|[])', '\\\1', 'g'), '*', '[^/]+')
        || CASE right(pattern, 3) WHEN '/**' THEN '(/.*)?$' ELSE '$' END)
END;

-- The nodes. One that is not seen for 30 s is lost: the node that finds it so ends its
-- streams and deletes its row. A node that was only cut off, and comes back, undoes that.
CREATE TABLE outcrier.node (
    run        bigint      PRIMARY KEY, -- one life of a node, a number of its own choice
    node       text        NOT NULL, -- its name, which may come twice
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(), seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    streams    int         NOT NULL,
    position   text, -- of its tail,
    lag        interval, -- and how far that is behind; NULL if the node doesn't know
    about      jsonb -- its version, settings and last minutes, for the admin page
);

-- Times are the database's, so that they compare with created_at: opened_at is rather too
-- early and the others too late, by the milliseconds in which a node asks for the time.
CREATE TABLE outcrier.stream (
    run              bigint      NOT NULL, stream bigint NOT NULL,
    node             text        NOT NULL,
    subject          text COLLATE "C" NOT NULL, -- whom the token is for; '' where none is needed
    client_address   text        NOT NULL,
    topics           text[]      NOT NULL, types text[] NOT NULL,
    since            timestamptz, -- the replay's lower bound on created_at; NULL for none
    history          bigint      NOT NULL,
    from_position    text        NOT NULL, -- where it began; may claim less than the set, which is exact
    from_set         outcrier.position_set NOT NULL,
    live_set         outcrier.position_set, -- where replay met live
    position         text        NOT NULL, -- where it is, or was in the end
    position_set     outcrier.position_set NOT NULL,
    position_at      timestamptz NOT NULL,
    events           bigint      NOT NULL, last_event bigint,
    opened_at        timestamptz NOT NULL, closed_at timestamptz, end_reason text,
    end_requested_at timestamptz, end_requested_by text, -- each node looks for requests with its heartbeat
    xid_range        int8range   NOT NULL GENERATED ALWAYS AS (outcrier.xid_range(from_set, position_set)) STORED,
    PRIMARY KEY (run, stream)
);
-- An event may have been sent to the streams whose range has its transaction. Times would
-- not do: a stream that is opened today may replay last week.
CREATE INDEX stream_xid_range ON outcrier.stream USING gist (xid_range);
CREATE INDEX stream_subject ON outcrier.stream (subject, opened_at);
CREATE INDEX stream_closed_at ON outcrier.stream (closed_at);
CREATE INDEX stream_end_requested ON outcrier.stream (run) WHERE end_requested_at IS NOT NULL AND closed_at IS NULL;
CREATE INDEX stream_open ON outcrier.stream (opened_at, run, stream) WHERE closed_at IS NULL;

-- heartbeat records that a node is alive, ends the streams of nodes that are not, and returns
-- the database's time.
CREATE FUNCTION outcrier.heartbeat(run bigint, node text, streams int, "position" text, lag interval, about jsonb DEFAULT NULL) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    fresh boolean; lost record;
BEGIN
    INSERT INTO outcrier.node AS n (run, node, streams, position, lag, about) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (run) DO UPDATE SET seen_at = clock_timestamp(), streams = $3, position = $4, lag = $5, about = coalesce($6, n.about)
    RETURNING n.xmax = 0 INTO fresh;
    IF fresh THEN
        UPDATE outcrier.stream AS s SET closed_at = NULL, end_reason = NULL WHERE s.run = $1 AND s.end_reason = 'node lost';
    END IF;
    FOR lost IN
        DELETE FROM outcrier.node AS n WHERE n.run IN (
            SELECT run FROM outcrier.node WHERE seen_at < clock_timestamp() - interval '30 seconds' FOR UPDATE SKIP LOCKED)
        RETURNING n.run, n.seen_at
    LOOP
        UPDATE outcrier.stream AS s SET closed_at = greatest(s.position_at, lost.seen_at), end_reason = 'node lost'
        WHERE s.run = lost.run AND s.closed_at IS NULL;
    END LOOP;
    RETURN clock_timestamp();
END
$$;

-- record_streams writes streams, a row each as JSON. Times are ages in seconds: opened_age at
-- the time asked, the others now. A stream that has ended is not written again: not even a
-- server changes what it once recorded to the end.
CREATE FUNCTION outcrier.record_streams(run bigint, node text, asked timestamptz, streams json) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    present CONSTANT timestamptz := clock_timestamp();
BEGIN
    INSERT INTO outcrier.stream AS s (
        run, stream, node, subject, client_address, topics, types, since, history, from_position, from_set, live_set,
        position, position_set, position_at, events, last_event, opened_at, closed_at, end_reason)
    SELECT $1, r.stream, $2, r.subject, r.client_address, r.topics, r.types, r.since, r.history, r.from_position, r.from_set, r.live_set,
        r.position, r.position_set, present - r.position_age * interval '1 second', r.events, r.last_event,
        $3 - r.opened_age * interval '1 second', present - r.closed_age * interval '1 second', r.end_reason
    FROM json_to_recordset($4) AS r (
        stream bigint, subject text, client_address text, topics text[], types text[], since timestamptz, history bigint,
        from_position text, from_set outcrier.position_set, live_set outcrier.position_set, position text, position_set outcrier.position_set,
        events bigint, last_event bigint, opened_age float8, position_age float8, closed_age float8, end_reason text)
    ON CONFLICT (run, stream) DO UPDATE SET
        history = excluded.history, from_position = excluded.from_position, from_set = excluded.from_set,
        live_set = excluded.live_set, position = excluded.position, position_set = excluded.position_set,
        position_at = excluded.position_at, events = excluded.events, last_event = excluded.last_event,
        closed_at = excluded.closed_at, end_reason = excluded.end_reason
    WHERE s.closed_at IS NULL OR s.end_reason = 'node lost';
END
$$;

-- stop_node is a node's last call: it leaves nothing of the node open.
CREATE FUNCTION outcrier.stop_node(run bigint) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE outcrier.stream AS s SET closed_at = clock_timestamp(), end_reason = 'node stopped' WHERE s.run = $1 AND s.closed_at IS NULL;
    DELETE FROM outcrier.node AS n WHERE n.run = $1;
$$;

-- end_stream requests the end of a stream, whichever node serves it, and reports whether the
-- stream was open. The first request stays on record.
CREATE FUNCTION outcrier.end_stream(run bigint, stream bigint, requested_by text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE outcrier.stream AS s
    SET end_requested_at = coalesce(s.end_requested_at, clock_timestamp()),
        end_requested_by = CASE WHEN s.end_requested_at IS NULL THEN $3 ELSE s.end_requested_by END
    WHERE s.run = $1 AND s.stream = $2 AND s.closed_at IS NULL
    RETURNING true
$$;
-- +goose StatementEnd
