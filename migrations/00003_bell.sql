-- The bell: how a sleeping tail learns of a commit.
--
-- A NOTIFY inside the writers' transactions serialises their commits behind one
-- lock of the whole cluster, held through the WAL flush. So writers ring only
-- when a tail asked to be woken, and a tail asks only when nothing is going on:
-- under load nobody rings. The flag is a pair of sequences, which are read
-- without a snapshot and so mean the same under every isolation level.

-- +goose Up

-- Tickets: a tail that is about to sleep draws one from asked; whoever wakes
-- for a ticket writes it to answered.
CREATE SEQUENCE outbox_bell_asked AS bigint CACHE 1;
CREATE SEQUENCE outbox_bell_answered AS bigint CACHE 1;

-- One channel for each outbox of the database, whatever the schema's name.
CREATE FUNCTION outbox_bell_channel() RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT
RETURN 'outbox_' || 'outbox_bell_asked'::regclass::oid;

-- The notification carries the ticket and no data: the table is the truth.
-- NOTIFY makes PREPARE TRANSACTION fail, so a session that uses two-phase commit
-- says SET outbox.bell = 'off'; the tail's idle turn finds its events.
--
-- Every append pays for this function. To set and reset the search_path would be
-- nine tenths of its price, so it has none and names everything with its schema,
-- operators too: whatever the writer's path says, nothing else is called.
-- +goose StatementBegin
DO $migration$
BEGIN
    EXECUTE format($function$
        CREATE FUNCTION outbox_ring() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER AS $$
        DECLARE
            asked bigint := pg_catalog.pg_sequence_last_value(%1$L::pg_catalog.regclass);
        BEGIN
            IF asked OPERATOR(pg_catalog.>) coalesce(pg_catalog.pg_sequence_last_value(%2$L::pg_catalog.regclass), 0)
                AND coalesce(pg_catalog.current_setting('outbox.bell', true), '') OPERATOR(pg_catalog.<>) 'off'
            THEN
                PERFORM pg_catalog.pg_notify(%3$I.outbox_bell_channel(), asked::pg_catalog.text);
            END IF;
            RETURN NULL;
        END
        $$
    $function$, format('%I.outbox_bell_asked', current_schema()), format('%I.outbox_bell_answered', current_schema()), current_schema());
END
$migration$;
-- +goose StatementEnd

-- Once a statement, not once a row. An INSERT straight into a partition fires
-- that partition's triggers only, so each partition has one too.
CREATE TRIGGER outbox_ring AFTER INSERT ON outbox
FOR EACH STATEMENT EXECUTE FUNCTION outbox_ring();
CREATE TRIGGER outbox_ring AFTER INSERT ON outbox_default
FOR EACH STATEMENT EXECUTE FUNCTION outbox_ring();

-- outbox_bell_answer silences the bell for a ticket. Two nodes may race and
-- leave the older ticket: that costs a needless notification, which is answered
-- in its turn.
CREATE FUNCTION outbox_bell_answer(ticket bigint) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT
AS $$
    SELECT setval('outbox_bell_answered', ticket)
    WHERE ticket > coalesce(pg_sequence_last_value('outbox_bell_answered'), 0)
        AND ticket <= pg_sequence_last_value('outbox_bell_asked')
$$;

-- +goose Down
DROP FUNCTION outbox_bell_answer(bigint);
-- With the trigger of every partition there is by now.
DROP FUNCTION outbox_ring() CASCADE;
DROP FUNCTION outbox_bell_channel();
DROP SEQUENCE outbox_bell_answered;
DROP SEQUENCE outbox_bell_asked;
