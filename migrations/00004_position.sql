-- Positions: what a reader has received, as a set of transactions. Ids are drawn at INSERT
-- and become visible at COMMIT, so "id > last" loses every event that commits late. The
-- snapshot is the exact set of what is visible, and a position is that set: all
-- transactions up to M, except those that were in flight. M is the largest xid among the
-- visible rows, never the snapshot's xmax: the xid of an aborted transaction is used again
-- after a crash, that of a committed one never.

-- +goose Up
-- +goose StatementBegin

-- The history that positions belong to. A dump restored into another cluster brings
-- xids that mean nothing there. A new history begins where the cluster's system
-- identifier is not the recorded one.
CREATE TABLE outcrier.history_id (
    history           bigint      PRIMARY KEY CHECK (history BETWEEN 1 AND 4294967295),
    -- The largest is the present one. Clocks differ between clusters.
    nth               bigint      NOT NULL UNIQUE,
    system_identifier bigint      NOT NULL,
    began_at          timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- begin_history makes a new history the present one and returns it. Removals that are
-- on record belong to the transactions of the one before.
CREATE FUNCTION outcrier.begin_history() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    begun bigint;
BEGIN
    DELETE FROM outcrier.removal_topic;
    DELETE FROM outcrier.removal_anchor;
    INSERT INTO outcrier.history_id AS h (history, nth, system_identifier)
    SELECT 1 + floor(random() * 4294967295)::bigint, 1 + coalesce(max(o.nth), 0), (SELECT c.system_identifier FROM pg_control_system() AS c)
    FROM outcrier.history_id AS o
    RETURNING h.history INTO begun;
    RETURN begun;
END
$$;

-- settle returns the present history. Each node calls it when it connects. Where the
-- rows come from another cluster, or have an xid that this one has not assigned yet,
-- it settles them first, at most this many a call, and returns NULL while some are
-- left: the caller commits and calls again. Settled rows count as committed before
-- all others. It then moves the sequences past what the rows have, and begins a new
-- history. The rows are updated in the partitions, so that no marker is appended.
CREATE FUNCTION outcrier.settle(at_most int DEFAULT 20000) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    cluster CONSTANT bigint := (SELECT c.system_identifier FROM pg_control_system() AS c);
    present   record;
    partition regclass;
    remaining bigint := at_most;
    settled   bigint;
BEGIN
    FOR attempt IN 1..2 LOOP
        SELECT h.history, h.system_identifier INTO present FROM outcrier.history_id AS h ORDER BY h.nth DESC LIMIT 1;
        IF present.system_identifier = cluster
            AND NOT EXISTS (SELECT FROM outcrier.event AS o WHERE o.xid >= pg_snapshot_xmax(pg_current_snapshot()))
        THEN
            RETURN present.history;
        END IF;
        -- Once more under the lock: another node may be at work.
        LOCK TABLE outcrier.history_id IN SHARE ROW EXCLUSIVE MODE;
    END LOOP;
    FOR partition IN SELECT i.inhrelid::regclass FROM pg_inherits AS i WHERE i.inhparent = 'outcrier.event'::regclass LOOP
        EXECUTE format($sql$
            UPDATE %1$s SET xid = '3' WHERE ctid = ANY (ARRAY(SELECT ctid FROM %1$s WHERE xid > '3' LIMIT $1))
        $sql$, partition) USING remaining;
        GET DIAGNOSTICS settled = ROW_COUNT;
        remaining := remaining - settled;
        IF remaining <= 0 THEN
            RETURN NULL;
        END IF;
    END LOOP;
    -- A logical copy brings rows and no sequences. An answer to a request that is
    -- still to be drawn would keep writers from notifying.
    PERFORM setval('outcrier.event_id'::regclass, top.id)
    FROM (SELECT greatest((SELECT max(o.id) FROM outcrier.event AS o), (SELECT max(s.id) FROM outcrier.scheduled AS s), (SELECT max(d.id) FROM outcrier.dedup AS d)) AS id) AS top
    WHERE top.id > coalesce(pg_sequence_last_value('outcrier.event_id'::regclass), 0);
    PERFORM setval('outcrier.wake_request'::regclass, pg_sequence_last_value('outcrier.wake_answer'::regclass))
    WHERE pg_sequence_last_value('outcrier.wake_answer'::regclass) > coalesce(pg_sequence_last_value('outcrier.wake_request'::regclass), 0);
    RETURN outcrier.begin_history();
END
$$;

-- anchor is an event's hash, as in position.Anchor: it shows whether an xid still means
-- the same commit.
CREATE FUNCTION outcrier.anchor(xid xid8, id bigint, created_at timestamptz) RETURNS int
LANGUAGE sql STABLE PARALLEL SAFE
RETURN ('x' || encode(substr(sha256(convert_to(format('%s:%s:%s', xid, id,
    CASE WHEN isfinite(created_at) THEN (extract(epoch FROM created_at) * 1000000)::bigint END), 'UTF8')), 1, 4), 'hex'))::bit(32)::int;

-- Positions are sealed: a set of transactions would tell its reader how much others write,
-- when, and the cluster's next xid. The key is here, for every node and for the function
-- position, and no role but the owner's reads it. position.Keys has the layout, and
-- docs/decisions/0013-sealed-positions.md the reasons.
CREATE TABLE outcrier.position_key (
    n           int         PRIMARY KEY,
    -- The two blocks that HMAC-SHA256 makes of a key (RFC 2104).
    inner_block bytea       NOT NULL, outer_block bytea NOT NULL,
    used_from   timestamptz NOT NULL
);

-- xor combines two texts, by words of 8 bytes; b may be the longer one.
CREATE FUNCTION outcrier.xor(a bytea, b bytea) RETURNS bytea LANGUAGE sql IMMUTABLE
RETURN (SELECT string_agg(int8send(('x' || encode(substr(a, i, 8), 'hex'))::bit(64)::bigint # ('x' || encode(substr(b, i, 8), 'hex'))::bit(64)::bigint), ''::bytea ORDER BY i)
    FROM generate_series(1, octet_length(a), 8) AS i);

CREATE FUNCTION outcrier.hmac(inner_block bytea, outer_block bytea, message bytea) RETURNS bytea LANGUAGE sql IMMUTABLE
RETURN sha256(outer_block || sha256(inner_block || message));

-- rotate_position_key makes a new key and returns its number. It is used after ten minutes,
-- by when every node has it; the one before is taken until the next rotation, and those
-- before that no more: a reader that returns with a position of theirs receives a gap.
CREATE FUNCTION outcrier.rotate_position_key() RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- 366 random bits: each uuid has 122. The block is filled with zeros.
    key  CONSTANT bytea := sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) || decode(repeat('00', 32), 'hex');
    made int;
BEGIN
    LOCK TABLE outcrier.position_key IN SHARE ROW EXCLUSIVE MODE;
    INSERT INTO outcrier.position_key AS k (n, inner_block, outer_block, used_from)
    SELECT 1 + coalesce(max(o.n), 0), outcrier.xor(key, decode(repeat('36', 64), 'hex')), outcrier.xor(key, decode(repeat('5c', 64), 'hex')),
        CASE WHEN count(*) = 0 THEN clock_timestamp() ELSE clock_timestamp() + interval '10 minutes' END
    FROM outcrier.position_key AS o
    RETURNING k.n INTO made;
    DELETE FROM outcrier.position_key AS k WHERE k.n < made - 1;
    RETURN made;
END
$$;

-- The first one, for those who ask for a position before a node has started.
SELECT outcrier.rotate_position_key();

-- position_keys returns the keys, for nodes, and makes one where there is none.
CREATE FUNCTION outcrier.position_keys() RETURNS TABLE (n int, inner_block bytea, outer_block bytea, used boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM outcrier.position_key) THEN
        PERFORM outcrier.rotate_position_key();
    END IF;
    RETURN QUERY SELECT k.n, k.inner_block, k.outer_block,
        row_number() OVER (ORDER BY k.used_from <= statement_timestamp() DESC, k.n DESC) = 1 FROM outcrier.position_key AS k;
END
$$;

-- seal writes a position of its packed form, as position.Keys does. Without a key,
-- until the first node has started, it writes one that no node accepts.
CREATE FUNCTION outcrier.seal(id bigint, packed bytea) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    filled CONSTANT bytea := packed || substr(decode(repeat('00', 16), 'hex'), 1, -octet_length(packed) & 15);
    key    record;
    tag    bytea;
BEGIN
    SELECT k.inner_block, k.outer_block, decode('31', 'hex') || substr(int4send(k.n), 4) AS head INTO key
    FROM outcrier.position_key AS k ORDER BY k.used_from <= statement_timestamp() DESC, k.n DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN id || '.MAA';
    END IF;
    tag := substr(outcrier.hmac(key.inner_block, key.outer_block, key.head || int8send(id) || filled), 1, 16);
    RETURN id || '.' || rtrim(translate(encode(key.head || tag || outcrier.xor(filled, (
        SELECT string_agg(outcrier.hmac(key.inner_block, key.outer_block, decode('3f', 'hex') || tag || int4send(i)), ''::bytea ORDER BY i)
        FROM generate_series(0, (octet_length(filled) - 1) / 32) AS i)), 'base64'), '+/' || chr(10), '-_'), '=');
END
$$;

-- position returns the position of the calling statement's snapshot; in REPEATABLE
-- READ, of the transaction's. A page rendered from data that was read in that snapshot
-- hands it to its stream and misses nothing between render and connect. The
-- transaction's own events, not committed yet, count as unseen. It has a form of its
-- own, plain numbers of fixed width, so that only Go packs positions.
CREATE FUNCTION outcrier.position() RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own    CONSTANT xid8 := pg_current_xact_id_if_assigned();
    most   CONSTANT int := 128;
    newest record;
    flying bigint[];
    upto   bigint;
BEGIN
    -- Without events it is 3: settled rows are in every snapshot.
    SELECT coalesce(max(n.xid), 3) AS m, coalesce(max(n.id), 0) AS id, coalesce(max(n.hash), 0) AS hash INTO newest FROM (
        SELECT o.xid::text::bigint AS xid, o.id, outcrier.anchor(o.xid, o.id, o.created_at) AS hash
        FROM outcrier.event AS o WHERE own IS NULL OR o.xid <> own ORDER BY o.xid DESC, o.id DESC LIMIT 1) AS n;
    flying := ARRAY(
        SELECT open.x FROM (SELECT x::text::bigint FROM pg_snapshot_xip(pg_current_snapshot()) AS x UNION SELECT own::text::bigint) AS open (x)
        WHERE open.x < newest.m ORDER BY 1 LIMIT most + 1);
    -- With more in flight than there is room for, it claims less.
    upto := coalesce(flying[most + 1] - 1, newest.m);
    RETURN outcrier.seal(newest.id,
        -- History 0 belongs to no database: a dump of the schema has none until a node starts.
        substr(int8send(coalesce((SELECT h.history FROM outcrier.history_id AS h ORDER BY h.nth DESC LIMIT 1), 0)), 5, 4)
        || int4send(newest.hash) || int8send((SELECT coalesce(max(r.removal), 0) FROM outcrier.removal AS r))
        || int8send(newest.m) || int8send(upto)
        || coalesce((SELECT string_agg(int8send(f.x), ''::bytea ORDER BY f.x) FROM unnest(flying[1:most]) AS f (x)), ''::bytea));
END
$$;

-- id_at returns the id that the events appended at a time or later begin with, by
-- bisection of the ids of the time's partition: some twenty look-ups, without an index
-- on times that every writer would pay for.
--
-- Ids and times rise together, except for transactions that overlap. So the id is a
-- bound for a search, with a minute to spare, in addition to the time itself; it is not where
-- the owner wrote created_at by hand or the clock was set back by more.
CREATE FUNCTION outcrier.id_at(at timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    begins timestamptz := date_trunc('day'::text, at, 'UTC'::text);
    ends   timestamptz := date_trunc('day'::text, at, 'UTC'::text) + interval '24 hours';
    low    bigint;
    high   bigint; -- the id is from low to high
    looked record;
BEGIN
    SELECT p.begins, p.ends INTO begins, ends FROM outcrier.partitions() AS p WHERE p.begins <= at AND at < p.ends
    UNION ALL SELECT begins, ends LIMIT 1;
    SELECT min(o.id), max(o.id) + 1 INTO low, high FROM outcrier.event AS o WHERE o.created_at >= begins AND o.created_at < ends;
    IF low IS NULL THEN
        RETURN coalesce((SELECT min(o.id) FROM outcrier.event AS o WHERE o.created_at >= at), 9223372036854775807);
    END IF;
    WHILE low < high LOOP
        SELECT o.id, o.created_at INTO looked FROM outcrier.event AS o
        WHERE o.id >= low + (high - low) / 2 AND o.created_at >= begins AND o.created_at < ends ORDER BY o.id LIMIT 1;
        IF looked.created_at >= at THEN
            high := low + (high - low) / 2;
        ELSE
            low := looked.id + 1;
        END IF;
    END LOOP;
    RETURN low;
END
$$;
COMMENT ON FUNCTION outcrier.id_at(timestamptz) IS 'The id that events appended at a time or later begin with. To page by time: WHERE created_at < t AND id < (SELECT outcrier.id_at(t + interval ''1 minute'')) ORDER BY id DESC LIMIT 50.';

-- schema_version returns the newest migration applied, and the oldest schema whose
-- nodes work with this one. The numbers stand in the function, so that a dump of the
-- schema alone carries them. A later migration replaces this function.
CREATE FUNCTION outcrier.schema_version(OUT version bigint, OUT nodes_from bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT 10::bigint, 10::bigint $$;
-- +goose StatementEnd
