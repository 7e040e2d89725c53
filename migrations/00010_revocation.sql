-- Revoked tokens. A token is valid until it expires, unless its subject or its id (jti) is in
-- this table. Every node holds the table in memory. A change appends a marker (00001), which
-- the tail reads like an event, so that nodes learn of it at once and without another query.

-- +goose Up
-- +goose StatementBegin

CREATE TABLE outcrier.revoked (
    revocation bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sub        text,       -- the tokens of this subject that were issued up to revoked_at
    jti        text,       -- or one token
    reason     text        NOT NULL,
    revoked_by text        NOT NULL DEFAULT session_user,
    revoked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    until      timestamptz, -- when all of these tokens have expired, and the row has no use
    CONSTRAINT sub_or_jti CHECK (num_nonnulls(sub, jti) = 1)
);

-- mark_revocation tells all nodes of a change, also of one made by hand. The marker of an
-- insert draws no id and has a negative one, because a dump's data or a subscription may bring
-- rows before it sets the sequence of ids.
CREATE FUNCTION outcrier.mark_revocation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO outcrier.event (id, topic, type)
    VALUES (CASE TG_OP WHEN 'INSERT' THEN -NEW.revocation ELSE nextval('outcrier.event_id'::regclass) END, '', 'outcrier.revocation');
    PERFORM outcrier.wake_up();
    RETURN NULL;
END
$$;
CREATE TRIGGER mark_revocation AFTER INSERT ON outcrier.revoked FOR EACH ROW EXECUTE FUNCTION outcrier.mark_revocation();
CREATE TRIGGER mark_change AFTER UPDATE OR DELETE OR TRUNCATE ON outcrier.revoked FOR EACH STATEMENT EXECUTE FUNCTION outcrier.mark_revocation();
ALTER TABLE outcrier.revoked ENABLE ALWAYS TRIGGER mark_revocation;
ALTER TABLE outcrier.revoked ENABLE ALWAYS TRIGGER mark_change;

-- revoke_as revokes tokens and records by whom. The server calls it for admins, whom it knows
-- by their token.
CREATE FUNCTION outcrier.revoke_as(revoked_by text, sub text, jti text, reason text, until timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    drawn bigint;
BEGIN
    IF num_nonnulls(nullif($2, ''), nullif($3, '')) <> 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = 'a revocation needs either a subject (sub) or a token''s id (jti)';
    ELSIF coalesce(btrim($4), '') = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = 'a revocation needs a reason: it is kept on record';
    ELSIF $5 <= clock_timestamp() THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = 'a revocation that ends in the past revokes nothing';
    END IF;
    INSERT INTO outcrier.revoked AS r (sub, jti, reason, revoked_by, until)
    VALUES (nullif($2, ''), nullif($3, ''), $4, coalesce($1, session_user), $5) RETURNING r.revocation INTO drawn;
    RETURN drawn;
END
$$;

-- revoke revokes all tokens of a subject that were issued until now, or the token with an id:
-- nodes refuse them and end their streams. until, if set, is when the last of them expires.
CREATE FUNCTION outcrier.revoke(sub text DEFAULT NULL, jti text DEFAULT NULL, reason text DEFAULT NULL, until timestamptz DEFAULT NULL) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT outcrier.revoke_as(session_user::text, $1, $2, $3, $4) $$;
-- +goose StatementEnd
