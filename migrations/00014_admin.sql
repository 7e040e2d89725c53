-- What the admin page does beside reading: end a stream, and cancel what is
-- scheduled.

-- +goose Up

-- A stream is ended by the node that serves it, whichever node was asked to. So
-- the wish is written to the stream's row, where it says later who had it ended,
-- and each node looks for wishes of its own with its heartbeat, once a second.
ALTER TABLE outbox_stream ADD COLUMN end_asked_at timestamptz, ADD COLUMN end_asked_by text;
CREATE INDEX outbox_stream_end_asked ON outbox_stream (run) WHERE end_asked_at IS NOT NULL AND closed_at IS NULL;

-- To page through what is open, the newest first.
CREATE INDEX outbox_stream_open ON outbox_stream (opened_at, run, stream) WHERE closed_at IS NULL;

-- outbox_end_stream asks for the end of a stream, and tells whether it was open.
-- Who asked first stays on record.
-- +goose StatementBegin
CREATE FUNCTION outbox_end_stream(run bigint, stream bigint, asked_by text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    UPDATE outbox_stream AS s
    SET end_asked_at = coalesce(s.end_asked_at, clock_timestamp()),
        end_asked_by = CASE WHEN s.end_asked_at IS NULL THEN $3 ELSE s.end_asked_by END
    WHERE s.run = $1 AND s.stream = $2 AND s.closed_at IS NULL
    RETURNING true;
$$;
-- +goose StatementEnd

-- outbox_cancel deletes a scheduled event, and tells whether it still waited.
-- +goose StatementBegin
CREATE FUNCTION outbox_cancel(id bigint) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    DELETE FROM outbox_scheduled AS s WHERE s.id = $1 RETURNING true;
$$;
-- +goose StatementEnd

REVOKE EXECUTE ON FUNCTION outbox_end_stream(bigint, bigint, text), outbox_cancel(bigint) FROM PUBLIC;

-- +goose Down
DROP FUNCTION outbox_cancel(bigint);
DROP FUNCTION outbox_end_stream(bigint, bigint, text);
DROP INDEX outbox_stream_open;
DROP INDEX outbox_stream_end_asked;
ALTER TABLE outbox_stream DROP COLUMN end_asked_at, DROP COLUMN end_asked_by;
