-- Rights: what everybody but the owner may do with these objects. After this file that is
-- nothing; roles.sql grants on request ("outcrier migrate roles").
--
-- Postgres lets everybody execute every function, and a SECURITY DEFINER function acts as
-- its owner. ALTER DEFAULT PRIVILEGES, which hosts of Postgres are fond of, opens tables,
-- sequences and schemas too.
--
-- The search_path of each function is pg_catalog and then pg_temp. pg_temp is named
-- because it would otherwise be searched first: a caller's temporary view "pg_class" or
-- domain "text" would run the caller's code as the owner. What is left is the schema
-- itself: a role that may create in it could plant an overload for us to call.

-- +goose Up
-- +goose StatementBegin

-- revoke_rights takes all rights in the schema and on the view from these roles (0 is
-- PUBLIC), or, if NULL, from everybody but the owner. It raises an error while anybody
-- else may create in the schema.
CREATE FUNCTION outcrier.revoke_rights(roles oid[] DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ours  record;
    given record;
BEGIN
    SELECT c.relnamespace AS schema, c.relowner AS owner INTO ours FROM pg_class AS c WHERE c.oid = 'outcrier.event'::regclass;
    FOR given IN
        SELECT DISTINCT o.object, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee
        FROM (
            SELECT 'TABLE ' || c.oid::regclass, c.relowner, c.relacl FROM pg_class AS c
            WHERE (c.relnamespace = ours.schema OR c.oid = 'public.outbox'::regclass) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
            UNION ALL
            SELECT 'TABLE ' || c.oid::regclass, c.relowner, t.attacl FROM pg_class AS c JOIN pg_attribute AS t ON t.attrelid = c.oid
            WHERE c.relnamespace = ours.schema OR c.oid = 'public.outbox'::regclass
            UNION ALL
            SELECT 'ROUTINE ' || p.oid::regprocedure, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)) FROM pg_proc AS p
            WHERE p.pronamespace = ours.schema
            UNION ALL
            SELECT 'TYPE ' || t.oid::regtype, t.typowner, coalesce(t.typacl, acldefault('T', t.typowner)) FROM pg_type AS t
            WHERE t.typnamespace = ours.schema AND (t.typrelid = 0 AND t.typelem = 0 OR EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
            UNION ALL
            SELECT 'SCHEMA ' || n.oid::regnamespace, n.nspowner, n.nspacl FROM pg_namespace AS n WHERE n.oid = ours.schema
        ) AS o (object, owner, acl), aclexplode(o.acl) AS a
        WHERE a.grantee NOT IN (o.owner, ours.owner) AND (roles IS NULL OR a.grantee = ANY (roles))
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s CASCADE', given.object, given.grantee);
    END LOOP;
    FOR given IN
        SELECT n.oid::regnamespace AS schema, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee
        FROM pg_namespace AS n, aclexplode(n.nspacl) AS a
        WHERE n.oid = ours.schema AND a.privilege_type = 'CREATE' AND a.grantee NOT IN (n.nspowner, ours.owner)
    LOOP
        RAISE EXCEPTION USING ERRCODE = 'invalid_grant_operation',
            MESSAGE = format('%s may create in schema %s, and so could have the owner of the outbox run its code', given.grantee, given.schema),
            HINT = format('The owner of the schema runs: REVOKE CREATE ON SCHEMA %s FROM %s;', given.schema, given.grantee);
    END LOOP;
END
$$;
SELECT outcrier.revoke_rights();
-- +goose StatementEnd
