-- The roles of an outbox, and what each may do. They are groups without a login, to be granted
-- to the logins of applications:
--
--     GRANT outcrier_writer TO shop;           -- appends, and reads its own transaction's events
--     GRANT outcrier_reader TO auditor;        -- reads the history
--     GRANT outcrier_operator TO oncall;       -- reads history, streams, nodes, schedule and lag
--     GRANT outcrier_server TO outcrier;       -- what outcrier serve needs, no more
--     GRANT outcrier_eraser TO outcrier;       -- erases and redacts, also by the admin page
--     GRANT outcrier_two_phase TO transfers;   -- nothing; its sessions don't notify
--
-- Roles belong to the cluster, their rights to the outbox: several outboxes share the roles,
-- and a login that is to use one only lacks CONNECT on the other's database or USAGE on its
-- schema. To run this again only undoes changes made by hand. It needs the
-- outbox's owner, and CREATEROLE while a role is missing.

SET LOCAL search_path = pg_catalog, pg_temp;

DO $roles$
DECLARE
    ours  CONSTANT text[] := ARRAY['outcrier_writer', 'outcrier_reader', 'outcrier_server', 'outcrier_operator', 'outcrier_eraser', 'outcrier_two_phase'];
    home  CONSTANT oid := (SELECT relnamespace FROM pg_class WHERE oid = 'outcrier.event'::regclass);
    one record; named text;
BEGIN
    FOREACH named IN ARRAY ours LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = named);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', named);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL; -- at the same time, for another outbox
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('role %s does not exist, and %s may not create it', named, current_user),
                    HINT = 'A role with CREATEROLE runs: ' || (SELECT string_agg(format('CREATE ROLE %I NOLOGIN;', r), ' ')
                        FROM unnest(ours) AS r WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r));
        END;
    END LOOP;

    PERFORM outcrier.revoke_rights('{0}'::oid[] || ARRAY(SELECT oid FROM pg_roles WHERE rolname = ANY (ours)));
    GRANT INSERT, SELECT ON public.outbox TO outcrier_writer;

    -- A server acts by functions: it makes no partition but one that is missing, answers no request
    -- that was not drawn, and writes no row that is not an append. How long events are kept is the
    -- server's to say, above minimum_retention(); removals are on record. Erasing is another role's.
    FOR one IN
        SELECT g.role, g.rights, object, found.target FROM (VALUES
            ('outcrier_writer',   'EXECUTE', 'append append_all append_checked payload_schemas own_rows refuse_replica position'),
            ('outcrier_writer',   'SELECT',  'event_id repeated_id'), -- lastval(), which some ORMs call
            ('outcrier_reader',   'SELECT',  'history receipts people topics event_type'),
            ('outcrier_reader',   'EXECUTE', 'jsonb_or_text contains matches id_at position'),
            ('outcrier_operator', 'SELECT',  'history receipts people topics lag stream node scheduled removal erasure'),
            ('outcrier_operator', 'SELECT',  'revoked admin_request publication audit audit_day event event_default history_id removal_topic event_id event_type'),
            ('outcrier_operator', 'EXECUTE', 'jsonb_or_text contains matches id_at in_flight position partitions schema_version minimum_retention audit_digest revoke about'),
            ('outcrier_eraser',   'EXECUTE', 'erase redact'),
            ('outcrier_server',   'SELECT',  'history receipts people topics lag stream node removal erasure admin_request publication audit audit_day'),
            ('outcrier_server',   'SELECT',  'event history_id removal_topic removal_anchor wake_request wake_answer'),
            ('outcrier_server',   'USAGE',   'wake_request'),
            ('outcrier_server',   'SELECT',  'revoked'),
            ('outcrier_server',   'EXECUTE', 'revoke_as'), -- for admins, whom it knows by their token
            ('outcrier_server',   'SELECT (id, topic, type, source, deliver_at, created_at, retry_at, problem)', 'scheduled'),
            ('outcrier_server',   'SELECT, INSERT, UPDATE, DELETE', 'event_type'), -- admins edit the catalogue
            ('outcrier_server',   'EXECUTE', 'refuse'), -- in the catalogue's checks
            ('outcrier_server',   'EXECUTE', 'append append_all append_checked payload_schemas position position_keys settle schema_version'),
            ('outcrier_server',   'EXECUTE', 'answer_wake_up deliver_scheduled cancel hold_for heartbeat record_streams stop_node end_stream'),
            ('outcrier_server',   'EXECUTE', 'record_admin_requests about record_publisher link_audit_days purge_audit minimum_audit_retention audit_digest'),
            ('outcrier_server',   'EXECUTE', 'partitions partition_width add_partition drop_partition delete_expired purge_records maintain'),
            ('outcrier_server',   'EXECUTE', 'jsonb_or_text contains matches id_at in_flight removal_memory minimum_retention')
        ) AS g (role, rights, objects)
        CROSS JOIN string_to_table(g.objects, ' ') AS object
        LEFT JOIN LATERAL (
            SELECT 'TABLE ' || c.oid::regclass FROM pg_class AS c
            WHERE c.relnamespace = home AND c.relname = object AND g.rights <> 'EXECUTE'
            UNION ALL -- every overload
            SELECT 'ROUTINE ' || p.oid::regprocedure FROM pg_proc AS p
            WHERE p.pronamespace = home AND p.proname = object AND g.rights = 'EXECUTE'
        ) AS found (target) ON true
    LOOP
        IF one.target IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'undefined_object', MESSAGE = format('%s does not exist', one.object), HINT = 'Run outcrier migrate up before.';
        END IF;
        EXECUTE format('GRANT %s ON %s TO %I', one.rights, one.target, one.role);
    END LOOP;

    FOR one IN
        SELECT r.rolname AS role, n.oid AS schema, n.oid::regnamespace AS name
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace, pg_roles AS r
        WHERE (c.oid = 'outcrier.event'::regclass AND r.rolname = ANY (ours) AND r.rolname <> 'outcrier_two_phase'
            OR c.oid = 'public.outbox'::regclass AND r.rolname = 'outcrier_writer') AND NOT has_schema_privilege(r.oid, n.oid, 'USAGE')
    LOOP
        BEGIN
            EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', one.name, one.role);
        EXCEPTION WHEN insufficient_privilege THEN
            NULL;
        END;
        IF NOT has_schema_privilege(one.role, one.schema, 'USAGE') THEN
            RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('%s may not grant the use of schema %s', current_user, one.name),
                HINT = format('The owner of the schema runs: GRANT USAGE ON SCHEMA %s TO %I;', one.name, one.role);
        END IF;
    END LOOP;

    FOR named IN SELECT rolname FROM pg_roles WHERE rolname = ANY (ours) AND (rolsuper OR rolcreaterole OR rolbypassrls) LOOP
        RAISE WARNING 'role % has rights of its own beyond the outbox: SUPERUSER, CREATEROLE or BYPASSRLS', named;
    END LOOP;
END
$roles$;
