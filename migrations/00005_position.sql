-- Positions: what a reader has been given, as a set of transactions.
--
-- Ids are drawn at INSERT and become visible at COMMIT, so "id > last" skips
-- for ever whatever commits late. Postgres itself keeps the exact set of what
-- is not visible yet: the snapshot. A position is that set, written down:
-- everything of transactions up to M is given, except of those that were in
-- flight. M is the largest xid among the *visible rows*, never the snapshot's
-- xmax: the xid of a transaction that aborted is handed out again after a
-- crash, that of a committed one never.

-- +goose Up

-- Which history positions belong to. A dump restored into another cluster
-- brings xids that mean nothing there: when the cluster's system identifier is
-- not the one on record, a new history begins.
CREATE TABLE outbox_histories (
    history           bigint      PRIMARY KEY CHECK (history BETWEEN 1 AND 4294967295),
    -- The largest is the present one. Clocks differ from cluster to cluster.
    nth               bigint      NOT NULL UNIQUE,
    system_identifier bigint      NOT NULL,
    began_at          timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- outbox_settle returns the present history and begins a new one where needed:
-- then every row brought along counts as committed before all others. Called by
-- each node when it connects.
-- +goose StatementBegin
CREATE FUNCTION outbox_settle() RETURNS bigint
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
        PERFORM pg_advisory_xact_lock('outbox_histories'::regclass::oid::int, 0);
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

SELECT outbox_settle();

-- outbox_varint is the unsigned LEB128 of a number that is not negative, as
-- Go's encoding/binary writes it.
-- +goose StatementBegin
CREATE FUNCTION outbox_varint(n bigint) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    written bytea := '';
BEGIN
    WHILE n >= 128 LOOP
        written := written || set_byte('\x00', 0, (n & 127)::int | 128);
        n := n >> 7;
    END LOOP;
    RETURN written || set_byte('\x00', 0, n::int);
END
$$;
-- +goose StatementEnd

-- outbox_position is the position of the calling statement's own snapshot, in
-- REPEATABLE READ the transaction's. A page rendered from data read in that
-- snapshot hands it to its stream and misses nothing between render and
-- connect. The transaction's own events, not committed yet, count as unseen.
-- The format is outbox.Position's; its tests hold the two together.
-- +goose StatementBegin
CREATE FUNCTION outbox_position() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    own     xid8 := pg_current_xact_id_if_assigned();
    present bigint := (SELECT history FROM outbox_histories ORDER BY nth DESC LIMIT 1);
    trimmed bigint := (SELECT coalesce(max(trim), 0) FROM outbox_trim);
    newest  record;
    m       bigint := 0;
    given   bigint;
    stamp   bytea := '\x00000000';
    flying  bigint[];
    written bytea := '';
    previous bigint;
    flag    int := 0;
    most    CONSTANT int := 128;
BEGIN
    SELECT xid::text::bigint AS xid, id, created_at INTO newest
    FROM outbox WHERE xid IS DISTINCT FROM own ORDER BY outbox.xid DESC, id DESC LIMIT 1;
    IF FOUND THEN
        m := newest.xid;
        stamp := substr(sha256(convert_to(format('%s:%s:%s', newest.xid, newest.id,
            (extract(epoch FROM newest.created_at) * 1000000)::bigint), 'UTF8')), 1, 4);
    END IF;

    SELECT coalesce(array_agg(x ORDER BY x), '{}') INTO flying
    FROM (SELECT x::text::bigint FROM pg_snapshot_xip(pg_current_snapshot()) AS x
          UNION SELECT own::text::bigint) AS open(x)
    WHERE x < m;

    -- Too long to write: claim less.
    given := m;
    IF cardinality(flying) > most THEN
        given := flying[most + 1] - 1;
        flying := flying[1:most];
        flag := 2;
        -- M is a member of the set, so that an exception can't be it.
        WHILE flying[cardinality(flying)] = given LOOP
            given := given - 1;
            flying := flying[1:cardinality(flying) - 1];
        END LOOP;
    END IF;

    previous := given;
    FOR n IN REVERSE cardinality(flying)..1 LOOP
        written := written || outbox_varint(previous - flying[n]);
        previous := flying[n];
    END LOOP;
    written := set_byte('\x10', 0, 16 | flag)
        || substr(int8send(present), 5, 4) || stamp || outbox_varint(trimmed)
        || outbox_varint(given) || outbox_varint(cardinality(flying)) || written;
    IF flag = 2 THEN
        written := written || outbox_varint(m - given);
    END IF;
    RETURN coalesce(newest.id, 0) || '.' || rtrim(translate(encode(written, 'base64'), E'+/\n', '-_'), '=');
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION outbox_position();
DROP FUNCTION outbox_varint(bigint);
DROP FUNCTION outbox_settle();
DROP TABLE outbox_histories;
