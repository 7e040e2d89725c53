"""Append events with asyncpg, no ORM: python3 main.py postgres://…"""
import asyncio
import json
import sys

import asyncpg

from scenes import scene, stack

stack("asyncpg", asyncpg.__version__)

loop = asyncio.new_event_loop()
run = loop.run_until_complete


async def connect():
    conn = await asyncpg.connect(sys.argv[1])
    for name in ("json", "jsonb"):
        await conn.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    return conn


conn = run(connect())

INSERT = "INSERT INTO outbox (topic, type, payload) VALUES ($1, $2, $3) RETURNING id, source, created_at"


@scene("one")
def one():
    return run(conn.fetchval(INSERT, "orm/one", "item.added", {"item": 1}))


@scene("many")
def many():
    # executemany returns nothing.
    run(conn.executemany(INSERT, [("orm/many", "item.added", {"item": n}) for n in (1, 2, 3)]))


@scene("transaction")
def in_transaction():
    async def place():
        async with conn.transaction():
            item = await conn.fetchval("INSERT INTO item (name) VALUES ('lamp') RETURNING id")
            return await conn.fetchval(INSERT, "orm/transaction", "item.added", {"item": item})

    return run(place())


@scene("rollback")
def rolled_back():
    async def place():
        transaction = conn.transaction()
        await transaction.start()
        await conn.execute("INSERT INTO item (name) VALUES ('ghost')")
        await conn.fetchval(INSERT, "orm/rollback", "item.added", None)
        await transaction.rollback()

    run(place())


@scene("returning")
def returning():
    event = run(conn.fetchrow(INSERT, "orm/returning", "item.added", {"item": 4}))
    assert event["created_at"] is not None and event["source"] == "/"
    return event["id"]


@scene("null")
def as_null():
    return run(conn.fetchval(
        """INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id""",
        None, "orm/null", "item.added", None, None, None, None, None, None,
    ))


@scene("default")
def as_default():
    return run(conn.fetchval(
        """INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)
           VALUES (DEFAULT, $1, $2, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT) RETURNING id""",
        "orm/default", "item.added",
    ))


@scene("json")
def as_json():
    payload = {"item": {"name": "Lämpchen 灯", "tags": ["new", 2, None], "price": 9.5}}
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    return run(conn.fetchval(
        "INSERT INTO outbox (topic, type, payload, headers) VALUES ($1, $2, $3, $4) RETURNING id",
        "orm/json", "item.added", payload, headers,
    ))


@scene("retry")
def retry():
    async def pay():
        async with conn.transaction():
            return await conn.fetchval(
                "INSERT INTO outbox (topic, type, payload, dedup_key) VALUES ($1, $2, $3, $4) RETURNING id",
                "orm/retry", "item.paid", {"item": 7}, "item-7-paid",
            )

    return [run(pay()), run(pay())]


@scene("clone")
def clone():
    async def twice():
        async with conn.transaction():
            await conn.execute(INSERT, "orm/clone", "item.added", {"item": 8})
            row = await conn.fetchrow("SELECT * FROM outbox WHERE topic = 'orm/clone'")
        copy = await conn.fetchval(
            """INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id""",
            *row.values(),
        )
        return [row["id"], copy]

    return run(twice())


@scene("read")
def read():
    async def place():
        async with conn.transaction():
            await conn.execute(INSERT, "orm/read", "item.added", {"item": 9})
            return await conn.fetchval("SELECT id FROM outbox WHERE topic = 'orm/read'")

    return run(place())
