-- The history by time. Events are paged by id, and the index on ids knows their
-- times too, but a page that ends at a time looks at all ids of the day that came
-- later: a million of them for the first minutes of a busy day, four days ago. An
-- index on times would cost every writer. The id to begin at can be found without.

-- +goose Up

-- outbox_id_at gives the id that the events appended at a time or later begin with,
-- by bisection of the ids of its day (UTC): some twenty looks at the primary key.
--
-- Ids and times rise together but for what transactions overlap: an INSERT draws the
-- id and reads the clock in one go. So it is a bound for a search, with a minute to
-- spare, beside the time itself; not where the owner of the table has written
-- created_at by hand, or the clock was set back by more.
--
-- Each look is planned for its day alone, however many there are.
-- +goose StatementBegin
CREATE FUNCTION outbox_id_at(at timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE STRICT SET plan_cache_mode = force_custom_plan SET search_path FROM CURRENT AS $$
DECLARE
    begins CONSTANT timestamptz := date_trunc('day', at, 'UTC');
    ends   CONSTANT timestamptz := begins + interval '24 hours';
    low    bigint;
    high   bigint; -- the id looked for is from low to high
    looked record;
BEGIN
    SELECT min(id), max(id) + 1 INTO low, high FROM outbox WHERE created_at >= begins AND created_at < ends;
    IF low IS NULL THEN
        RETURN coalesce((SELECT min(id) FROM outbox WHERE created_at >= at), 9223372036854775807);
    END IF;
    WHILE low < high LOOP
        SELECT id, created_at INTO looked FROM outbox
        WHERE id >= low + (high - low) / 2 AND created_at >= begins AND created_at < ends ORDER BY id LIMIT 1;
        IF looked.created_at >= at THEN
            high := low + (high - low) / 2;
        ELSE
            low := looked.id + 1;
        END IF;
    END LOOP;
    RETURN low;
END
$$;
-- +goose StatementEnd

COMMENT ON FUNCTION outbox_id_at(timestamptz) IS
'The id that events appended at a time or later begin with. To page by time: WHERE created_at < t AND id < (SELECT outbox_id_at(t + interval ''1 minute'')) ORDER BY id DESC LIMIT 50.';

REVOKE EXECUTE ON FUNCTION outbox_id_at(timestamptz) FROM PUBLIC;

-- +goose Down
DROP FUNCTION outbox_id_at(timestamptz);
