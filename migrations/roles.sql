-- The roles of an outbox, and what each may do. They are groups without a login,
-- to be granted to the logins of applications:
--
--     GRANT outbox_writer TO shop;       -- appends, and reads nothing
--     GRANT outbox_reader TO auditor;    -- reads the history
--     GRANT outbox_server TO outcrier;   -- what outcrier serve needs, no more
--
-- Roles belong to the cluster, what they may do to the outbox: several outboxes
-- share the roles, and whoever is to use one only lacks CONNECT on the other's
-- database or USAGE on its schema. (Within one cluster a login that may use
-- both is a writer, a reader or a server of both.)
--
-- Run again it changes nothing but what was changed by hand. It needs the
-- outbox's owner, and CREATEROLE where a role is missing.

DO $roles$
DECLARE
    wanted name;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['outbox_writer', 'outbox_reader', 'outbox_server'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = wanted);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL; -- at the same time, for another outbox
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
                    MESSAGE = format('role %s does not exist, and %s may not create it', wanted, current_user),
                    HINT = 'Somebody with CREATEROLE runs: CREATE ROLE outbox_writer NOLOGIN; CREATE ROLE outbox_reader NOLOGIN; CREATE ROLE outbox_server NOLOGIN;';
        END;
    END LOOP;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO outbox_writer, outbox_reader, outbox_server', current_schema());
END
$roles$;

-- From scratch, and from PUBLIC what default privileges may have given it.
REVOKE ALL ON
    outbox, outbox_dedup, outbox_scheduled, outbox_trim, outbox_trim_topic, outbox_trim_anchor, outbox_histories, outbox_turn, outbox_node, outbox_stream,
    outbox_event_type, outbox_catalogue, outbox_topic_count, outbox_counted, outbox_counted_partition,
    outbox_id_seq, outbox_bell_asked, outbox_bell_answered
FROM PUBLIC, outbox_writer, outbox_reader, outbox_server;
REVOKE ALL ON FUNCTION
    outbox_refuse(text, text),
    outbox_dedup(),
    outbox_append(text, text, json, text, jsonb, text, timestamptz),
    outbox_append_all(text[], text[], json[], text[], jsonb[], text[], timestamptz[]),
    outbox_deliver_due(int),
    outbox_move(bigint[]),
    outbox_bell_channel(),
    outbox_ring(),
    outbox_bell_answer(bigint),
    outbox_partitions_ahead(int),
    outbox_retain(interval),
    outbox_settle(),
    outbox_varint(bigint),
    outbox_position(),
    outbox_seal(regclass),
    outbox_beat(bigint, text, int, text, interval),
    outbox_record(bigint, text, timestamptz, json),
    outbox_leave(bigint),
    outbox_forget_history(),
    outbox_note(regclass, tid[], text, timestamptz),
    outbox_patiently(text),
    outbox_day(date),
    outbox_ahead(int, timestamptz), outbox_ahead(int),
    outbox_drop(interval, timestamptz), outbox_drop(interval),
    outbox_forget(interval, timestamptz), outbox_forget(interval),
    outbox_sweep(text, interval, int, timestamptz), outbox_sweep(text, interval, int),
    outbox_schema(),
    outbox_catalogue_changed(),
    outbox_event_type_updated(),
    outbox_schemas(),
    outbox_append_checked(bigint[], text[], text[], json[], text[], jsonb[], text[], timestamptz[]),
    outbox_jsonb(json),
    outbox_id_at(timestamptz),
    outbox_count_topics(int),
    outbox_in_flight(),
    outbox_end_stream(bigint, bigint, text),
    outbox_cancel(bigint)
FROM PUBLIC, outbox_writer, outbox_reader, outbox_server;

-- A writer gives what an event says, and nothing of what makes it one: no xid, no
-- id, no created_at. USAGE on the sequence is nextval for the column's default,
-- and no setval; outbox_refuse is in the table's checks. Not even "RETURNING id"
-- is a writer's, it would be a right to read; outbox_append returns the id. To
-- cancel what was scheduled is to DELETE from outbox_scheduled, where writers
-- can't tell theirs from another's: grant it by hand where that is right.
GRANT INSERT (topic, type, payload, source, headers, dedup_key) ON outbox TO outbox_writer;
GRANT USAGE ON SEQUENCE outbox_id_seq TO outbox_writer;
GRANT EXECUTE ON FUNCTION
    outbox_refuse(text, text),
    outbox_append(text, text, json, text, jsonb, text, timestamptz),
    outbox_append_all(text[], text[], json[], text[], jsonb[], text[], timestamptz[]),
    outbox_schemas(),
    outbox_append_checked(bigint[], text[], text[], json[], text[], jsonb[], text[], timestamptz[])
TO outbox_writer;

-- The position is for whoever renders a page, and says nothing of any event.
GRANT EXECUTE ON FUNCTION outbox_position() TO outbox_writer, outbox_reader, outbox_server;

GRANT SELECT ON outbox, outbox_event_type TO outbox_reader;

-- The server reads the outbox itself, and does the rest by functions that act as
-- the owner: it makes no partition but one that is missing, answers no ticket that
-- nobody drew, and writes no row that is not an append. For how long events are kept
-- is the server's to say, and so it can have all removed but the newest transaction;
-- what it removes is on record, and no clock of its own makes that look older.
GRANT SELECT ON outbox, outbox_trim, outbox_trim_topic, outbox_trim_anchor, outbox_histories, outbox_node, outbox_stream TO outbox_server;
GRANT SELECT (id, topic, type, source, deliver_at, created_at, held_until, problem) ON outbox_scheduled TO outbox_server;
-- The catalogue is edited by admins, through the server.
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox_event_type TO outbox_server;
GRANT USAGE ON SEQUENCE outbox_bell_asked TO outbox_server;
GRANT EXECUTE ON FUNCTION
    outbox_refuse(text, text), -- in the catalogue's checks
    outbox_append(text, text, json, text, jsonb, text, timestamptz),
    outbox_append_all(text[], text[], json[], text[], jsonb[], text[], timestamptz[]),
    outbox_deliver_due(int),
    outbox_bell_channel(),
    outbox_bell_answer(bigint),
    outbox_partitions_ahead(int),
    outbox_retain(interval),
    outbox_settle(),
    outbox_beat(bigint, text, int, text, interval),
    outbox_record(bigint, text, timestamptz, json),
    outbox_leave(bigint),
    outbox_ahead(int),
    outbox_drop(interval),
    outbox_forget(interval),
    outbox_sweep(text, interval, int),
    outbox_schema(),
    outbox_schemas(),
    outbox_append_checked(bigint[], text[], text[], json[], text[], jsonb[], text[], timestamptz[]),
    outbox_count_topics(int),
    outbox_end_stream(bigint, bigint, text),
    outbox_cancel(bigint)
TO outbox_server;

-- The views compute with them as whoever reads.
GRANT EXECUTE ON FUNCTION
    outbox_given(outbox_seen, xid8, bigint),
    outbox_matches(text, text),
    outbox_selects(text[], text[], text, text),
    outbox_jsonb(json),
    outbox_in_flight(),
    outbox_id_at(timestamptz)
TO outbox_reader, outbox_server;

DO $roles$
DECLARE
    found record;
    ours  CONSTANT name[] := ARRAY['outbox_writer', 'outbox_reader', 'outbox_server'];
BEGIN
    -- The views are the history too.
    FOR found IN
        SELECT oid::regclass AS view FROM pg_class
        WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relkind = 'v' AND relname LIKE 'outbox\_%'
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, outbox_writer, outbox_reader, outbox_server', found.view);
        EXECUTE format('GRANT SELECT ON %s TO outbox_reader, outbox_server', found.view);
    END LOOP;

    FOR found IN SELECT inhrelid::regclass AS partition FROM pg_inherits WHERE inhparent = 'outbox'::regclass LOOP
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, outbox_writer, outbox_reader, outbox_server', found.partition);
        PERFORM outbox_seal(found.partition);
    END LOOP;

    -- What would make all this a pretence.
    FOR found IN SELECT rolname FROM pg_roles WHERE rolname = ANY (ours) LOOP
        IF has_schema_privilege(found.rolname, current_schema(), 'CREATE') THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_grant_operation',
                MESSAGE = format('%s may create in schema %I, and so have the owner of the outbox run its code', found.rolname, current_schema()),
                HINT = format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC; or migrate into a schema of the outbox''s own.', current_schema());
        ELSIF NOT has_schema_privilege(found.rolname, current_schema(), 'USAGE') THEN
            RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
                MESSAGE = format('%s may not grant the use of schema %I', current_user, current_schema()),
                HINT = format('The schema''s owner runs: GRANT USAGE ON SCHEMA %I TO outbox_writer, outbox_reader, outbox_server;', current_schema());
        END IF;
    END LOOP;
    FOR found IN SELECT rolname FROM pg_roles WHERE rolname = ANY (ours) AND (rolsuper OR rolcreaterole OR rolbypassrls) LOOP
        RAISE WARNING 'role % has rights of its own beyond the outbox: SUPERUSER, CREATEROLE or BYPASSRLS', found.rolname;
    END LOOP;
    FOR found IN
        SELECT a.grantee, string_agg(DISTINCT a.privilege_type, ', ') AS privileges, string_agg(DISTINCT c.oid::regclass::text, ', ') AS tables
        FROM pg_class AS c, aclexplode(c.relacl) AS a
        WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
            AND (c.relname = 'outbox' OR c.relname LIKE 'outbox\_%')
            AND a.grantee <> c.relowner AND a.grantee <> ALL (SELECT oid FROM pg_roles WHERE rolname = ANY (ours))
        GROUP BY a.grantee
    LOOP
        RAISE WARNING '% has rights besides these roles: % on %',
            CASE found.grantee WHEN 0 THEN 'PUBLIC' ELSE found.grantee::regrole::text END, found.privileges, found.tables;
    END LOOP;
END
$roles$;
