-- Dedup keys go when they are past: by an index, and not by a walk through all of
-- them. It is made beside the writers, which a transaction can't do.

-- +goose NO TRANSACTION

-- +goose Up
-- It waits for older transactions, and nobody waits for it.
SET lock_timeout = 0;
-- What an attempt that failed has left.
DROP INDEX CONCURRENTLY IF EXISTS outbox_dedup_created_at;
CREATE INDEX CONCURRENTLY outbox_dedup_created_at ON outbox_dedup (created_at);
RESET lock_timeout;

-- +goose Down
DROP INDEX IF EXISTS outbox_dedup_created_at;
