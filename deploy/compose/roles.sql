-- Run once by the image of Postgres, when it makes the database: the logins of
-- docs/dba.md, with the least that each needs. Only this file is run by the superuser.
-- The passwords are for development.
CREATE ROLE outbox_owner LOGIN PASSWORD 'owner';   -- owns the schema: migrations only
CREATE ROLE node         LOGIN PASSWORD 'node';    -- outcrier serve
CREATE ROLE demo         LOGIN PASSWORD 'demo';    -- an application that embeds a node
CREATE ROLE shop         LOGIN PASSWORD 'shop';    -- an application that appends
CREATE ROLE oncall       LOGIN PASSWORD 'oncall';  -- looks into incidents

-- "outcrier migrate roles" grants these what they need. They are made here, so that the
-- owner needs no CREATEROLE.
CREATE ROLE outcrier_writer    NOLOGIN;
CREATE ROLE outcrier_reader    NOLOGIN;
CREATE ROLE outcrier_server    NOLOGIN;
CREATE ROLE outcrier_operator  NOLOGIN;
CREATE ROLE outcrier_eraser    NOLOGIN; -- GRANT it to node so that admins erase by the page
CREATE ROLE outcrier_two_phase NOLOGIN;
GRANT outcrier_server                  TO node;
GRANT outcrier_server, outcrier_writer TO demo;
GRANT outcrier_writer                  TO shop;
GRANT outcrier_operator                TO oncall;

GRANT CREATE ON DATABASE outcrier         TO outbox_owner; -- for the schema outcrier
GRANT USAGE, CREATE ON SCHEMA public      TO outbox_owner; -- for the view outbox
GRANT pg_read_all_stats                   TO outbox_owner; -- for the age of open transactions
ALTER ROLE shop SET idle_in_transaction_session_timeout = '5min';

-- The demo's tables are in a schema of its own.
CREATE SCHEMA demo AUTHORIZATION demo;
ALTER ROLE demo SET search_path = demo, public;
