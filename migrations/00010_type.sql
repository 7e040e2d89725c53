-- The history by type: "the last lockouts", "all maintenance". A type that is rare
-- among ten million events was found by reading most of them.
--
-- It is the one index that admins cost the writers. There are few types and ids
-- rise, so that an insert finds its page at the end of its type's, in memory;
-- docs/sql.md has what it costs.

-- +goose Up
CREATE INDEX outbox_type_id ON outbox (type, id);

-- +goose Down
DROP INDEX outbox_type_id;
