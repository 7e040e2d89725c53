-- The table of a business that the examples change.
CREATE TABLE IF NOT EXISTS orders (
    id       bigint PRIMARY KEY,
    customer bigint NOT NULL,
    state    text   NOT NULL
);
