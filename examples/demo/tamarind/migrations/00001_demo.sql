-- The demo is an application like any other: its own tables beside the
-- outbox, its own goose, its own version table (demo_goose_version). Nothing
-- here refers to an object of the outbox, and nothing there to one of these.

-- +goose Up
CREATE TABLE demo_person (
    name          text PRIMARY KEY CHECK (name ~ '^[a-z]{1,20}$'),
    title         text NOT NULL,
    role          text NOT NULL CHECK (role IN ('submitter', 'reviewer', 'trader')),
    about         text NOT NULL,
    -- Printed on the page, so that everyone can play; a real application keeps
    -- a password hash.
    pin           text NOT NULL CHECK (pin ~ '^[0-9]{4}$'),
    signed_in_at  timestamptz,
    failed_logins integer NOT NULL DEFAULT 0,
    locked_until  timestamptz
);

CREATE TABLE demo_symbol (
    symbol         text PRIMARY KEY CHECK (symbol ~ '^[A-Z]{1,12}$'),
    title          text NOT NULL,
    unit           text NOT NULL,
    price_cents    bigint NOT NULL CHECK (price_cents > 0),
    previous_cents bigint NOT NULL CHECK (previous_cents > 0)
);

CREATE TABLE demo_item (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title        text NOT NULL CHECK (char_length(title) BETWEEN 1 AND 120),
    symbol       text NOT NULL REFERENCES demo_symbol,
    quantity     integer NOT NULL CHECK (quantity BETWEEN 1 AND 10000),
    submitter    text NOT NULL REFERENCES demo_person,
    status       text NOT NULL DEFAULT 'submitted' CHECK (status IN ('submitted', 'approved', 'rejected', 'traded')),
    submitted_at timestamptz NOT NULL DEFAULT now(),
    reviewer     text REFERENCES demo_person,
    note         text NOT NULL DEFAULT '',
    reviewed_at  timestamptz,
    CHECK ((status = 'submitted') = (reviewer IS NULL) AND (reviewer IS NULL) = (reviewed_at IS NULL))
);
CREATE INDEX demo_item_by_submitter ON demo_item (submitter, id);
CREATE INDEX demo_item_by_status ON demo_item (status, id);
CREATE INDEX demo_item_by_review ON demo_item (reviewed_at) WHERE reviewed_at IS NOT NULL;

CREATE TABLE demo_trade (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- UNIQUE: an item is traded once, whatever the code above does.
    item_id     bigint NOT NULL UNIQUE REFERENCES demo_item ON DELETE CASCADE,
    price_cents bigint NOT NULL CHECK (price_cents > 0),
    trader      text NOT NULL REFERENCES demo_person,
    executed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE demo_maintenance (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    note         text NOT NULL,
    starts_at    timestamptz NOT NULL,
    ends_at      timestamptz NOT NULL CHECK (ends_at > starts_at),
    announced_by text NOT NULL REFERENCES demo_person,
    cancelled_at timestamptz,
    -- The two events that wait in the outbox's schedule, to be taken back when
    -- the window is cancelled.
    scheduled    bigint[] NOT NULL DEFAULT '{}'
);

INSERT INTO demo_person (name, title, role, about, pin) VALUES
    ('ada',  'Ada Lindqvist', 'submitter', 'Buys for the roastery in Bergen.',      '1815'),
    ('bo',   'Bo Achterberg', 'submitter', 'Buys for the chocolate workshop.',      '2020'),
    ('cleo', 'Cleo Marchetti', 'submitter', 'Buys spices, and forgets her PIN.',    '3141'),
    ('rita', 'Rita Okonkwo',  'reviewer',  'Approves, rejects, unlocks, announces.', '4242'),
    ('tom',  'Tom Haverford', 'trader',    'Takes what is approved to the market.',  '5050');

INSERT INTO demo_symbol (symbol, title, unit, price_cents, previous_cents) VALUES
    ('COFFEE',  'Arabica coffee',   'bag',  41850, 41850),
    ('COCOA',   'Ghana cocoa',      'sack', 68200, 68200),
    ('PEPPER',  'Kampot pepper',    'kg',    2460,  2460),
    ('VANILLA', 'Bourbon vanilla',  'kg',   19900, 19900);

-- +goose Down
DROP TABLE demo_maintenance, demo_trade, demo_item, demo_symbol, demo_person;
