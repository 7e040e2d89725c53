-- Append events with SQL alone, by a trigger: whatever changes an order says so,
-- with the change, and nobody can forget to. psql -f append.sql postgres://…
CREATE OR REPLACE FUNCTION orders_say() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO outbox (topic, type, payload, dedup_key)
    VALUES (
        format('user/%s/orders', NEW.customer), 'order.' || NEW.state, json_build_object('order', NEW.id),
        -- Said once, however often the state is set.
        format('order-%s-%s', NEW.id, NEW.state));
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER orders_say AFTER INSERT OR UPDATE OF state ON orders
FOR EACH ROW EXECUTE FUNCTION orders_say();

-- The order and its event are committed together.
INSERT INTO orders (id, customer, state) VALUES (1, 42, 'placed');

-- What is rolled back leaves no event.
BEGIN;
INSERT INTO orders (id, customer, state) VALUES (2, 42, 'placed');
ROLLBACK;

-- A retry with the same key stores nothing.
UPDATE orders SET state = 'paid' WHERE id = 1;
UPDATE orders SET state = 'paid' WHERE id = 1;

-- To be delivered later.
SELECT outcrier.append('user/42/orders', 'order.reminded', dedup_key => 'reminder-1', deliver_at => now() + interval '1 day');

-- What is not allowed fails the transaction, and says what is.
DO $$
DECLARE
    refused text;
BEGIN
    INSERT INTO outbox (topic, type) VALUES ('user//42', 'order.placed');
EXCEPTION WHEN check_violation THEN
    GET STACKED DIAGNOSTICS refused = COLUMN_NAME;
    RAISE NOTICE '% % %', SQLSTATE, refused, SQLERRM;
END
$$;
