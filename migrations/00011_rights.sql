-- Rights: after this file only the owner has any; roles.sql grants on request ("outcrier
-- migrate roles"). Postgres lets everybody execute every function, and a SECURITY DEFINER
-- function acts as its owner. ALTER DEFAULT PRIVILEGES, which hosted Postgres often sets, opens
-- tables, sequences and schemas too.
--
-- The search_path of each function is pg_catalog and then pg_temp, which is named because it
-- would otherwise be searched first: a caller's temporary view "pg_class" or domain "text"
-- would run the caller's code as the owner. The schema itself remains: a role that
-- may create in it could plant an overload for us to call.

-- +goose Up
-- +goose StatementBegin

-- revoke_rights takes all rights in the schema and on the view from these roles (0 is PUBLIC),
-- or, if NULL, from everybody but the owner, and warns of what others have. It refuses a
-- schema where anybody else may create.
CREATE FUNCTION outcrier.revoke_rights(roles oid[] DEFAULT NULL) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ours record; given record; object text;
BEGIN
    SELECT c.relnamespace AS schema, c.relnamespace::regnamespace AS name, c.relowner AS owner INTO ours FROM pg_class AS c WHERE c.oid = 'outcrier.event'::regclass;
    FOR given IN
        WITH relation AS (
            SELECT c.* FROM pg_class AS c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND (c.relnamespace = ours.schema OR c.oid = 'public.outbox'::regclass)
        ), acl (object, owner, items) AS (
            SELECT 'TABLE ' || r.oid::regclass, r.relowner, r.relacl FROM relation AS r
            UNION ALL SELECT 'TABLE ' || r.oid::regclass, r.relowner, t.attacl FROM relation AS r JOIN pg_attribute AS t ON t.attrelid = r.oid
            UNION ALL SELECT 'ROUTINE ' || p.oid::regprocedure, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)) FROM pg_proc AS p WHERE p.pronamespace = ours.schema
            UNION ALL SELECT 'TYPE ' || t.oid::regtype, t.typowner, coalesce(t.typacl, acldefault('T', t.typowner)) FROM pg_type AS t
            WHERE t.typnamespace = ours.schema AND t.typelem = 0 AND NOT EXISTS (SELECT FROM relation AS r WHERE r.oid = t.typrelid)
            UNION ALL SELECT 'SCHEMA ' || ours.name, n.nspowner, n.nspacl FROM pg_namespace AS n WHERE n.oid = ours.schema
        )
        SELECT a.grantee AS role, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS name, array_agg(DISTINCT acl.object) AS objects,
            string_agg(DISTINCT a.privilege_type, ', ') AS rights, string_agg(DISTINCT substr(acl.object, strpos(acl.object, ' ') + 1), ', ') AS named
        FROM acl, aclexplode(acl.items) AS a WHERE a.grantee NOT IN (acl.owner, ours.owner) GROUP BY 1
    LOOP
        IF roles IS NOT NULL AND given.role <> ALL (roles) THEN
            RAISE WARNING '% has rights besides these roles: % on %', given.name, given.rights, given.named;
            CONTINUE;
        END IF;
        FOREACH object IN ARRAY given.objects LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %s CASCADE', object, given.name);
        END LOOP;
    END LOOP;
    FOR given IN
        SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS name FROM pg_namespace AS n, aclexplode(n.nspacl) AS a
        WHERE n.oid = ours.schema AND a.privilege_type = 'CREATE' AND a.grantee NOT IN (n.nspowner, ours.owner)
    LOOP
        RAISE EXCEPTION USING ERRCODE = 'invalid_grant_operation',
            MESSAGE = format('%s may create in schema %s, and so could have the owner of the outbox run its code', given.name, ours.name),
            HINT = format('The owner of the schema runs: REVOKE CREATE ON SCHEMA %s FROM %s;', ours.name, given.name);
    END LOOP;
END
$$;
SELECT outcrier.revoke_rights();
-- +goose StatementEnd
