-- Which nodes and which schema work together. The schema goes first: a node needs
-- one that has all the migrations that the node was built with, and works with a
-- newer one for as long as that says so. So nodes can be replaced one by one, behind
-- "migrate up", and taken back without "migrate down".

-- +goose Up

-- outbox_schema is the newest migration applied, and the oldest schema whose nodes
-- work with this one: their own newest migration must be that or a later one. A
-- migration that takes from nodes what they need replaces this function.
-- +goose StatementBegin
CREATE FUNCTION outbox_schema(OUT version bigint, OUT nodes_from bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    SELECT max(version_id), 13 FROM outbox_goose_version WHERE is_applied
$$;
-- +goose StatementEnd
REVOKE EXECUTE ON FUNCTION outbox_schema() FROM PUBLIC;

-- +goose Down
DROP FUNCTION outbox_schema();
