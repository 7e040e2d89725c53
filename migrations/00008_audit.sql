-- The audit: who was sent what. One row per stream, and from it, for each event, the streams
-- that it was sent to. A row per event sent would be 10,000 rows an event with 10,000 streams,
-- and is not needed: a stream is sent the events that it selects, from a position to a
-- position, and positions are sets. An event was sent to it if and only if it matches, is in
-- the set where the stream is now, and was not in the set where the stream began. The streams
-- go by these sets themselves. "Sent" means written to the connection.
--
-- Rows are written in batches off the path, see package outbox/audit. The row of an open stream is
-- renewed some seconds after something was sent, so receipts come that much later; a node
-- that dies loses its last second of them. The events of a write that broke may have arrived:
-- they count as sent, "perhaps".
--
-- Beside streams the audit has what admins asked and did, and who appended by HTTP. All of it
-- is chained day by day, so that a row that was removed or altered shows.

-- +goose Up
-- +goose StatementBegin

-- position.Position's two sets: the events received, and, of the read that the position stands
-- within, those received up to event_id.
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

-- The nodes. A node that was not seen for 30 s counts as lost: another node ends its streams
-- and deletes its row. A node that was only cut off, and comes back, undoes that.
CREATE TABLE outcrier.node (
    run        bigint      PRIMARY KEY, -- one life of a node, a number of its own choice
    node       text        NOT NULL, -- its name, which may come twice
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(), seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    streams    int         NOT NULL,
    position   text, -- of its tail,
    lag        interval, -- and its distance from the table; NULL if the node doesn't know
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
    sure_set         outcrier.position_set, -- events beyond it were perhaps sent; NULL: all were
    position         text        NOT NULL, -- where it is, or was in the end
    position_set     outcrier.position_set NOT NULL,
    position_at      timestamptz NOT NULL,
    events           bigint      NOT NULL, last_event bigint,
    opened_at        timestamptz NOT NULL, closed_at timestamptz, end_reason text,
    end_requested_at timestamptz, end_requested_by text, -- each node looks for requests with its heartbeat
    recorded_at      timestamptz, -- when it was recorded to its end: from an hour later nothing changes it
    xid_range        int8range   NOT NULL GENERATED ALWAYS AS (outcrier.xid_range(from_set, position_set)) STORED,
    PRIMARY KEY (run, stream)
);
-- An event may have been sent to the streams whose range has its transaction. Times would
-- not do: a stream that is opened today may replay last week.
CREATE INDEX stream_xid_range ON outcrier.stream USING gist (xid_range);
CREATE INDEX stream_subject ON outcrier.stream (subject, opened_at);
CREATE INDEX stream_closed_at ON outcrier.stream (closed_at);
CREATE INDEX stream_recorded_at ON outcrier.stream (recorded_at);
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
        UPDATE outcrier.stream AS s SET closed_at = NULL, end_reason = NULL, recorded_at = NULL
        WHERE s.run = $1 AND s.end_reason = 'node lost' AND s.recorded_at > clock_timestamp() - interval '1 hour';
    END IF;
    FOR lost IN
        DELETE FROM outcrier.node AS n WHERE n.run IN (
            SELECT run FROM outcrier.node WHERE seen_at < clock_timestamp() - interval '30 seconds' FOR UPDATE SKIP LOCKED)
        RETURNING n.run, n.seen_at
    LOOP
        UPDATE outcrier.stream AS s SET closed_at = greatest(s.position_at, lost.seen_at), end_reason = 'node lost', recorded_at = clock_timestamp()
        WHERE s.run = lost.run AND s.closed_at IS NULL;
    END LOOP;
    RETURN clock_timestamp();
END
$$;

-- record_streams writes streams, a row each as JSON. Times are ages in seconds: opened_age at
-- the time asked, the others now. A stream that has ended is not written again: not even a
-- server changes the record of an ended stream.
CREATE FUNCTION outcrier.record_streams(run bigint, node text, asked timestamptz, streams json) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    present CONSTANT timestamptz := clock_timestamp();
BEGIN
    INSERT INTO outcrier.stream AS s (
        run, stream, node, subject, client_address, topics, types, since, history, from_position, from_set, live_set, sure_set,
        position, position_set, position_at, events, last_event, opened_at, closed_at, end_reason, recorded_at)
    SELECT $1, r.stream, $2, r.subject, r.client_address, r.topics, r.types, r.since, r.history, r.from_position, r.from_set, r.live_set, r.sure_set,
        r.position, r.position_set, present - r.position_age * interval '1 second', r.events, r.last_event,
        $3 - r.opened_age * interval '1 second', present - r.closed_age * interval '1 second', r.end_reason,
        CASE WHEN r.closed_age IS NOT NULL THEN present END
    FROM json_to_recordset($4) AS r (
        stream bigint, subject text, client_address text, topics text[], types text[], since timestamptz, history bigint,
        from_position text, from_set outcrier.position_set, live_set outcrier.position_set, sure_set outcrier.position_set, position text, position_set outcrier.position_set,
        events bigint, last_event bigint, opened_age float8, position_age float8, closed_age float8, end_reason text)
    ON CONFLICT (run, stream) DO UPDATE SET
        history = excluded.history, from_position = excluded.from_position, from_set = excluded.from_set,
        live_set = excluded.live_set, sure_set = excluded.sure_set, position = excluded.position, position_set = excluded.position_set,
        position_at = excluded.position_at, events = excluded.events, last_event = excluded.last_event,
        closed_at = excluded.closed_at, end_reason = excluded.end_reason, recorded_at = excluded.recorded_at
    WHERE s.closed_at IS NULL OR s.end_reason = 'node lost' AND s.recorded_at > present - interval '1 hour';
END
$$;

-- stop_node is a node's last call: it leaves nothing of the node open.
CREATE FUNCTION outcrier.stop_node(run bigint) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE outcrier.stream AS s SET closed_at = clock_timestamp(), end_reason = 'node stopped', recorded_at = clock_timestamp() WHERE s.run = $1 AND s.closed_at IS NULL;
    DELETE FROM outcrier.node AS n WHERE n.run = $1;
$$;

-- end_stream requests the end of a stream, whichever node serves it, and reports whether the
-- stream was open. The first request stays on record.
CREATE FUNCTION outcrier.end_stream(run bigint, stream bigint, requested_by text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH ended AS (
        UPDATE outcrier.stream AS s
        SET end_requested_at = coalesce(s.end_requested_at, clock_timestamp()),
            end_requested_by = CASE WHEN s.end_requested_at IS NULL THEN $3 ELSE s.end_requested_by END
        WHERE s.run = $1 AND s.stream = $2 AND s.closed_at IS NULL
        RETURNING s.stream
    )
    SELECT EXISTS (SELECT FROM ended)
$$;

-- What admins asked and did by HTTP: the route, its query, and the outcome; never a body nor
-- the content of an answer. An act is on record before it begins: while it has no outcome, it
-- was perhaps done.
CREATE TABLE outcrier.admin_request (
    n              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(), requested_at timestamptz NOT NULL,
    node           text        NOT NULL,
    subject        text COLLATE "C" NOT NULL, client_address text NOT NULL,
    request        text        NOT NULL, -- a method and a path, like "GET /admin/api/history/:id"
    question       jsonb       NOT NULL, -- the parameters of the path and the query
    outcome        jsonb -- the answer's status, what was done, and why if it was refused or failed; NULL: not known
);
CREATE INDEX admin_request_recorded_at ON outcrier.admin_request (recorded_at);
CREATE INDEX admin_request_subject ON outcrier.admin_request (subject, n);

-- about returns the people, topics and ids that a request named or changed something of, for
-- searches. The audit cuts what it records to 1000 bytes; what is longer came by another way.
CREATE FUNCTION outcrier.about(question jsonb, outcome jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN ARRAY(
    SELECT v.value FROM (VALUES (question), (outcome -> 'done')) AS o (part)
    CROSS JOIN LATERAL jsonb_each_text(CASE jsonb_typeof(o.part) WHEN 'object' THEN o.part ELSE '{}' END) AS v WHERE octet_length(v.value) <= 1000
);
CREATE INDEX admin_request_about ON outcrier.admin_request USING gin (outcrier.about(question, outcome));

-- Acts and exports: an open page makes many reads for each of them.
CREATE INDEX admin_request_act ON outcrier.admin_request (n) WHERE NOT (request ~ '^(GET|HEAD) ' AND request !~ '/export$');

-- record_admin_requests writes requests, and the outcomes of those that have a number n, and
-- returns the numbers. A request with a late outcome moves to the time when it got it, so that
-- an export has it again. From half an hour on it gets none: it may be in the chain. An
-- outcome is never changed.
CREATE FUNCTION outcrier.record_admin_requests(node text, requests json) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT r.n, r.age, r.subject, r.client_address, r.request, r.question, r.outcome
        FROM json_to_recordset($2) AS r (n bigint, age float8, subject text, client_address text, request text, question jsonb, outcome jsonb)
    LOOP
        IF one.n IS NULL THEN
            INSERT INTO outcrier.admin_request AS a (requested_at, node, subject, client_address, request, question, outcome)
            VALUES (clock_timestamp() - one.age * interval '1 second', $1, one.subject, one.client_address, one.request, one.question, one.outcome)
            RETURNING a.n INTO one.n;
        ELSE
            UPDATE outcrier.admin_request AS a SET outcome = one.outcome, recorded_at = clock_timestamp()
            WHERE a.n = one.n AND a.outcome IS NULL AND a.recorded_at > clock_timestamp() - interval '30 minutes';
        END IF;
        RETURN NEXT one.n;
    END LOOP;
END
$$;

-- Who appended an event by HTTP: the subject of the token. A table of its own, written by the
-- node: a column could be set by anyone who inserts, and would cost each INSERT.
CREATE TABLE outcrier.publication (
    id             bigint      PRIMARY KEY, -- the event's, or that of the scheduled one
    publisher      text        NOT NULL, client_address text NOT NULL,
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX publication_recorded_at ON outcrier.publication (recorded_at);

-- record_publisher is called in the transaction that appends. What that did not append, the
-- first event of a dedup key, keeps the publisher that it has.
CREATE FUNCTION outcrier.record_publisher(ids bigint[], publisher text, client_address text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO outcrier.publication (id, publisher, client_address)
    SELECT o.id, $2, $3 FROM (
        SELECT e.id FROM outcrier.event AS e WHERE e.xid = pg_current_xact_id() AND e.id = ANY ($1)
        UNION SELECT s.id FROM outcrier.scheduled AS s WHERE s.xid = pg_current_xact_id() AND s.id = ANY ($1)) AS o
    ON CONFLICT (id) DO NOTHING
$$;

-- The chain: of each day (UTC) the hash of its rows, and a link, the hash of that and of the
-- link before. Only this function adds one, an hour after the day, and nothing changes one.
CREATE TABLE outcrier.audit_day (
    day        date        PRIMARY KEY,
    records    bigint      NOT NULL, digest bytea NOT NULL, link bytea NOT NULL,
    linked_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    removed_at timestamptz -- when retention began to remove its rows
);

-- All that is recorded to its end, as it is exported, and as the chain has it.
CREATE VIEW outcrier.audit AS
SELECT s.recorded_at, 'stream' COLLATE "C" AS kind, (s.run || '/' || s.stream) COLLATE "C" AS key, jsonb_build_object(
    'run', s.run, 'stream', s.stream, 'node', s.node, 'subject', s.subject, 'client_address', s.client_address, 'topics', s.topics, 'types', s.types,
    'since', s.since, 'history', s.history, 'from_set', s.from_set, 'live_set', s.live_set, 'sure_set', s.sure_set, 'position_set', s.position_set,
    'position_at', s.position_at, 'events', s.events, 'last_event', s.last_event, 'opened_at', s.opened_at, 'closed_at', s.closed_at,
    'end_reason', s.end_reason, 'end_requested_at', s.end_requested_at, 'end_requested_by', s.end_requested_by) AS record
FROM outcrier.stream AS s WHERE s.recorded_at IS NOT NULL
UNION ALL
SELECT r.recorded_at, 'admin_request', r.n::text, jsonb_build_object('requested_at', r.requested_at, 'node', r.node, 'subject', r.subject,
    'client_address', r.client_address, 'request', r.request, 'question', r.question, 'outcome', r.outcome)
FROM outcrier.admin_request AS r
UNION ALL
SELECT p.recorded_at, 'publication', p.id::text, jsonb_build_object('id', p.id, 'publisher', p.publisher, 'client_address', p.client_address)
FROM outcrier.publication AS p
UNION ALL
SELECT e.erased_at, 'erasure', e.erasure::text, jsonb_build_object('kind', e.kind, 'event_id', e.event_id, 'pattern', e.pattern, 'events', e.events,
    'reason', e.reason, 'erased_by', e.erased_by)
FROM outcrier.erasure AS e
UNION ALL
SELECT d.linked_at, 'day', d.day::text, jsonb_build_object('day', d.day, 'records', d.records, 'digest', encode(d.digest, 'hex'), 'link', encode(d.link, 'hex'))
FROM outcrier.audit_day AS d;
COMMENT ON VIEW outcrier.audit IS 'All records of the audit that are closed, one a row, as outcrier audit export prints them: streams and polls, the requests of admins, who appended by HTTP, erasures, and the links of the chain. recorded_at is when a record was closed, and its day is that of the chain in audit_day.';

CREATE FUNCTION outcrier.audit_digest(day date, OUT records bigint, OUT digest bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
    SELECT count(*), sha256(coalesce(string_agg(sha256(convert_to(concat_ws(' ', a.recorded_at, a.kind, a.key, a.record), 'UTF8')), ''::bytea
        ORDER BY a.recorded_at, a.kind, a.key), ''::bytea))
    FROM outcrier.audit AS a WHERE a.recorded_at >= $1::timestamptz AND a.recorded_at < ($1 + 1)::timestamptz
$$;

-- link_audit_days adds the links of the days that are over, a month of them at most, and
-- returns how many.
CREATE FUNCTION outcrier.link_audit_days() RETURNS int LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    last  CONSTANT date := (clock_timestamp() - interval '25 hours')::date;
    added int := 0;
    before record; summed record;
BEGIN
    IF EXISTS (SELECT FROM outcrier.audit_day AS d WHERE d.day >= last) OR NOT outcrier.claim('audit'::text) THEN RETURN 0; END IF;
    SELECT d.day, d.link INTO before FROM outcrier.audit_day AS d ORDER BY d.day DESC LIMIT 1;
    IF before IS NULL THEN
        SELECT (least((SELECT min(s.recorded_at) FROM outcrier.stream AS s), (SELECT min(r.recorded_at) FROM outcrier.admin_request AS r),
            (SELECT min(p.recorded_at) FROM outcrier.publication AS p), (SELECT min(e.erased_at) FROM outcrier.erasure AS e)))::date - 1 AS day, ''::bytea AS link INTO before;
    END IF;
    WHILE before.day < last AND added < 31 LOOP
        before.day := before.day + 1;
        SELECT g.records, g.digest INTO summed FROM outcrier.audit_digest(before.day) AS g;
        before.link := sha256(before.link || convert_to(format('%s %s ', before.day, summed.records), 'UTF8') || summed.digest);
        INSERT INTO outcrier.audit_day (day, records, digest, link) VALUES (before.day, summed.records, summed.digest, before.link);
        added := added + 1;
    END LOOP;
    RETURN added;
END
$$;

-- minimum_audit_retention is the time for which the audit is kept in any case. The owner may
-- replace the function.
CREATE FUNCTION outcrier.minimum_audit_retention() RETURNS interval LANGUAGE sql STABLE PARALLEL SAFE RETURN interval '7 days';

-- purge_audit removes the rows of days older than the retention, a few thousand at a time, and
-- returns how many: call it until that is 0. Without a retention (0 or NULL) rows are kept for
-- as long as the oldest event. The links stay.
CREATE FUNCTION outcrier.purge_audit(retention interval DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    at_most CONSTANT int := 5000;
    past    CONSTANT timestamptz := least(now() - outcrier.minimum_audit_retention(), coalesce(now() - nullif(retention, interval '0'),
        (SELECT o.created_at FROM outcrier.event AS o ORDER BY o.id LIMIT 1)));
    ends    timestamptz;
    removed bigint := 0;
    counted bigint;
BEGIN
    IF NOT outcrier.claim('audit'::text) THEN RETURN 0; END IF;
    UPDATE outcrier.audit_day AS d SET removed_at = clock_timestamp() WHERE d.removed_at IS NULL AND (d.day + 1)::timestamptz <= past;
    SELECT (max(d.day) + 1)::timestamptz INTO ends FROM outcrier.audit_day AS d WHERE d.removed_at IS NOT NULL;
    DELETE FROM outcrier.stream AS s WHERE s.ctid = ANY (ARRAY(SELECT o.ctid FROM outcrier.stream AS o WHERE o.recorded_at < ends LIMIT at_most));
    GET DIAGNOSTICS counted = ROW_COUNT;
    removed := removed + counted;
    DELETE FROM outcrier.admin_request AS r WHERE r.ctid = ANY (ARRAY(SELECT o.ctid FROM outcrier.admin_request AS o WHERE o.recorded_at < ends LIMIT at_most));
    GET DIAGNOSTICS counted = ROW_COUNT;
    removed := removed + counted;
    DELETE FROM outcrier.publication AS p WHERE p.ctid = ANY (ARRAY(SELECT o.ctid FROM outcrier.publication AS o WHERE o.recorded_at < ends LIMIT at_most));
    GET DIAGNOSTICS counted = ROW_COUNT;
    RETURN removed + counted;
END
$$;
-- +goose StatementEnd
