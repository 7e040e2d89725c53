-- What is due costs what is due. To find it all that was scheduled was looked at, for
-- each thousand that were moved: with a million for next week, ten times a second; and
-- a million for nine o'clock were sorted a thousand times.

-- +goose Up

-- outbox_deliver_due as before, but for how it finds what is due: the index on
-- deliver_at gives it, in order, so that no more is read than is moved. That needs a
-- time that stands still, and rows that were held asked for by themselves: those whose
-- wait is over come when there is room behind the others. A plan for fewer rows than
-- there are would sort them all.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION outbox_deliver_due(at_most int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET lock_timeout = '5ms' SET enable_seqscan = off SET enable_bitmapscan = off SET search_path FROM CURRENT AS $$
DECLARE
    present CONSTANT timestamptz := clock_timestamp();
    due   bigint[];
    one   bigint;
    moved int := 0;
    held  int := 0;
BEGIN
    PERFORM FROM outbox_turn WHERE work = 'deliver' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    due := ARRAY(
        SELECT id FROM outbox_scheduled WHERE deliver_at <= present AND held_until IS NULL
        ORDER BY deliver_at, id LIMIT at_most FOR UPDATE SKIP LOCKED);
    IF cardinality(due) < at_most THEN
        due := due || ARRAY(
            SELECT id FROM outbox_scheduled WHERE deliver_at <= present AND held_until <= present
            ORDER BY held_until, deliver_at, id LIMIT at_most - cardinality(due) FOR UPDATE SKIP LOCKED);
    END IF;
    IF due = '{}' THEN
        RETURN 0; -- to insert nothing would ring, too
    END IF;
    BEGIN
        LOCK TABLE outbox IN ROW EXCLUSIVE MODE;
    EXCEPTION WHEN lock_not_available THEN
        RETURN 0; -- a partition comes or goes, which is no fault of a row
    END;
    BEGIN
        RETURN outbox_move(due);
    EXCEPTION WHEN OTHERS THEN
        NULL;
    END;
    FOREACH one IN ARRAY due LOOP
        BEGIN
            moved := moved + outbox_move(ARRAY[one]);
        EXCEPTION WHEN OTHERS THEN
            -- Resources, an operator, the system: no fault of the row.
            IF SQLSTATE ~ '^(53|57|58|XX)' THEN
                RAISE;
            END IF;
            UPDATE outbox_scheduled
            SET problem = SQLERRM, held_until = clock_timestamp()
                + greatest(interval '100 ms', least(interval '10 s', (clock_timestamp() - deliver_at) / 2))
            WHERE id = one;
            held := held + 1;
            EXIT WHEN held = 100;
        END;
    END LOOP;
    RETURN moved;
END
$$;
-- +goose StatementEnd

-- +goose Down
-- outbox_deliver_due goes with the migration that made it.
