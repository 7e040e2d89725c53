"""Append events with psycopg 3, no ORM: python3 main.py postgres://…"""
import sys

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Json

from scenes import scene, stack

conn = psycopg.connect(sys.argv[1], autocommit=True, row_factory=dict_row)

stack("psycopg", psycopg.__version__)

INSERT = "INSERT INTO outbox (topic, type, payload) VALUES (%s, %s, %s) RETURNING id, source, created_at"


@scene("one")
def one():
    return conn.execute(INSERT, ("orm/one", "item.added", Json({"item": 1}))).fetchone()["id"]


@scene("many")
def many():
    ids = []
    with conn.cursor() as cursor:
        rows = [("orm/many", "item.added", Json({"item": n})) for n in (1, 2, 3)]
        cursor.executemany(INSERT, rows, returning=True)
        while True:
            ids.append(cursor.fetchone()["id"])
            if not cursor.nextset():
                return ids


@scene("transaction")
def in_transaction():
    with conn.transaction():
        item = conn.execute("INSERT INTO item (name) VALUES ('lamp') RETURNING id").fetchone()
        return conn.execute(INSERT, ("orm/transaction", "item.added", Json({"item": item["id"]}))).fetchone()["id"]


@scene("rollback")
def rolled_back():
    with conn.transaction(force_rollback=True):
        conn.execute("INSERT INTO item (name) VALUES ('ghost')")
        conn.execute(INSERT, ("orm/rollback", "item.added", None))


@scene("returning")
def returning():
    event = conn.execute(INSERT, ("orm/returning", "item.added", Json({"item": 4}))).fetchone()
    assert event["created_at"] is not None and event["source"] == "/"
    return event["id"]


@scene("null")
def as_null():
    return conn.execute(
        """INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id""",
        (None, "orm/null", "item.added", None, None, None, None, None, None),
    ).fetchone()["id"]


@scene("default")
def as_default():
    return conn.execute(
        """INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)
           VALUES (DEFAULT, %s, %s, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT) RETURNING id""",
        ("orm/default", "item.added"),
    ).fetchone()["id"]


@scene("json")
def as_json():
    payload = {"item": {"name": "Lämpchen 灯", "tags": ["new", 2, None], "price": 9.5}}
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    return conn.execute(
        "INSERT INTO outbox (topic, type, payload, headers) VALUES (%s, %s, %s, %s) RETURNING id",
        ("orm/json", "item.added", Json(payload), Json(headers)),
    ).fetchone()["id"]


@scene("retry")
def retry():
    def pay():
        with conn.transaction():
            return conn.execute(
                "INSERT INTO outbox (topic, type, payload, dedup_key) VALUES (%s, %s, %s, %s) RETURNING id",
                ("orm/retry", "item.paid", Json({"item": 7}), "item-7-paid"),
            ).fetchone()["id"]

    return [pay(), pay()]


@scene("clone")
def clone():
    with conn.transaction():
        conn.execute(INSERT, ("orm/clone", "item.added", Json({"item": 8})))
        row = conn.execute("SELECT * FROM outbox WHERE topic = 'orm/clone'").fetchone()
    row["payload"] = Json(row["payload"])
    copy = conn.execute(
        """INSERT INTO outbox (id, topic, type, payload, source, dedup_key, created_at)
           VALUES (%(id)s, %(topic)s, %(type)s, %(payload)s, %(source)s, %(dedup_key)s, %(created_at)s) RETURNING id""",
        row,
    ).fetchone()
    return [row["id"], copy["id"]]


@scene("read")
def read():
    with conn.transaction():
        conn.execute(INSERT, ("orm/read", "item.added", Json({"item": 9})))
        return conn.execute("SELECT id FROM outbox WHERE topic = 'orm/read'").fetchone()["id"]
