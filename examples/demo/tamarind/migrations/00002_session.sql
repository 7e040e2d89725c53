-- +goose Up
-- What signs the cookies of the sessions: one key for all nodes, which restarts keep.
CREATE TABLE demo_session_key (key bytea PRIMARY KEY);
INSERT INTO demo_session_key
SELECT sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8'));

-- +goose Down
DROP TABLE demo_session_key;
